"""Tiny ladders and a tiny model, whose compression takes seconds; shared by the tests of its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz.claims.compression.ladder_series import LadderSeries, open_ladders
from harmviz.claims.compression.measure import run_compression
from harmviz.data.prompts import PromptData, load_prompts
from harmviz.runs import Run
from harmviz.tuning.ladder import run_align
from harmviz.tuning.settings import ARMS, AlignSpec
from harmviz.tuning.stored import Ladder, open_ladder
from tests.conftest import made_once
from tests.worlds.compression import TINY_SPEC
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import make_data


@pytest.fixture(scope="session")
def ladders(tmp_path_factory: pytest.TempPathFactory) -> list[Ladder]:
    """Two ladders of the tiny model that differ in their seed."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HARMVIZ_CACHE", str(folder))
            for seed in (0, 1):
                spec = AlignSpec(steps=4, max_answer_tokens=6, max_rejected_tokens=4, seed=seed)
                run_align(tiny_model(), make_data(), spec, ARMS)

    root = made_once(tmp_path_factory, "ladders", make) / "runs"
    return sorted(
        (open_ladder(path) for path in root.iterdir() if not path.name.startswith(".")),
        key=lambda ladder: ladder.settings["seed"],
    )


@pytest.fixture
def series(ladders: list[Ladder], tiny_dir: Path) -> Callable[..., LadderSeries]:
    def opened(*, n: int = 2, at: str = "safety-dpo-2,helpful-only-dpo-2", **options: Any) -> LadderSeries:
        return open_ladders([str(ladder.path) for ladder in ladders[:n]], at=at, model=str(tiny_dir), **options)

    return opened


@pytest.fixture(scope="module")
def data() -> PromptData:
    return load_prompts("builtin")


@pytest.fixture(scope="module")
def whole(ladders: list[Ladder], tiny_dir: Path, data: PromptData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    opened = open_ladders(
        [str(ladder.path) for ladder in ladders], at="safety-dpo-2,helpful-only-dpo-2", model=str(tiny_dir)
    )
    return run_compression(opened, data, TINY_SPEC, root=tmp_path_factory.mktemp("whole"))

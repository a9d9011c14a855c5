"""Which model belongs to a run, how it reads, and what loading it will take: embedded, aligned, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harmviz.errors import ModelUnavailable
from harmviz.preflight import ModelEstimate, Need
from harmviz.runs import Run
from harmviz.ui.model_bar import Outlook, name_of_run, outlook, outlook_words, shown_name
from harmviz.worker import ModelKey
from tests.worlds.fabricated import make_run, manifest

ALIGNED = "smollm2-135m-aligned"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    return tmp_path


def run_of(name: str, root: Path) -> Run:
    return make_run(root / "runs", model=manifest()["model"] | {"name": name})


def test_the_model_of_a_run_is_found_by_name(cache: Path) -> None:
    assert name_of_run(None) == "smollm2-135m-instruct"
    assert name_of_run(run_of(ALIGNED, cache / "a")) == ALIGNED
    adapters = cache / "ladders" / "x-align-1" / "adapters"
    adapters.mkdir(parents=True)
    (adapters / "safety-sft-4.safetensors").write_bytes(b"adapter")
    assert name_of_run(run_of("x-align-1/safety-sft-4", cache / "b")) == "x-align-1/safety-sft-4", (
        "a checkpoint, no hub id"
    )
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        name_of_run(run_of("gone", cache / "c"))


def test_names_read_as_their_makers_write_them() -> None:
    assert shown_name(ALIGNED) == "SmolLM2-135M, aligned"
    assert shown_name("/models/mine") == "mine"


def test_without_its_base_the_aligned_model_is_fetched_first() -> None:
    found = outlook(ModelKey(ALIGNED, device="cpu"))
    assert "98 MB" in outlook_words(found)
    assert not found.here


@pytest.mark.parametrize(
    ("facts", "available", "here", "words"),
    [
        ({"at_hand": True}, 10**10, True, "4 million"),
        ({"made_here": True, "disk_bytes": 540_000_000}, 10**10, True, "made once, on first use: 540 MB on the disk"),
        ({"made_here": True}, 10, False, "4 million"),
        ({}, 10**10, False, "98 MB"),
    ],
)
def test_here_is_what_can_be_loaded_without_a_network(
    facts: dict[str, Any], available: int, here: bool, words: str
) -> None:
    size = ModelEstimate(ALIGNED, 4_000_000, 3_000_000, 16_000_000, **facts)
    found = Outlook(ModelKey(ALIGNED), size, Need("memory", 16_000_000, available))
    assert found.here is here
    assert words in outlook_words(found)

"""Fixtures shared by all tests: a tiny model on disk, and one complete run of it made by the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.pop("COLUMNS", None)  # tables are as wide as they need, whatever terminal the tests run in
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it; must come before torch is loaded

_SMALL = ("--samples", "8", "--q-max", "0.05", "--max-response-tokens", "32")
#: A complete run of the tiny model; and a quick one on two harm types (of the built-in data), for tests that are about
#: neither its size nor its numbers.
TINY_RUN = ("--data", "builtin", *_SMALL)
TWO_TYPES = Path(__file__).parent / "worlds" / "two_types.jsonl"
QUICK_RUN = ("--data", str(TWO_TYPES), *_SMALL, "--quick")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of all test processes makes by ``make(folder)``, and the others find."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    with FileLock(root / f"{name}.lock"):
        if not folder.is_dir():
            part = root / f"{name}.part"
            make(part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved tiny Llama with its tokenizer."""
    from tests.worlds.tiny import tiny_model

    def save(folder: Path) -> None:
        loaded = tiny_model("llama")
        loaded.model.save_pretrained(folder / "tiny")
        loaded.tokenizer.save_pretrained(folder / "tiny")

    return made_once(tmp_path_factory, "models", save) / "tiny"


def _run(factory: pytest.TempPathFactory, name: str, model: Path, options: tuple[str, ...]) -> Path:
    """Folder of the complete run that ``python -m harmviz run`` makes of a model with these options."""
    from harmviz.cli import main

    def run(folder: Path) -> None:
        assert main(["run", "--model", str(model), *options, "--out", str(folder / "runs")]) == 0

    root = made_once(factory, name, run) / "runs"
    (made,) = [p for p in root.iterdir() if not p.name.startswith(".")]
    return made


@pytest.fixture(scope="session")
def tiny_run(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a complete run of the tiny model on the builtin data."""
    return _run(tmp_path_factory, "cache", tiny_dir, TINY_RUN)


@pytest.fixture(scope="session")
def quick_run(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a quick run of the tiny model on the builtin data."""
    return _run(tmp_path_factory, "quick", tiny_dir, QUICK_RUN)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs of a cache that holds none, and no model."""
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    return tmp_path / "runs"


@pytest.fixture
def mapped(runs: Path) -> Path:
    """The folder of runs of a cache that holds one map run."""
    from tests.worlds.fabricated import make_run

    make_run(runs)
    return runs


@pytest.fixture
def fresh_worker() -> Iterator[None]:
    """No live model in this process, before and after: pages that other tests opened may have left one."""
    from harmviz.ui import live

    live.worker.clear()
    yield
    live.worker.clear()

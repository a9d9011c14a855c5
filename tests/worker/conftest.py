"""A worker that is closed after each test, the model it loads, and a gate before its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harmviz.generation import decode as decoding
from harmviz.generation.passes import Passes, make_passes
from harmviz.generation.variants import Variant
from harmviz.models.load import LoadedModel, load_model
from harmviz.worker import Worker
from tests.worlds.serving import Gate


@pytest.fixture(scope="session")
def tiny(tiny_dir: Path) -> LoadedModel:
    """The same model as the worker's, loaded apart: what each answer is compared with."""
    return load_model(str(tiny_dir), dtype="float32", device="cpu")


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def gate(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()

    def gated(loaded: LoadedModel, variants: Sequence[Variant]) -> Passes:
        return gate.guard(make_passes(loaded, variants))

    monkeypatch.setattr(decoding, "make_passes", gated)
    yield gate
    gate.let(10_000)

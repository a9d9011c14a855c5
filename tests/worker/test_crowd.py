"""A lecture hall before one worker: everybody gets the answer that the same request gets alone, in a fair order, and
neither weights nor memory show that anybody was there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmviz.masks.apply import hash_weights
from harmviz.models.load import EMBEDDED, load_model
from harmviz.worker import Limits, ModelKey, Worker
from tests.worlds.crowd import Seen, alone, crowd, wishes
from tests.worlds.serving import PATIENCE

#: ``HARMVIZ_CROWD_S=120 pytest -m soak tests/worker/test_crowd.py`` for a shorter one.
SECONDS = float(os.environ.get("HARMVIZ_CROWD_S", "600"))


@pytest.fixture
def hall() -> Iterator[Worker]:
    worker = Worker(Limits(patience_s=600.0))
    yield worker
    worker.close()


def meets(worker: Worker, key: ModelKey, *, visitors: int, seconds: float, toggles: int) -> Seen:
    """The crowd on this model, with what holds however large it is."""
    apart = load_model(key.name, dtype=key.dtype, device=key.device)
    asked = wishes(apart, key, 12, max_new_tokens=6)
    expected = [alone(apart, one) for one in asked]
    assert len(set(expected)) >= 10, "answers are told apart"
    assert worker.load(key).wait(10 * PATIENCE)
    assert worker._loaded is not None
    before = hash_weights(worker._loaded)
    assert before == hash_weights(apart)
    del apart
    seen = crowd(worker, asked, expected, visitors=visitors, seconds=seconds, toggles=toggles, patience=10 * PATIENCE)
    assert seen.wrong == []
    assert hash_weights(worker._loaded) == before
    assert len(seen.answered) == visitors
    most, fewest = max(seen.answered.values()), min(seen.answered.values())
    assert most - fewest <= 2, "nobody is served twice while somebody waits who asked before"
    mean = sum(seen.services) / len(seen.services)
    print(
        f"{visitors} visitors, {sum(seen.answered.values())} answers ({fewest} … {most} each), {seen.toggles} toggles, "
        f"wait p95 {seen.p95_wait:.1f} s at {mean:.2f} s of service, memory {seen.growth() / 2**20:+.1f} MiB"
    )
    return seen


def test_a_few_visitors_for_a_moment(hall: Worker, tiny_dir: Path) -> None:
    key = ModelKey(str(tiny_dir), "float32", "cpu")
    seen = meets(hall, key, visitors=6, seconds=2.0, toggles=50)
    assert seen.toggles > 50


@pytest.mark.slow
@pytest.mark.soak
def test_24_visitors_for_10_minutes_on_the_embedded_model(hall: Worker) -> None:
    toggles = max(1, round(1000 * SECONDS / 600))
    seen = meets(hall, ModelKey(EMBEDDED, "float32", "cpu"), visitors=24, seconds=SECONDS, toggles=toggles)
    # In place, and by the two masked panes of every answer: how many of those there are is the machine's speed.
    assert seen.toggles >= toggles + 2 * sum(seen.answered.values())
    assert seen.p95_wait < 120.0
    assert seen.growth() < 32 << 20

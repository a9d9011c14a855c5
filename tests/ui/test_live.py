"""The live model's state in the sidebar."""

from __future__ import annotations

from dataclasses import replace

from harmviz.ui.live import state_markup
from harmviz.worker import ModelKey, ModelState

NONE = ModelState(
    state="none",
    key=None,
    stage="",
    elapsed_s=0.0,
    device=None,
    dtype=None,
    memory_bytes=None,
    weight_hash=None,
    error=None,
    queue=0,
)


def test_each_state_reads_as_what_it_is() -> None:
    assert "No live model" in state_markup(NONE)
    key = ModelKey("smollm2-135m-instruct")
    loading = state_markup(replace(NONE, state="loading", key=key, stage="reading weights", elapsed_s=3.4))
    assert "Loading smollm2-135m-instruct" in loading
    assert "reading weights · 3 s" in loading
    ready = state_markup(
        replace(NONE, state="ready", key=key, device="cpu", dtype="float32", memory_bytes=538_060_032, queue=2)
    )
    assert "cpu · float32 · 538 MB" in ready
    assert "2 requests in the queue" in ready
    assert "1 request in" in state_markup(replace(NONE, queue=1))
    failed = state_markup(replace(NONE, state="failed", key=key, error="no such folder; give another"))
    assert "could not be loaded" in failed
    assert "no such folder; give another" in failed


def test_names_and_errors_are_text() -> None:
    evil = "<img src=x>"
    markup = state_markup(replace(NONE, state="failed", key=ModelKey(evil), error=evil, stage=evil))
    assert "<img" not in markup
    assert markup.count("&lt;img") == 2

"""Medians, peaks and rates: what is measured is what was done."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.bench import machine, peak
from harmviz.bench.figure import Figure, Reference
from harmviz.bench.peak import watched_peak
from harmviz.bench.timing import timed

MB = 1 << 20
CPU = torch.device("cpu")
needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def test_trials_are_interleaved_and_the_median_is_taken() -> None:
    calls: list[str] = []
    pauses = iter([0.0, 0.03, 0.001, 0.001])  # the warm-up, then a busy moment

    def a() -> None:
        calls.append("a")
        time.sleep(next(pauses))

    result = timed({"a": a, "b": lambda: calls.append("b")}, trials=3)
    assert "".join(calls) == "abababab"
    assert 0.001 <= result["a"].seconds < 0.03
    assert result["a"].trials == 3


@needs_proc
def test_the_peak_is_seen_after_it_has_passed() -> None:
    def work() -> None:
        np.ones(64 * MB, dtype=np.uint8)
        np.ones(8 * MB, dtype=np.uint8)

    with watched_peak() as first:
        work()
    kept = np.ones(128 * MB, dtype=np.uint8)
    with watched_peak(CPU) as second:  # neither what was there before nor the higher peak of earlier work counts
        work()
    del kept
    for seen in (first.n_bytes, second.n_bytes):
        assert seen is not None
        assert 60 * MB < seen < 80 * MB


@needs_proc
def test_every_contender_has_its_own_peak() -> None:
    result = timed({"large": lambda: np.ones(48 * MB, dtype=np.uint8), "none": lambda: None}, trials=1)
    large, none = result["large"].peak_bytes, result["none"].peak_bytes
    assert large is not None
    assert none is not None
    assert large > 40 * MB
    assert none < 4 * MB


def test_no_peak_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peak, "_CLEAR", tmp_path / "absent" / "clear_refs")
    with watched_peak() as seen:
        pass
    assert seen.n_bytes is None


def test_rates_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SIDE", {"cpu": 64})
    monkeypatch.setattr(machine, "_COPIED", {"cpu": MB})
    monkeypatch.setattr(machine, "_SECONDS", 0.0)
    monkeypatch.setattr(machine, "_measured", {})
    first = machine.rates(CPU, torch.float32)
    assert first.flops > 1e6
    assert first.bandwidth > 1e6
    assert machine.rates(CPU, torch.float32) is first
    machine.rates(CPU, torch.bfloat16)
    assert [(r["device"], r["dtype"]) for r in machine.rates_as_json()] == [("cpu", "float32"), ("cpu", "bfloat16")]


def test_rates_count_both_ways_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SIDE", {"cpu": 10})
    monkeypatch.setattr(machine, "_COPIED", {"cpu": 1000})
    monkeypatch.setattr(machine, "_fastest", lambda work, device: 0.5)
    assert machine._measure(CPU, torch.float32) == machine.Rates(flops=2 * 10**3 / 0.5, bandwidth=2 * 1000 / 0.5)


def test_a_figure_and_its_share() -> None:
    figure = Figure("step", 50.0, "ms", floor=21.0, reference=Reference(80.0, "alone"), peak_bytes=5, trials=3)
    assert figure.of_floor == pytest.approx(0.42)
    assert Figure("weights", 5).of_floor is None
    assert figure.as_dict() == {
        "what": "step",
        "value": 50.0,
        "unit": "ms",
        "floor": 21.0,
        "of_floor": 0.42,
        "reference": {"value": 80.0, "what": "alone"},
        "peak_bytes": 5,
        "trials": 3,
    }

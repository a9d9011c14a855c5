"""Timing: medians of repeated, interleaved trials, so that a busy moment hits every contender alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmviz.bench.peak import watched_peak

if TYPE_CHECKING:
    import torch

TRIALS = 5


@dataclass(frozen=True)
class Timed:
    """The median ``seconds`` of so many ``trials``, and the memory that the first of them took at its peak."""

    seconds: float
    peak_bytes: int | None
    trials: int


def timed(
    contenders: Mapping[str, Callable[[], object]], device: torch.device | None = None, trials: int = TRIALS
) -> dict[str, Timed]:
    """Each contender: one warm-up, then ``trials`` rounds over all of them. A GPU's call ends when it has finished."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    peaks: dict[str, int | None] = {}
    for work in contenders.values():
        _seconds(work, device)
    for name, work in contenders.items():
        with watched_peak(device) as peak:
            seconds[name].append(_seconds(work, device))
        peaks[name] = peak.n_bytes
    for _ in range(trials - 1):
        for name, work in contenders.items():
            seconds[name].append(_seconds(work, device))
    return {name: Timed(statistics.median(s), peaks[name], trials) for name, s in seconds.items()}


def _seconds(work: Callable[[], object], device: torch.device | None) -> float:
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device | None) -> None:
    """Waits until a GPU has done what it was given."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)

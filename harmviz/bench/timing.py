"""Timing: medians of repeated, interleaved trials, so that a busy moment hits every contender alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

TRIALS = 5


def medians(contenders: Mapping[str, Callable[[], object]], trials: int = TRIALS) -> dict[str, float]:
    """Seconds per call of each contender: one warm-up, then the median of ``trials`` rounds over all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()
    for _ in range(trials):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def synchronised(work: Callable[[], object], device_type: str) -> Callable[[], object]:
    """``work`` that returns only when the device has finished it."""
    if device_type != "cuda":
        return work
    import torch

    def both() -> None:
        work()
        torch.cuda.synchronize()

    return both

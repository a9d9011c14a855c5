"""A number with its interval: the only type for it. What it rests on, and why there is none, stand beside it."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """A value with its percentile interval, in the unit of the samples.

    ``n`` samples in ``n_clusters`` clusters, both counted over all cells. ``n_dropped`` draws left a cell empty and were
    dropped. Where the interval is None (or the value NaN), ``reason`` says why; else it is None.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    n_clusters: int
    n_dropped: int = 0
    reason: str | None = None

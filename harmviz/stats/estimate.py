"""A number with its interval: the only type for it. What it rests on, and why there is none, stand beside it."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """A value with its interval, in the unit of the samples.

    Whoever makes it says which interval: the percentile interval of resampled clusters (``harmviz.stats.bootstrap``),
    Wilson's (``harmviz.stats.wilson``), or the range of draws by chance (``harmviz.stats.chance``).

    ``n`` samples in ``n_clusters`` clusters, both counted over all cells. ``n_dropped`` draws had no value and were
    dropped. Where the interval is None (or the value NaN), ``reason`` says why; else it is None.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    n_clusters: int
    n_dropped: int = 0
    reason: str | None = None

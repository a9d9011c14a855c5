"""How few weights carry the harm score: Lorenz curve, Gini and effective count of its positive part.

With ``s_i = max(0, H_i)`` over all N scored weights (non-positive weights count as zeros):

- **effective count** ``(Σs)² / Σs²``: the number of equal weights that would be as concentrated;
- **Lorenz share** at ``f``: the share of ``Σs`` held by the ``⌊f·N⌋`` largest, for fractions of N from 1e-7 to 1;
- **Gini** ``Σ_i (2i − N − 1) s_(i) / (N Σs)``, ``s_(1) ≤ … ≤ s_(N)``: 0 = all equal, near 1 = held by few.

Up to ``EXACT_LIMIT`` positive values are sorted: all exact. Beyond, one pass fills a histogram over the upper 16 bits
of the float32 pattern (ordered as the values; a bin spans at most 1/128 of its value, wider only below 1e-38) with
the exact count and float64 sum of each bin. Sums and effective count stay exact to rounding. Inside a bin with values
in ``[lo, hi]``, count n, mean μ, Lorenz share and Gini lie between bounds that n and μ imply; the middle is reported
and half the gap as ``…_error``: a hard bound, no standard error. It is at most 1/256 of the cut bin's share for a
Lorenz point and 1/1024 for the Gini; on heavy-tailed scores both are near 1e-6.

**Comparable at equal sample counts only.** A score is a mean over samples; its noise adds positive mass spread over all
weights, which shrinks with the number of samples. Fewer samples look less concentrated, whatever the model.

Source: Gastwirth 1972, Rev. Econ. Stat. 54:306–316 (bounds of the Lorenz curve and Gini from grouped data); effective
count: Kish 1965's effective sample size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harmviz.masks.ranking import Chunks, check_fraction, count_of

#: Up to this many positive values are sorted (exact); beyond, histogrammed.
EXACT_LIMIT = 1 << 20
#: Fractions of all scored weights at which the Lorenz curve is given: three a decade, 1e-7 … 1.
LORENZ_FRACTIONS = (*(float(f"{m}e{e}") for e in range(-7, 0) for m in (1, 2, 5)), 1.0)
#: Values handled at a time: temporaries stay in the tens of MB whatever the matrix size.
_BLOCK = 1 << 20
#: Bins of the upper 16 bits of non-negative finite float32 values; the last one would be +inf and NaN.
_BINS = 0x7F80


class LorenzPoint(NamedTuple):
    """``share ± error`` of the total lies in the ``n_weights = ⌊fraction·N⌋`` largest; NaN where that is no weight."""

    fraction: float
    n_weights: int
    share: float
    error: float


@dataclass(frozen=True)
class Concentration:
    """Concentration of one set's positive harm score, accumulated over ``n_samples`` samples (see the module).

    ``total`` is Σs in the score's unit (nats). Where no score is positive every measure is NaN and ``reason`` says so.
    """

    n_samples: int
    n_weights: int
    n_positive: int
    total: float
    effective_count: float
    gini: float
    gini_error: float
    lorenz: tuple[LorenzPoint, ...]
    reason: str | None = None


def concentration(
    chunks: Chunks, n_samples: int, *, fractions: Sequence[float] = LORENZ_FRACTIONS, exact_limit: int = EXACT_LIMIT
) -> Concentration:
    """Effective count, Gini and Lorenz curve of ``max(0, score)`` over all values of one pass.

    Args:
        chunks: a function from nothing to an iterator of float32 score arrays, together all N scored weights.
        n_samples: how many samples the scores are a mean of, kept beside the result.
        fractions: of N, each in [0, 1].
        exact_limit: above this many positive values the histogram is used.

    Raises:
        ValueError: a score is NaN or infinite, ``n_samples < 1``, or a fraction lies outside [0, 1].
    """
    gathered = PositivePart(n_samples, fractions=fractions, exact_limit=exact_limit)
    for chunk in chunks():
        gathered.add(chunk)
    return gathered.result()


class PositivePart:
    """What ``concentration`` keeps of the scores while they pass by, array by array; arguments and errors as there."""

    def __init__(
        self, n_samples: int, *, fractions: Sequence[float] = LORENZ_FRACTIONS, exact_limit: int = EXACT_LIMIT
    ):
        if n_samples < 1:
            raise ValueError(f"n_samples must be >= 1, got {n_samples}")
        self._n_samples, self._exact_limit = n_samples, exact_limit
        self._fractions = [check_fraction("fractions", f) for f in fractions]
        self._count = np.zeros(_BINS, dtype=np.int64)
        self._total = np.zeros(_BINS)
        self._square = 0.0
        self._n_weights = 0
        self._kept: list[np.ndarray] | None = []  # the positive values, as long as they are few enough to sort

    def add(self, scores: np.ndarray) -> None:
        flat = np.asarray(scores, dtype=np.float32).ravel()
        self._n_weights += flat.size
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            if (bad := block[~np.isfinite(block)]).size:
                raise ValueError(f"scores must be finite, got {bad[0]} ({bad.size} such among {block.size})")
            positive = block[block > 0]
            place = (positive.view(np.uint32) >> 16).astype(np.intp)
            values = positive.astype(np.float64)
            self._count += np.bincount(place, minlength=_BINS)
            self._total += np.bincount(place, weights=values, minlength=_BINS)
            self._square += float(values @ values)
            if self._kept is not None:
                self._kept.append(positive)
                if self._count.sum() > self._exact_limit:
                    self._kept = None

    def result(self) -> Concentration:
        """Of everything that was added."""
        n_weights, n_positive, mass = self._n_weights, int(self._count.sum()), float(self._total.sum())
        sizes = [count_of(f, n_weights) for f in self._fractions]
        if not n_positive:
            nan = float("nan")
            points = tuple(LorenzPoint(f, k, nan, nan) for f, k in zip(self._fractions, sizes, strict=True))
            return Concentration(self._n_samples, n_weights, 0, 0.0, nan, nan, nan, points, "no score is positive")
        if self._kept is not None:
            descending = np.sort(np.concatenate(self._kept))[::-1].astype(np.float64)
            shares, errors, gini, gini_error = *_exact(descending, sizes, n_weights), 0.0
        else:
            filled = np.flatnonzero(self._count)[::-1]
            shares, errors, gini, gini_error = _bounded(
                filled, self._count[filled], self._total[filled], sizes, n_weights
            )
        lorenz = tuple(
            LorenzPoint(f, k, float(s) if k else float("nan"), float(e) if k else float("nan"))
            for f, k, s, e in zip(self._fractions, sizes, shares, errors, strict=True)
        )
        effective = mass * mass / self._square
        return Concentration(self._n_samples, n_weights, n_positive, mass, effective, gini, gini_error, lorenz)


def _exact(descending: np.ndarray, sizes: list[int], n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Lorenz shares of the top ``sizes``, their errors (0), and the Gini, from the sorted positive values."""
    held = np.concatenate([[0.0], np.cumsum(descending)])
    shares = held[np.minimum(sizes, len(descending))] / held[-1]
    # Rank i counts from the smallest of all N, so the largest value has rank N.
    rank = n - np.arange(len(descending), dtype=np.float64)
    gini = float(((2 * rank - n - 1) @ descending) / (n * held[-1]))
    return shares, np.zeros(len(sizes)), gini


def _bounded(
    bins: np.ndarray, count: np.ndarray, total: np.ndarray, sizes: list[int], n: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Lorenz shares and Gini with their error bounds from filled bins in descending order."""
    low = _value(bins << 16)
    high = _value((bins << 16) | 0xFFFF)
    before = np.concatenate([[0], np.cumsum(count)])
    held = np.concatenate([[0.0], np.cumsum(total)])
    mass = held[-1]

    k = np.minimum(sizes, before[-1])
    b = np.minimum(np.searchsorted(before, k, side="right") - 1, len(bins) - 1)
    inside = k - before[b]  # how many of the cut bin's weights are taken
    rest = count[b] - inside
    least = np.maximum(inside * total[b] / count[b], total[b] - rest * high[b])
    most = np.minimum(inside * high[b], total[b] - rest * low[b])
    most = np.maximum(most, least)  # they meet where the bin is taken whole or not at all, up to rounding
    shares, errors = (held[b] + (least + most) / 2) / mass, (most - least) / 2 / mass

    # Between bins: every weight at its bin's mean. Within a bin the Gini is at least 0, and at most that of values at
    # the bin's two ends with the same mean; it enters with weight (n_b/N)·(share of b).
    people, share = count / n, total / mass
    ahead = (held[:-1] + held[1:]) / 2 / mass  # mean share held by those above a weight of this bin
    between = float(2 * (people @ ahead) + 2 * (n - before[-1]) / n - 1)  # the zeros come last: all is held before them
    mean = total / count
    spread = np.clip((mean - low) * (high - mean), 0, None) / (mean * (high - low))
    within = float((people * share) @ spread)
    return shares, errors, between + within / 2, within / 2


def _value(bits: np.ndarray) -> np.ndarray:
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)

"""One-to-one matching of two groups on what they should not differ in.

So that a difference between harmful and safe answers is not owed to their source, their length, or to how surprising
they are to the model. Greedy nearest-neighbour matching without replacement inside exact strata, the closest pairs
first, on Mahalanobis-like distance with independent scales.

Source: Rubin 1973, "Matching to remove bias in observational studies"; greedy order after Rosenbaum 2002, ch. 10.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Matched(NamedTuple):
    """``first[k]`` and ``second[k]`` are the places of the k-th pair in the two groups; ``gap``: standardised
    difference of means of each trait after matching, in pooled standard deviations of all units (0 is balance)."""

    first: np.ndarray
    second: np.ndarray
    gap: np.ndarray


def match_pairs(
    traits_first: np.ndarray,
    traits_second: np.ndarray,
    strata_first: np.ndarray,
    strata_second: np.ndarray,
    *,
    caliper: float = 1.0,
) -> Matched:
    """Pairs of like units, one of each group, no unit twice.

    ``traits_… [n, d]``: what is matched on, each column divided by its standard deviation over both groups.
    ``strata_… [n]``: units are paired only inside equal strata. ``caliper``: the largest distance (Euclidean, in those
    standard deviations) that a pair may have. Of equal distances the pair earlier in the first group, then in the
    second, is taken.

    Raises:
        ValueError: traits are not finite, or shapes do not fit.
    """
    a, b = np.asarray(traits_first, float), np.asarray(traits_second, float)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or len(a) != len(strata_first):
        raise ValueError(f"traits must be [n, d] of equal d with a stratum each, got {a.shape} and {b.shape}")
    if len(b) != len(strata_second) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("traits must be finite, with a stratum each")
    scale = np.concatenate([a, b]).std(axis=0) if len(a) + len(b) else np.ones(a.shape[1])
    scale = np.where(scale > 0, scale, 1.0)
    a, b = a / scale, b / scale
    distance = np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(-1))
    distance[np.asarray(strata_first)[:, None] != np.asarray(strata_second)[None, :]] = np.inf
    first: list[int] = []
    second: list[int] = []
    for place in np.argsort(distance, axis=None, kind="stable"):
        i, j = divmod(int(place), len(b))
        if distance[i, j] > caliper:
            break
        if i not in first and j not in second:
            first.append(i)
            second.append(j)
    pairs = np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)
    gap = a[pairs[0]].mean(0) - b[pairs[1]].mean(0) if first else np.full(a.shape[1], np.nan)
    return Matched(*pairs, gap)

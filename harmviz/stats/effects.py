"""The 95 % interval beside every effect: means of paired differences and their contrasts, whole prompts resampled.

The common front ends of ``harmviz.stats.bootstrap.cluster_bootstrap``: a mean, a difference of means, and both
averaged over categories. Intervals are conditional on the mask: they say how the effect would vary over prompts, not
over scoring sets. ``category_mean`` is the macro mean alone, for whoever needs no interval.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from harmviz.stats.bootstrap import checked_arm, checked_labels, cluster_bootstrap
from harmviz.stats.draws import numbered
from harmviz.stats.estimate import Estimate
from harmviz.stats.wilson import wilson


def paired_effect(
    delta: Sequence[float] | np.ndarray,
    cluster: Iterable[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Mean of per-sample paired differences, ``Σ delta_i / n``; every sample weighs equally.

    ``delta[i]`` is pruned − intact of one sample, ``cluster[i]`` its prompt. No samples: NaN with the reason.

    Raises:
        ValueError: a delta is not finite, lengths differ, or ``draws`` or ``level`` is out of range.
    """
    values, keys = checked_arm("delta", delta, "cluster", cluster)
    one_cell = np.zeros(len(values), dtype=np.int64)
    return cluster_bootstrap(values, keys, one_cell, 1, _first, draws=draws, seed=seed, level=level)


def macro_mean(
    delta: Sequence[float] | np.ndarray,
    cluster: Iterable[Hashable],
    category: Iterable[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Mean over categories of the category means: every category weighs equally, whatever its size.

    Clusters are resampled within their category. Categories that share a prompt are resampled as one stratum, so that
    the shared prompt moves in both.

    Raises:
        ValueError: as ``paired_effect``.
    """
    values, keys = checked_arm("delta", delta, "cluster", cluster)
    labels = checked_labels("category", category, len(values))
    names, cell = numbered(labels)
    strata = np.arange(len(names))
    return cluster_bootstrap(
        values,
        keys,
        cell,
        len(names),
        _macro,
        cell_stratum=strata,
        cell_names=names,
        draws=draws,
        seed=seed,
        level=level,
    )


def category_mean(values: Sequence[float] | np.ndarray, category: Iterable[Hashable]) -> float:
    """Mean over categories of the category means, ``(1/C) Σ_c mean(values in c)``: the value of ``macro_mean``.

    Raises:
        ValueError: a value is not finite, lengths differ, or there are none.
    """
    array, labels = checked_arm("values", values, "category", category)
    if not len(array):
        raise ValueError("values must hold at least one number, got none")
    _, cell = numbered(labels)
    return float((np.bincount(cell, weights=array) / np.bincount(cell)).mean())


def macro_difference(
    delta_a: Sequence[float] | np.ndarray,
    cluster_a: Iterable[Hashable],
    category_a: Iterable[Hashable],
    delta_b: Sequence[float] | np.ndarray,
    cluster_b: Iterable[Hashable],
    category_b: Iterable[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Mean over categories of ``mean(a in category) − mean(b in category)``, e.g. macro harm minus macro safe.

    Resampled within categories as in ``macro_mean``, both sides of a category together.

    Raises:
        ValueError: as ``paired_effect``, or a category occurs on one side only (its difference does not exist; leaving
            it out is the caller's decision).
    """
    values_a, keys_a = checked_arm("delta_a", delta_a, "cluster_a", cluster_a)
    values_b, keys_b = checked_arm("delta_b", delta_b, "cluster_b", cluster_b)
    labels_a = checked_labels("category_a", category_a, len(values_a))
    labels_b = checked_labels("category_b", category_b, len(values_b))
    if lonely := sorted(map(str, set(labels_a) ^ set(labels_b))):
        raise ValueError(
            f"category_a and category_b must name the same categories, only one side has {', '.join(lonely)}"
        )
    names, number = numbered(labels_a + labels_b)
    c = len(names)
    cell = number + np.repeat([0, c], [len(values_a), len(values_b)])
    return cluster_bootstrap(
        np.concatenate([values_a, values_b]),
        keys_a + keys_b,
        cell,
        2 * c,
        lambda means: (means[..., :c] - means[..., c:]).mean(axis=-1),
        cell_stratum=np.tile(np.arange(c), 2),
        cell_names=[f"{side} of {n}" for side in "ab" for n in names],
        draws=draws,
        seed=seed,
        level=level,
    )


def excess_difference(
    a: np.ndarray, of_a: Sequence[Hashable], b: np.ndarray, of_b: Sequence[Hashable], *, seed: int = 0
) -> Estimate:
    """``mean(a) − mean(b)``, a difference of differences of shares: how much further one kind of request moves.

    ``a``, ``b``: a change in [−1, 1] a request (draws averaged); ``of_a``, ``of_b``: the requests. Both kinds are
    resampled, whole requests at a time. Where nothing moves, and so every resampling agrees, the interval is Wilson's
    for no hit in the smaller n. Nothing on one side: NaN with the reason.

    Raises:
        ValueError: as ``paired_effect``.
    """
    counts = [len(set(of_a)), len(set(of_b))]
    if not all(counts):
        return Estimate(math.nan, None, None, 0, 0, reason="no answer was scored")
    if not np.any(a) and not np.any(b):
        most = wilson(0, min(counts)).ci_high or 0.0
        return Estimate(0.0, -most, most, sum(counts), sum(counts))
    sides = [[(side, key) for key in keys] for side, keys in (("a", of_a), ("b", of_b))]
    return macro_difference(a, sides[0], ["all"] * len(a), b, sides[1], ["all"] * len(b), seed=seed)


def _first(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def _macro(means: np.ndarray) -> np.ndarray:
    return means.mean(axis=-1)

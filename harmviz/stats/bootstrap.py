"""Cluster bootstrap: the 95 % interval beside every effect, with whole prompts resampled instead of single answers.

One core, ``cluster_bootstrap``, serves every measure. Each sample *i* has a value ``v_i`` (for an effect the paired
difference pruned − intact, in nats per token), a cluster (its prompt) and a *cell* (the set it is averaged into: a
category, an arm, a checkpoint, a grid point). With ``w_g`` the number of times cluster *g* was drawn,

    mean(cell) = Σ_g w_g · Σ_{i ∈ g, cell} v_i  /  Σ_g w_g · #{i ∈ g, cell}        (ratio of sums),

the statistic is a function of the cell means, and the interval is the percentile interval of the statistic over draws.
``w = 1`` gives the value itself. All cells share one draw, so a prompt that has answers in several cells moves in all
of them together: pairing across arms, categories and checkpoints is kept.

Each draw takes ``n_h − 1`` of the ``n_h`` clusters of stratum *h*, with replacement. The plain choice of ``n_h`` gives
a variance too small by ``(n_h − 1)/n_h``, which does not vanish when many small categories are averaged; one draw fewer
makes the variance of a mean unbiased. The cell means are ratios, so nothing has to be rescaled.

Intervals are conditional on the mask: they say how the effect would vary over prompts, not over scoring sets.

Source: Efron & Tibshirani 1993, ch. 13 (percentile interval); Rao & Wu 1988, JASA 83:231–241 (n − 1 clusters per
stratum); Davison & Hinkley 1997, §3.8 (resampling whole clusters).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from harmviz.stats.estimate import Estimate

#: A statistic maps cell means, shape ``(…, cells)``, to one number each, shape ``(…)``.
Statistic = Callable[[np.ndarray], np.ndarray]

#: Draws × clusters of one block of weights: 2**20 float64 are 8 MB.
_BLOCK = 1 << 20
#: Beyond this share of draws without a value, what is left is a selection of draws and no interval is given.
MAX_DROPPED = 0.1


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
    values, keys = _arm("delta", delta, "cluster", cluster)
    one_cell = np.zeros(len(values), dtype=np.int64)
    return cluster_bootstrap(values, keys, one_cell, 1, _first, draws=draws, seed=seed, level=level)


def difference_of_means(
    delta_a: Sequence[float] | np.ndarray,
    cluster_a: Iterable[Hashable],
    delta_b: Sequence[float] | np.ndarray,
    cluster_b: Iterable[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """``mean(delta_a) − mean(delta_b)``, e.g. harm minus safe: the harm-specific effect.

    The union of both sides' clusters is resampled once per draw, so equal cluster keys move together. ``n`` counts the
    samples of both sides.

    Raises:
        ValueError: as ``paired_effect``.
    """
    values_a, keys_a = _arm("delta_a", delta_a, "cluster_a", cluster_a)
    values_b, keys_b = _arm("delta_b", delta_b, "cluster_b", cluster_b)
    cell = np.repeat([0, 1], [len(values_a), len(values_b)])
    values = np.concatenate([values_a, values_b])
    return cluster_bootstrap(
        values, keys_a + keys_b, cell, 2, _a_minus_b, cell_names=("a", "b"), draws=draws, seed=seed, level=level
    )


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
    values, keys = _arm("delta", delta, "cluster", cluster)
    labels = _labels("category", category, len(values))
    names, cell = _number(labels)
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
    values_a, keys_a = _arm("delta_a", delta_a, "cluster_a", cluster_a)
    values_b, keys_b = _arm("delta_b", delta_b, "cluster_b", cluster_b)
    labels_a = _labels("category_a", category_a, len(values_a))
    labels_b = _labels("category_b", category_b, len(values_b))
    if lonely := sorted(map(str, set(labels_a) ^ set(labels_b))):
        raise ValueError(
            f"category_a and category_b must name the same categories, only one side has {', '.join(lonely)}"
        )
    names, number = _number(labels_a + labels_b)
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


def cluster_bootstrap(
    values: np.ndarray,
    cluster: Sequence[Hashable],
    cell: np.ndarray,
    n_cells: int,
    statistic: Statistic,
    *,
    cell_stratum: np.ndarray | None = None,
    cell_names: Sequence[Any] | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """``statistic`` of the cell means with its percentile interval over resampled clusters; the module's core.

    Args:
        values: float[n], one number a sample.
        cluster: n keys; equal keys are one cluster, whichever cells their samples lie in.
        cell: int[n] in ``0 … n_cells − 1``.
        statistic: maps cell means ``(…, n_cells)`` to ``(…)``; NaN means "no value in this draw", and is dropped.
        cell_stratum: int[n_cells]; clusters are resampled within the stratum of their cells. Strata that share a
            cluster are merged. None: one stratum.
        cell_names: names of the cells for ``reason``.

    Raises:
        ValueError: a value is not finite, lengths differ, or ``draws``, ``level``, ``cell`` is out of range.
    """
    if isinstance(draws, bool) or int(draws) != draws or draws < 1:
        raise ValueError(f"draws must be a whole number >= 1, got {draws!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must satisfy 0 < level < 1, got {level!r}")
    values, keys = _arm("values", values, "cluster", cluster)
    cell = np.asarray(cell, dtype=np.int64)
    if cell.shape != values.shape:
        raise ValueError(f"cell must have one entry per value ({len(values)}), got shape {cell.shape}")
    if cell.size and not (cell.min() >= 0 and cell.max() < n_cells):
        raise ValueError(f"cell must lie in 0 … {n_cells - 1}, got {cell.min()} … {cell.max()}")
    names = [str(x) for x in cell_names] if cell_names is not None else [str(i) for i in range(n_cells)]

    unique, of_sample = _number(keys)
    n, n_clusters = len(values), len(unique)
    flat = of_sample * n_cells + cell
    sums = np.bincount(flat, weights=values, minlength=n_clusters * n_cells).reshape(n_clusters, n_cells)
    counts = np.bincount(flat, minlength=n_clusters * n_cells).reshape(n_clusters, n_cells).astype(np.float64)

    if n == 0:
        return Estimate(float("nan"), None, None, 0, 0, reason="no samples")
    if (empty := np.flatnonzero(counts.sum(axis=0) == 0)).size:
        return Estimate(float("nan"), None, None, n, n_clusters, reason=f"no samples in {names[empty[0]]}")
    value = float(statistic(sums.sum(axis=0) / counts.sum(axis=0)))
    if np.isnan(value):
        return Estimate(value, None, None, n, n_clusters, reason="the statistic has no value on these samples")
    if n_clusters < 2:
        return Estimate(value, None, None, n, n_clusters, reason="a single prompt: how prompts vary is not known")
    strata = linked_strata(counts > 0, cell_stratum)
    if lonely := [s for s in strata if len(s) < 2]:
        where = names[int(np.flatnonzero(counts[lonely[0][0]])[0])]
        return Estimate(
            value, None, None, n, n_clusters, reason=f"a single prompt in {where}: how prompts vary is not known"
        )

    results = _resample(sums, counts, strata, statistic, int(draws), seed)
    kept = results[~np.isnan(results)]
    dropped = len(results) - len(kept)
    if dropped > MAX_DROPPED * len(results):
        why = f"{dropped} of {len(results)} resamplings gave no value (a set was left without prompts): too few for an interval"
        return Estimate(value, None, None, n, n_clusters, dropped, why)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), n, n_clusters, dropped)


def _resample(
    sums: np.ndarray, counts: np.ndarray, strata: list[np.ndarray], statistic: Statistic, draws: int, seed: int
) -> np.ndarray:
    """The statistic in each draw, NaN where a cell came out empty."""
    rng = np.random.default_rng(seed)
    n_clusters = len(sums)
    step = max(1, _BLOCK // n_clusters)
    out = np.empty(draws)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        weights = draw_weights(rng, strata, n_clusters, size)
        total = weights @ counts
        with np.errstate(invalid="ignore"):  # 0/0 is the NaN that marks an empty cell
            means = (weights @ sums) / total
            result = np.asarray(statistic(means), dtype=np.float64)
        # A statistic that skips NaN must not hide an empty cell.
        out[start : start + size] = np.where((total > 0).all(axis=1), result, np.nan)
    return out


def draw_weights(rng: np.random.Generator, strata: Sequence[np.ndarray], n_clusters: int, size: int) -> np.ndarray:
    """float64[size, n_clusters]: how often each draw took each cluster, ``n_h − 1`` of the ``n_h`` clusters of stratum *h*."""
    weights = np.empty((size, n_clusters))
    for members in strata:
        # Counting uniform picks is the multinomial draw, several times faster than rng.multinomial.
        k = len(members)
        picks = rng.integers(0, k, size=(size, k - 1)) + k * np.arange(size)[:, None]
        weights[:, members] = np.bincount(picks.ravel(), minlength=size * k).reshape(size, k)
    return weights


def linked_strata(member: np.ndarray, cell_stratum: np.ndarray | None) -> list[np.ndarray]:
    """Clusters by stratum, where strata linked through a shared cluster count as one. ``member``: bool[clusters, cells]."""
    if cell_stratum is None:
        return [np.arange(len(member))]
    label = np.asarray(cell_stratum, dtype=np.int64).copy()
    while True:  # the smallest label spreads through shared clusters; at most n_cells rounds
        of_cluster = np.where(member, label, np.iinfo(np.int64).max).min(axis=1)
        spread = np.where(member, of_cluster[:, None], np.iinfo(np.int64).max).min(axis=0)
        # Cells of one stratum stay together even where they share no cluster.
        joined = np.array([spread[cell_stratum == s].min() for s in np.asarray(cell_stratum)])
        if np.array_equal(joined, label):
            return [np.flatnonzero(of_cluster == s) for s in np.unique(of_cluster)]
        label = joined


def _arm(name: str, values: Any, cluster_name: str, cluster: Iterable[Hashable]) -> tuple[np.ndarray, list[Hashable]]:
    """Checked float64 values and their cluster keys."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if (bad := np.flatnonzero(~np.isfinite(array))).size:
        raise ValueError(
            f"{name} must be finite, got {array[bad[0]]} at {bad[0]} ({bad.size} such); leave unscored samples out"
        )
    return array, _labels(cluster_name, cluster, len(array))


def _labels(name: str, labels: Iterable[Hashable], n: int) -> list[Hashable]:
    keys = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    if len(keys) != n:
        raise ValueError(f"{name} must have one entry per sample ({n}), got {len(keys)}")
    return keys


def _number(keys: Sequence[Hashable]) -> tuple[list[Hashable], np.ndarray]:
    """Distinct keys in order of appearance, and the place of each key among them."""
    place: dict[Hashable, int] = {}
    numbers = [place.setdefault(k, len(place)) for k in keys]
    return list(place), np.array(numbers, dtype=np.int64)


def _first(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def _a_minus_b(means: np.ndarray) -> np.ndarray:
    return means[..., 0] - means[..., 1]


def _macro(means: np.ndarray) -> np.ndarray:
    return means.mean(axis=-1)

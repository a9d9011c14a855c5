"""The one resampler: a statistic in many draws of whole clusters, and what becomes of it, an ``Estimate``.

A *cluster* is a prompt with everything that was measured on it; a draw takes clusters, ``n − 1`` of ``n``
(``harmviz.stats.draws``). Three forms of the statistic, one end:

- ``cluster_bootstrap``: a function of **cell means**, for effects. Each sample *i* has a value ``v_i``, a cluster and a
  *cell* (the set it is averaged into: a category, an arm, a checkpoint, a grid point). With ``w_g`` the number of times
  cluster *g* was drawn,

      mean(cell) = Σ_g w_g · Σ_{i ∈ g, cell} v_i  /  Σ_g w_g · #{i ∈ g, cell}        (ratio of sums),

  and ``w = 1`` gives the value itself. All cells share one draw, so a prompt that has answers in several cells moves in
  all of them together: pairing across arms, categories and checkpoints is kept. Ratios have nothing to be rescaled.
- ``crossed_bootstrap`` (``harmviz.stats.crossed``): the same with seeds drawn beside prompts.
- ``group_bootstrap``: a function of **rows**, for ranks and other statistics that no mean gives.

``estimate_of_draws`` ends all of them: the percentile interval over the draws that gave a value.

Source: Efron & Tibshirani 1993, ch. 13 (percentile interval); Davison & Hinkley 1997, §3.8 (resampling whole clusters).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from harmviz.stats.draws import check_draws, draw_picks, draw_weights, linked_strata, numbered
from harmviz.stats.estimate import Estimate

#: A statistic maps cell means, shape ``(…, cells)``, to one number each, shape ``(…)``.
Statistic = Callable[[np.ndarray], np.ndarray]

#: Draws × clusters of one block of weights: 2**20 float64 are 8 MB.
_BLOCK = 1 << 20
#: The ends of the 95 % interval, as quantiles over draws.
ENDS_95 = (0.025, 0.975)
#: Beyond this share of draws without a value, what is left is a selection of draws and no interval is given.
MAX_DROPPED = 0.1


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
    """``statistic`` of the cell means with its percentile interval over resampled clusters.

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
    draws = check_draws(draws)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must satisfy 0 < level < 1, got {level!r}")
    values, keys = checked_arm("values", values, "cluster", cluster)
    cell = np.asarray(cell, dtype=np.int64)
    if cell.shape != values.shape:
        raise ValueError(f"cell must have one entry per value ({len(values)}), got shape {cell.shape}")
    if cell.size and not (cell.min() >= 0 and cell.max() < n_cells):
        raise ValueError(f"cell must lie in 0 … {n_cells - 1}, got {cell.min()} … {cell.max()}")
    names = [str(x) for x in cell_names] if cell_names is not None else [str(i) for i in range(n_cells)]

    unique, of_sample = numbered(keys)
    n, n_clusters = len(values), len(unique)
    flat = of_sample * n_cells + cell
    sums = np.bincount(flat, weights=values, minlength=n_clusters * n_cells).reshape(n_clusters, n_cells)
    counts = np.bincount(flat, minlength=n_clusters * n_cells).reshape(n_clusters, n_cells).astype(np.float64)

    def without_interval(value: float, why: str) -> Estimate:
        return Estimate(value, None, None, n, n_clusters, reason=why)

    if n == 0:
        return without_interval(float("nan"), "no samples")
    if (empty := np.flatnonzero(counts.sum(axis=0) == 0)).size:
        return without_interval(float("nan"), f"no samples in {names[empty[0]]}")
    value = float(statistic(sums.sum(axis=0) / counts.sum(axis=0)))
    if np.isnan(value):
        return without_interval(value, "the statistic has no value on these samples")
    if n_clusters < 2:
        return without_interval(value, "a single prompt: how prompts vary is not known")
    strata = linked_strata(counts > 0, cell_stratum)
    if lonely := [s for s in strata if len(s) < 2]:
        name = names[int(np.flatnonzero(counts[lonely[0][0]])[0])]
        return without_interval(value, f"a single prompt in {name}: how prompts vary is not known")
    results = _resampled(sums, counts, strata, statistic, draws, seed)
    return estimate_of_draws(value, results, n=n, n_clusters=n_clusters, ends=ends_of(level))


def _resampled(
    sums: np.ndarray, counts: np.ndarray, strata: list[np.ndarray], statistic: Statistic, draws: int, seed: int
) -> np.ndarray:
    """float64[draws]: the statistic in each draw, NaN where a cell came out empty."""
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


def group_bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: Iterable[Hashable] | np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """``statistic(rows)`` on all rows with its 95 % percentile interval over resampled groups.

    ``groups[i]``: the group of row *i*, of a kind that sorts. ``rows`` are indices, with repeats; NaN: no value. One
    call a draw, so it costs more than ``cluster_bootstrap``: only for what is no function of means.

    Raises:
        ValueError: ``draws`` is out of range.
    """
    draws = check_draws(draws)
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    n, n_groups = len(place), int(place.max()) + 1 if len(place) else 0
    value = float(statistic(np.arange(n)))
    if n_groups < 2:
        return Estimate(value, None, None, n, n_groups, reason="a single group: how groups vary is not known")
    members = [np.flatnonzero(place == g) for g in range(n_groups)]
    if np.isnan(value):
        return estimate_of_draws(value, np.empty(0), n=n, n_clusters=n_groups)
    picks = draw_picks(np.random.default_rng(seed), n_groups, draws)
    results = np.array([statistic(np.concatenate([members[g] for g in drawn])) for drawn in picks.tolist()])
    return estimate_of_draws(value, results, n=n, n_clusters=n_groups)


def estimate_of_draws(
    value: float, results: np.ndarray, *, n: int, n_clusters: int, ends: tuple[float, float] = ENDS_95
) -> Estimate:
    """``value`` with the percentile interval of ``results [draws]``; NaN in a draw means no value there.

    The interval is None where there is no value, or more than ``MAX_DROPPED`` of the draws gave none. Infinite results
    are results (*not reached*): then the ends are results themselves, as nothing lies between a number and infinity.
    """
    if np.isnan(value):
        return Estimate(value, None, None, n, n_clusters, reason="the statistic has no value on these samples")
    kept = results[~np.isnan(results)]
    dropped = len(results) - len(kept)
    if dropped > MAX_DROPPED * len(results):
        why = (
            f"{dropped} of {len(results)} resamplings gave no value (a set was left without prompts): "
            "too few for an interval"
        )
        return Estimate(value, None, None, n, n_clusters, dropped, why)
    method: Literal["linear", "nearest"] = "linear" if np.isfinite(kept).all() else "nearest"
    low, high = np.quantile(kept, ends, method=method)
    return Estimate(value, float(low), float(high), n, n_clusters, dropped)


def ends_of(level: float) -> tuple[float, float]:
    """The ends of an interval of this level, as quantiles.

    Of 0.95 it gives ``ENDS_95`` but for the last bit of the lower one, (1 − 0.95)/2 = 0.025000000000000022: stored rows
    rest on either, so both stay.
    """
    return (1 - level) / 2, (1 + level) / 2


def checked_arm(
    name: str, values: Any, cluster_name: str, cluster: Iterable[Hashable]
) -> tuple[np.ndarray, list[Hashable]]:
    """``values`` as float64[n], and their n cluster keys.

    Raises:
        ValueError: ``values`` is not one-dimensional or not finite, or the lengths differ.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if (bad := np.flatnonzero(~np.isfinite(array))).size:
        raise ValueError(
            f"{name} must be finite, got {array[bad[0]]} at {bad[0]} ({bad.size} such); leave unscored samples out"
        )
    return array, checked_labels(cluster_name, cluster, len(array))


def checked_labels(name: str, labels: Iterable[Hashable], n: int) -> list[Hashable]:
    """``labels`` as a list of ``n``.

    Raises:
        ValueError: there are more or fewer.
    """
    keys = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    if len(keys) != n:
        raise ValueError(f"{name} must have one entry per sample ({n}), got {len(keys)}")
    return keys

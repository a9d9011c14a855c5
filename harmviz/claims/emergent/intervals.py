"""Intervals over seeds and questions at once: both are drawn anew, each as a whole.

A table ``v[seed, question]`` (NaN: not measured) has the mean ``Σ w_s w_q v / Σ w_s w_q`` over what was measured, where a draw
counts seed *s* ``w_s`` times and every column of prompt *q* ``w_q`` times; all tables of a statistic share the draw, so
that arms stay paired. Of *n* seeds, or prompts, ``n − 1`` are drawn with replacement, as in
``harmviz.stats.bootstrap``. One seed is not drawn: its interval is over questions alone. With three seeds the part
that seeds contribute is itself only roughly known.

Source: Owen 2007, The pigeonhole bootstrap, Ann. Appl. Stat. 1:386–411 (rows and columns drawn independently; errs on the
wide side).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from harmviz.stats.bootstrap import MAX_DROPPED, Estimate

DRAWS = 2000


def over_seeds_and_questions(
    tables: Sequence[np.ndarray],
    clusters: Sequence[Hashable],
    statistic: Callable[[np.ndarray], np.ndarray] = lambda means: means[..., 0],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """``statistic`` of the tables' means, with its percentile interval. ``n``: columns measured; ``n_clusters``: prompts.

    Args:
        tables: one or more ``[seeds, questions]``, NaN where nothing was measured.
        clusters: the prompt of each column.
        statistic: maps means ``(…, tables)`` to ``(…)``.

    Raises:
        ValueError: the tables or the clusters differ in shape.
    """
    stack = np.stack([np.atleast_2d(np.asarray(t, dtype=np.float64)) for t in tables], axis=-1)
    n_seeds, n_columns, _ = stack.shape
    if len(clusters) != n_columns:
        raise ValueError(f"clusters must have one entry per column ({n_columns}), got {len(clusters)}")
    place: dict[Hashable, int] = {}
    of_column = np.array([place.setdefault(c, len(place)) for c in clusters], dtype=np.int64)
    there = ~np.isnan(stack)
    shape = (n_seeds, len(place), stack.shape[2])
    sums, counts = np.zeros(shape), np.zeros(shape)
    for s in range(n_seeds):
        np.add.at(sums[s], of_column, np.where(there[s], stack[s], 0.0))
        np.add.at(counts[s], of_column, there[s].astype(np.float64))
    measured = there.any(axis=(0, 2))
    used = counts.any(axis=(0, 2))
    sums, counts = sums[:, used], counts[:, used]
    n, n_clusters = int(measured.sum()), int(used.sum())
    if not counts.size or (counts.sum(axis=(0, 1)) == 0).any():
        return Estimate(float("nan"), None, None, n, n_clusters, reason="nothing was measured")
    value = float(statistic(sums.sum(axis=(0, 1)) / counts.sum(axis=(0, 1))))
    if np.isnan(value):
        return Estimate(value, None, None, n, n_clusters, reason="the statistic has no value here")
    if n_clusters < 2 and n_seeds < 2:
        return Estimate(
            value, None, None, n, n_clusters, reason="one seed and one question: how they vary is not known"
        )
    rng = np.random.default_rng(seed)
    by_seed, by_question = _draws(n_seeds, draws, rng), _draws(n_clusters, draws, rng)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.einsum("ds,sqt,dq->dt", by_seed, counts, by_question, optimize=True)
        results = statistic(np.einsum("ds,sqt,dq->dt", by_seed, sums, by_question, optimize=True) / total)
    kept = results[np.isfinite(results)]
    dropped = draws - len(kept)
    if dropped > MAX_DROPPED * draws:
        return Estimate(value, None, None, n, n_clusters, dropped, f"{dropped} of {draws} draws gave no value")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), n, n_clusters, dropped)


def _draws(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """``[draws, n]``: how often each of ``n`` is taken when ``n − 1`` are drawn; all once where there is only one."""
    if n < 2:
        return np.ones((draws, n))
    picks = rng.integers(0, n, size=(draws, n - 1)) + n * np.arange(draws)[:, None]
    return np.bincount(picks.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)

"""Intervals over seeds and questions at once: both are drawn anew, each as a whole.

A table ``v[seed, question]`` (NaN: not measured) has the mean ``Σ w_s w_q v / Σ w_s w_q`` over what was measured,
where a draw counts seed *s* ``w_s`` times and every column of prompt *q* ``w_q`` times; all tables of a statistic
share the draw, so that arms stay paired. Of *n* seeds, or prompts, ``n − 1`` are drawn with replacement
(``harmviz.stats.draws``). One seed is not drawn: its interval is over questions alone. With three seeds the part that
seeds contribute is itself only roughly known.

Source: Owen 2007, The pigeonhole bootstrap, Ann. Appl. Stat. 1:386–411 (rows and columns drawn independently; errs on
the wide side).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from harmviz.stats.bootstrap import Statistic, ends_of, estimate_of_draws
from harmviz.stats.draws import draw_weights, numbered
from harmviz.stats.estimate import Estimate


def crossed_bootstrap(
    tables: Sequence[np.ndarray],
    clusters: Sequence[Hashable],
    statistic: Statistic = lambda means: means[..., 0],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """``statistic`` of the tables' means with its percentile interval; ``n``: columns, ``n_clusters``: prompts.

    Both are counted where anything was measured.

    Args:
        tables: one or more ``[seeds, questions]``, NaN where nothing was measured.
        clusters: the prompt of each column.
        statistic: maps means ``(…, tables)`` to ``(…)``; what is not finite is no value.

    Raises:
        ValueError: the tables or the clusters differ in shape.
    """
    stack = np.stack([np.atleast_2d(np.asarray(t, dtype=np.float64)) for t in tables], axis=-1)
    n_seeds, n_columns, _ = stack.shape
    if len(clusters) != n_columns:
        raise ValueError(f"clusters must have one entry per column ({n_columns}), got {len(clusters)}")
    prompts, of_column = numbered(clusters)
    measured = ~np.isnan(stack)
    shape = (n_seeds, len(prompts), stack.shape[2])
    sums, counts = np.zeros(shape), np.zeros(shape)
    for s in range(n_seeds):
        np.add.at(sums[s], of_column, np.where(measured[s], stack[s], 0.0))
        np.add.at(counts[s], of_column, measured[s].astype(np.float64))
    used = counts.any(axis=(0, 2))
    sums, counts = sums[:, used], counts[:, used]
    n, n_clusters = int(measured.any(axis=(0, 2)).sum()), int(used.sum())
    if not counts.size or (counts.sum(axis=(0, 1)) == 0).any():
        return Estimate(float("nan"), None, None, n, n_clusters, reason="nothing was measured")
    value = float(statistic(sums.sum(axis=(0, 1)) / counts.sum(axis=(0, 1))))
    if n_clusters < 2 and n_seeds < 2 and not np.isnan(value):
        why = "one seed and one question: how they vary is not known"
        return Estimate(value, None, None, n, n_clusters, reason=why)
    rng = np.random.default_rng(seed)
    by_seed, by_question = _weights(rng, n_seeds, draws), _weights(rng, n_clusters, draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.einsum("ds,sqt,dq->dt", by_seed, counts, by_question, optimize=True)
        results = statistic(np.einsum("ds,sqt,dq->dt", by_seed, sums, by_question, optimize=True) / total)
    finite = np.where(np.isfinite(results), results, np.nan)
    return estimate_of_draws(value, finite, n=n, n_clusters=n_clusters, ends=ends_of(level))


def _weights(rng: np.random.Generator, n: int, draws: int) -> np.ndarray:
    """float64[draws, n]: how often each of ``n`` is taken; all once where there is only one."""
    return draw_weights(rng, [np.arange(n)], n, draws) if n > 1 else np.ones((draws, n))

"""How well scores agree with labels: rank correlation, AUC, order within a prompt, accuracy; each with an interval over groups.

The intervals resample whole groups (rows that share a request or an answer), ``n − 1`` of ``n`` with replacement, as
``harmviz.stats.bootstrap`` does; its core takes statistics of means only, and ranks are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: Labels closer than this are no pair for ``ordered_pairs``: raters' scores come in steps of 0.25.
MIN_GAP = 0.2


class Interval(NamedTuple):
    """A value with its 95 % percentile interval; None where too few resamplings gave a value."""

    value: float
    ci_low: float | None
    ci_high: float | None


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def spearman(score: np.ndarray, label: np.ndarray) -> float:
    """Rank correlation ``corr(ranks(score), ranks(label))``; NaN where either is constant."""
    a, b = ranks(score), ranks(label)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN where one side is empty."""
    n_pos = int(positive.sum())
    n_neg = len(positive) - n_pos
    if not n_pos or not n_neg:
        return float("nan")
    return float((ranks(score)[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def ordered_pairs(score: np.ndarray, label: np.ndarray, prompt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per answer: how many answers to the same prompt are labelled at least ``MIN_GAP`` lower, and how many of them the score puts
    lower, too (a tie counts half). The sum of the second over that of the first is the order within prompts."""
    pairs, right = np.zeros(len(score)), np.zeros(len(score))
    for p in np.unique(prompt):
        rows = np.flatnonzero(prompt == p)
        s, y = score[rows], label[rows]
        lower = (y[:, None] - y[None, :]) >= MIN_GAP
        pairs[rows] = lower.sum(axis=1)
        right[rows] = (lower * ((s[:, None] > s[None, :]) + 0.5 * (s[:, None] == s[None, :]))).sum(axis=1)
    return pairs, right


def interval(
    statistic: Callable[[np.ndarray], float], groups: Sequence[int] | np.ndarray, *, draws: int = 1000, seed: int = 0
) -> Interval:
    """``statistic(rows)`` on all rows, and its interval over resampled groups. ``rows`` are indices, with repeats."""
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    value = statistic(np.arange(len(place)))
    n_groups = int(place.max()) + 1 if len(place) else 0
    if n_groups < 2 or np.isnan(value):
        return Interval(value, None, None)
    members = [np.flatnonzero(place == g) for g in range(n_groups)]
    rng = np.random.default_rng(seed)
    found = [
        statistic(np.concatenate([members[g] for g in rng.integers(0, n_groups, n_groups - 1)])) for _ in range(draws)
    ]
    kept = np.array([v for v in found if not np.isnan(v)])
    if len(kept) < 0.9 * draws:
        return Interval(value, None, None)
    low, high = np.quantile(kept, [0.025, 0.975])
    return Interval(value, float(low), float(high))

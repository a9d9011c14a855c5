"""How well scores agree with people's labels: rank correlation, AUC, order within a prompt.

Each is a function of rows, for ``harmviz.stats.bootstrap.group_bootstrap`` (rows that share a request or an answer are
one group). Both rank statistics are one line from the ranks, which are scipy's; ``spearmanr`` and ``mannwhitneyu``,
which give the same numbers, take 5 and 15 times as long, and an interval asks a thousand times.
"""

from __future__ import annotations

import numpy as np

#: Labels closer than this are no pair for ``ordered_pairs``: raters' scores come in steps of 0.25.
MIN_GAP = 0.2


def spearman(score: np.ndarray, label: np.ndarray) -> float:
    """Rank correlation ``corr(ranks(score), ranks(label))``, ties sharing their mean rank.

    NaN where either is constant.
    """
    a, b = _ranks(score), _ranks(label)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN where one side is empty.

    ``U / (n₊ n₋)`` with Mann and Whitney's ``U = Σ ranks of the positives − n₊(n₊ + 1)/2``.
    """
    n_pos = int(positive.sum())
    n_neg = len(positive) - n_pos
    if not n_pos or not n_neg:
        return float("nan")
    return float((_ranks(score)[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def _ranks(values: np.ndarray) -> np.ndarray:
    """float64[n]: ranks from 1, ties sharing their mean."""
    from scipy.stats import rankdata  # loads for seconds, and pages that name judges never rank

    return np.asarray(rankdata(values))


def ordered_pairs(score: np.ndarray, label: np.ndarray, prompt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pairs[n], right[n]) per answer; ``Σ right / Σ pairs`` is the order within prompts.

    ``pairs``: how many answers to the same prompt are labelled at least ``MIN_GAP`` lower; ``right``: how many of them
    the score puts lower, too (a tie counts half).
    """
    pairs, right = np.zeros(len(score)), np.zeros(len(score))
    for p in np.unique(prompt):
        rows = np.flatnonzero(prompt == p)
        s, y = score[rows], label[rows]
        lower = (y[:, None] - y[None, :]) >= MIN_GAP
        pairs[rows] = lower.sum(axis=1)
        right[rows] = (lower * ((s[:, None] > s[None, :]) + 0.5 * (s[:, None] == s[None, :]))).sum(axis=1)
    return pairs, right

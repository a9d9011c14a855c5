"""AUC and d′ by hand, paired before and after, with intervals over pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from harmviz.judges.agreement import auc as ranked_auc
from harmviz.stats.auc import auc, auc_difference, sensitivity, wins

#: harmful, harmless: 2 beats 1 and 0 and loses to none; 1 ties 1, beats 0; 0.5 loses to 1, beats 0.
SCORES = np.array([[2.0, 1.0], [1.0, 0.0], [0.5, 0.0]])


def test_auc_by_hand() -> None:
    assert wins(SCORES).tolist() == [[1, 1, 1], [0.5, 1, 1], [0, 1, 1]]
    estimate = auc(SCORES)
    assert estimate.value == pytest.approx(7.5 / 9)
    assert estimate.n_clusters == 3
    assert estimate.ci_low is not None
    assert estimate.ci_low <= estimate.value <= estimate.ci_high


def test_it_is_the_rank_statistic() -> None:
    scores = np.random.default_rng(1).normal(size=(40, 2)).round(1)
    flat, positive = scores.T.ravel(), np.repeat([True, False], 40)
    assert auc(scores).value == pytest.approx(ranked_auc(flat, positive))


def test_it_is_mann_and_whitneys_u() -> None:
    scores = np.random.default_rng(1).normal(size=(40, 2)).round(1)
    u = mannwhitneyu(scores[:, 0], scores[:, 1]).statistic
    assert auc(scores).value == pytest.approx(u / 40**2, rel=1e-12)


def test_perfect_reversed_and_chance() -> None:
    apart = np.array([[3.0, 0.0], [4.0, 1.0], [5.0, 2.0]])
    assert auc(apart)[:3] == (1.0, 1.0, 1.0)
    assert auc(-apart).value == 0.0
    flat = auc(np.zeros((9, 2)))
    assert flat[:3] == (0.5, 0.5, 0.5)
    noise = auc(np.random.default_rng(0).normal(size=(64, 2)))
    assert noise.ci_low < 0.5 < noise.ci_high


def test_difference_is_paired() -> None:
    before = np.random.default_rng(2).normal(size=(64, 2)) + np.array([0.8, 0.0])
    same = auc_difference(before + 5.0, before)  # a shift of all scores is no change of order
    assert same[:3] == (0.0, 0.0, 0.0)
    worse = auc_difference(before - [0.7, 0.0], before)
    assert worse.value == pytest.approx(auc(before - [0.7, 0.0]).value - auc(before).value)
    assert worse.ci_high < 0
    unpaired = auc(before).ci_high - auc(before).ci_low
    assert worse.ci_high - worse.ci_low < unpaired, "both sides move together"


def test_d_prime_by_hand() -> None:
    # harmful 1, 3 (mean 2, variance 1), harmless 0, 0, variance 0: 2 / sqrt(1 / 2)
    assert sensitivity(np.array([[1.0, 0.0], [3.0, 0.0]])).value == pytest.approx(2 / np.sqrt(0.5))
    scores = np.random.default_rng(3).normal(size=(50, 2)) + np.array([1.0, 0.0])
    assert sensitivity(scores * 7 - 3).value == pytest.approx(sensitivity(scores).value), "free of scale"
    change = sensitivity(scores - [1.0, 0.0], scores)
    assert change.value == pytest.approx(sensitivity(scores - [1.0, 0.0]).value - sensitivity(scores).value)
    assert change.ci_high < 0
    assert sensitivity(scores * 2, scores)[:3] == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def test_without_spread_or_pairs_there_is_no_value() -> None:
    flat = sensitivity(np.ones((8, 2)))
    assert np.isnan(flat.value)
    assert flat.reason
    one = auc(np.array([[1.0, 0.0]]))
    assert one.value == 1.0
    assert one.ci_low is None
    assert one.reason


def test_the_seed_moves_the_interval_only() -> None:
    scores = np.random.default_rng(5).normal(size=(20, 2))
    first, second = auc(scores, seed=0), auc(scores, seed=1)
    assert first.value == second.value
    assert first.ci_low != second.ci_low or first.ci_high != second.ci_high
    assert auc(scores, draws=10).ci_low != first.ci_low


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), np.zeros(4), np.array([[1.0, np.nan]])])
def test_bad_scores_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scores must"):
        auc(bad)
    with pytest.raises(ValueError, match="scores must"):
        sensitivity(bad)


def test_two_sides_must_match() -> None:
    with pytest.raises(ValueError, match="one line per pair"):
        auc_difference(SCORES, SCORES[:2])
    with pytest.raises(ValueError, match="one line per pair"):
        sensitivity(SCORES, SCORES[:2])

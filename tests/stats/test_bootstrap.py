"""The one resampler: which clusters a draw takes, one end for all statistics, and numbers that must not move.

The numbers under *as before* are those of the resamplers that this one replaced: same seeds, same draws.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from harmviz.stats.auc import auc, auc_difference, sensitivity
from harmviz.stats.bootstrap import MAX_DROPPED, cluster_bootstrap, estimate_of_draws, group_bootstrap
from harmviz.stats.crossed import crossed_bootstrap
from harmviz.stats.draws import draw_picks, draw_weights, linked_strata
from harmviz.stats.effects import macro_difference, macro_mean, paired_effect
from harmviz.stats.estimate import Estimate


# -- draws ----------------------------------------------------------------------------------------------------------
def test_a_draw_takes_one_cluster_fewer_than_a_stratum_has() -> None:
    strata = [np.array([0, 2, 5]), np.array([1, 3, 4, 6])]
    weights = draw_weights(np.random.default_rng(0), strata, 7, 50)
    assert weights.shape == (50, 7)
    assert (weights[:, strata[0]].sum(axis=1) == 2).all()
    assert (weights[:, strata[1]].sum(axis=1) == 3).all()


def test_weights_count_picks() -> None:
    picks = draw_picks(np.random.default_rng(3), 5, 20)
    weights = draw_weights(np.random.default_rng(3), [np.arange(5)], 5, 20)
    assert picks.shape == (20, 4)
    assert [np.bincount(p, minlength=5).tolist() for p in picks] == weights.tolist()


def test_strata_that_share_a_cluster_are_one() -> None:
    # Cells 0, 1, 2 of strata 0, 1, 2; cluster 1 lies in cells 0 and 1.
    member = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
    assert [s.tolist() for s in linked_strata(member, np.arange(3))] == [[0, 1, 2], [3]]
    assert [s.tolist() for s in linked_strata(member, None)] == [[0, 1, 2, 3]]


# -- the end of every statistic -------------------------------------------------------------------------------------
def test_draws_without_a_value_are_dropped_up_to_a_share() -> None:
    results = np.arange(100.0)
    results[: int(MAX_DROPPED * 100)] = np.nan
    kept = estimate_of_draws(50.0, results, n=7, n_clusters=3)
    assert (kept.value, kept.n, kept.n_clusters, kept.n_dropped, kept.reason) == (50.0, 7, 3, 10, None)
    assert (kept.ci_low, kept.ci_high) == tuple(np.quantile(np.arange(10, 100), [0.025, 0.975]))
    results[10] = np.nan
    dropped = estimate_of_draws(50.0, results, n=7, n_clusters=3)
    assert (dropped.ci_low, dropped.ci_high, dropped.n_dropped) == (None, None, 11)
    assert "11 of 100 resamplings" in str(dropped.reason)


def test_no_value_has_a_reason_and_infinity_is_one() -> None:
    nothing = estimate_of_draws(float("nan"), np.zeros(5), n=1, n_clusters=1)
    assert math.isnan(nothing.value)
    assert nothing.ci_low is None
    assert nothing.reason
    unreached = estimate_of_draws(1.0, np.array([1.0] * 60 + [np.inf] * 40), n=2, n_clusters=2)
    assert (unreached.ci_low, unreached.ci_high) == (1.0, np.inf)


# -- a statistic of rows ----------------------------------------------------------------------------------------------
def test_groups_are_resampled_whole() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0])
    mean = group_bootstrap(lambda r: float(values[r].mean()), [0, 0, 1, 1], draws=200)
    # one of two groups is drawn at a time: never anything between
    assert mean == Estimate(0.5, 0.0, 1.0, 4, 2)


def test_one_group_or_no_value_has_no_interval() -> None:
    alone = group_bootstrap(lambda r: 1.0, [7, 7])
    assert (alone.value, alone.ci_low, alone.n_clusters) == (1.0, None, 1)
    assert "single group" in str(alone.reason)
    assert group_bootstrap(lambda r: float("nan"), [0, 1]).ci_low is None
    with pytest.raises(ValueError, match="draws"):
        group_bootstrap(lambda r: 1.0, [0, 1], draws=0)


def test_a_mean_of_rows_is_the_mean_of_one_cell() -> None:
    rng = np.random.default_rng(8)
    values, groups = rng.normal(size=80), np.repeat(np.arange(20), 4)
    by_rows = group_bootstrap(lambda r: float(values[r].mean()), groups, draws=500, seed=2)
    by_cells = cluster_bootstrap(values, groups.tolist(), np.zeros(80, int), 1, lambda m: m[..., 0], draws=500, seed=2)
    assert by_rows[:3] == pytest.approx(by_cells[:3], abs=1e-12)


# -- as before ------------------------------------------------------------------------------------------------------
def world() -> dict[str, Estimate]:
    """Every front end on made-up numbers."""
    rng = np.random.default_rng(7)
    scores = rng.normal(size=(37, 2)).round(1) + np.array([0.4, 0])
    before = rng.normal(size=(37, 2)) + np.array([0.7, 0])
    v, c, k = rng.normal(size=90), rng.integers(0, 40, 90).tolist(), rng.choice(list("abc"), 90).tolist()
    table = rng.normal(size=(3, 50))
    table[0, 3], table[:, 7] = np.nan, np.nan
    questions = [f"q{i // 2}" for i in range(50)]
    label, group = rng.normal(size=200).round(1), rng.integers(0, 60, 200)
    return {
        "auc": auc(scores),
        "auc_difference": auc_difference(scores, before, seed=3),
        "sensitivity": sensitivity(scores, before, seed=2),
        "paired_effect": paired_effect(v, c, seed=5),
        "macro_mean": macro_mean(v, c, k),
        "macro_mean, strata apart": macro_mean(v, range(90), k),
        "macro_difference": macro_difference(v[:45], c[:45], k[:45], v[45:], c[45:], k[45:]),
        "crossed": crossed_bootstrap([table], questions, seed=4),
        "crossed, one seed": crossed_bootstrap([table[:1]], questions),
        "crossed, one question": crossed_bootstrap([np.array([1.0, 2, 4])[:, None]], ["all"]),
        "group": group_bootstrap(lambda r: float(label[r].mean()), group, seed=1),
    }


AS_BEFORE: dict[str, tuple[float, float, float]] = {
    "auc": (0.6278305332359386, 0.5038387345679012, 0.7496238425925925),
    "auc_difference": (-0.06902848794740686, -0.2326485339506173, 0.07369791666666661),
    "sensitivity": (-0.33730594195071706, -0.9899980131981552, 0.28819782850578557),
    "paired_effect": (-0.10702549038321138, -0.31122621506398973, 0.08808421542050966),
    "macro_mean": (-0.10481378796214337, -0.29688362333840806, 0.08898012721977933),
    "macro_mean, strata apart": (-0.10481378796214337, -0.29528992189409975, 0.08091319820749399),
    "macro_difference": (-0.07326459786421251, -0.43095520956520994, 0.29614126643566135),
    "crossed": (-0.10462374233972203, -0.378267625393814, 0.16646192149698266),
    "crossed, one seed": (0.011125974384414261, -0.25030352880527446, 0.27870577920504164),
    "crossed, one question": (2.3333333333333335, 1.0, 4.0),
    "group": (-0.10549999999999998, -0.23335897435897435, 0.02582772653282688),
}


def test_every_number_is_as_before() -> None:
    """To 1e-13: equal to the bit on the machine that wrote them; elsewhere sums may be taken in another order."""
    estimates = world()
    assert set(estimates) == set(AS_BEFORE)
    for name, estimate in estimates.items():
        assert estimate[:3] == pytest.approx(AS_BEFORE[name], rel=1e-13, abs=1e-13), name

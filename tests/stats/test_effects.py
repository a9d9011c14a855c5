"""Cluster bootstrap: values by hand, what resampling must respect, and that intervals cover what they claim to."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.stats.bootstrap import cluster_bootstrap
from harmviz.stats.effects import category_mean, macro_difference, macro_mean, paired_effect
from harmviz.stats.estimate import Estimate


def difference_of_means(
    delta_a: np.ndarray | list[float],
    cluster_a: Iterable[Hashable],
    delta_b: np.ndarray | list[float],
    cluster_b: Iterable[Hashable],
    **how: Any,
) -> Estimate:
    """``mean(delta_a) − mean(delta_b)``; equal cluster keys of both sides move together."""
    cell = np.repeat([0, 1], [len(delta_a), len(delta_b)])
    values, keys = np.concatenate([delta_a, delta_b]), [*cluster_a, *cluster_b]
    return cluster_bootstrap(values, keys, cell, 2, lambda m: m[..., 0] - m[..., 1], cell_names=("a", "b"), **how)


def width(e: Estimate) -> float:
    assert e.ci_low is not None
    assert e.ci_high is not None
    return e.ci_high - e.ci_low


# -- values by hand -------------------------------------------------------------------------------------------------
def test_every_sample_weighs_equally() -> None:
    e = paired_effect([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"])
    assert e.value == 2.0  # (1 + 1 + 1 + 5) / 4, not the mean of prompt means (1 + 5) / 2
    assert (e.n, e.n_clusters, e.n_dropped, e.reason) == (4, 2, 0, None)


def test_two_clusters_give_their_means_as_interval() -> None:
    # n − 1 = 1 of 2 clusters is drawn: every draw is the mean of one cluster, 1 or 5, each in half the draws.
    e = paired_effect([1.0, 1.0, 5.0], ["a", "a", "b"], draws=500)
    assert (e.ci_low, e.ci_high) == (1.0, 5.0)


def test_variance_over_draws_is_the_unbiased_one() -> None:
    # Values 0, 3, 6 (s² = 9): the mean's variance is 9/3 = 3. Two of three clusters a draw: sd² 6 / 2 = 3 as well.
    seen: list[np.ndarray] = []

    def spy(means: np.ndarray) -> np.ndarray:
        seen.append(means[..., 0])
        return means[..., 0]

    cluster_bootstrap(np.array([0.0, 3.0, 6.0]), [0, 1, 2], np.zeros(3, int), 1, spy, draws=40_000)
    assert np.var(np.concatenate([np.atleast_1d(s) for s in seen[1:]])) == pytest.approx(3.0, rel=0.03)


def test_difference_macro_and_macro_difference_values() -> None:
    harm, harm_prompt, harm_cat = [1.0, 2.0, 6.0], [0, 1, 2], ["x", "x", "y"]
    safe, safe_prompt, safe_cat = [1.0, 0.0, 4.0], [3, 4, 5], ["x", "y", "y"]
    assert difference_of_means(harm, harm_prompt, safe, safe_prompt).value == pytest.approx(9 / 3 - 5 / 3)
    assert macro_mean(harm, harm_prompt, harm_cat).value == pytest.approx((1.5 + 6) / 2)
    e = macro_difference(harm, harm_prompt, harm_cat, safe, safe_prompt, safe_cat)
    assert e.value == pytest.approx(((1.5 - 1) + (6 - 2)) / 2)
    assert (e.n, e.n_clusters) == (6, 6)


def test_the_macro_mean_alone_is_the_value_of_the_estimate_to_the_bit() -> None:
    rng = np.random.default_rng(6)
    delta, category = rng.normal(size=200), rng.choice(list("abcd"), 200)
    assert category_mean([1.0, 2.0, 6.0], "xxy") == (1.5 + 6) / 2
    assert category_mean(delta, category) == macro_mean(delta, range(200), category, draws=1).value
    with pytest.raises(ValueError, match="at least one number"):
        category_mean([], [])


def test_a_general_statistic_sees_all_cells_of_a_draw_together() -> None:
    # "largest effect over the grid": cells are grid points measured on the same prompts.
    rng = np.random.default_rng(0)
    grid = np.array([0.0, 0.2, 0.5])
    values = (grid + rng.normal(0, 0.3, (40, 1))).ravel()  # one prompt's noise is common to its three grid points
    e = cluster_bootstrap(
        values, np.repeat(np.arange(40), 3), np.tile([0, 1, 2], 40), 3, lambda m: m.max(axis=-1) - m[..., 0]
    )
    assert e.value == pytest.approx(0.5)
    assert width(e) < 1e-12


# -- sharing and pairing --------------------------------------------------------------------------------------------
def test_shared_prompts_move_together() -> None:
    rng = np.random.default_rng(1)
    per_prompt = rng.normal(0, 1, 60)
    harm, safe = per_prompt + 0.3, per_prompt
    shared = difference_of_means(harm, range(60), safe, range(60))
    apart = difference_of_means(harm, range(60), safe, range(60, 120))
    assert shared.value == pytest.approx(0.3)
    assert (shared.n_clusters, apart.n_clusters) == (60, 120)
    assert width(shared) < 1e-9  # the difference is 0.3 in every prompt
    assert width(apart) > 0.5


def test_pairing_intact_with_pruned_matters() -> None:
    rng = np.random.default_rng(2)
    intact = rng.normal(3, 1, 50)
    pruned = intact + 0.1 + rng.normal(0, 0.05, 50)
    paired = paired_effect(pruned - intact, range(50))
    unpaired = difference_of_means(pruned, range(50), intact, range(50, 100))
    assert paired.value == pytest.approx(unpaired.value)
    assert width(paired) < width(unpaired) / 10
    assert paired.ci_low is not None
    assert paired.ci_low > 0


def test_clustering_widens_the_interval_of_correlated_answers() -> None:
    rng = np.random.default_rng(3)
    delta = np.repeat(rng.normal(0, 1, 30), 5) + rng.normal(0, 0.1, 150)  # five nearly equal answers a prompt
    clustered = paired_effect(delta, np.repeat(np.arange(30), 5))
    naive = paired_effect(delta, np.arange(150))
    assert width(clustered) > 1.8 * width(naive)  # √5 ≈ 2.2 if the answers were identical


def test_macro_resamples_within_categories() -> None:
    # Categories differ by 100, prompts within one hardly: resampling across categories would show it.
    delta = np.concatenate([np.linspace(0, 0.1, 10), 100 + np.linspace(0, 0.1, 10)])
    e = macro_mean(delta, range(20), np.repeat([0, 1], 10))
    assert e.value == pytest.approx(50.05)
    assert width(e) < 0.1


def test_macro_lets_a_prompt_shared_by_two_categories_move_in_both() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, 40)
    twice = np.concatenate([x, -x])  # category b is the mirror of a on the same prompts
    shared = macro_mean(twice, np.tile(np.arange(40), 2), np.repeat(["a", "b"], 40))
    apart = macro_mean(twice, np.arange(80), np.repeat(["a", "b"], 40))
    assert shared.value == pytest.approx(0, abs=1e-12)
    assert width(shared) < 1e-9
    assert width(apart) > 0.2


# -- what cannot be scored ------------------------------------------------------------------------------------------
def test_one_prompt_has_no_interval_but_a_reason() -> None:
    e = paired_effect([0.1, 0.3], ["a", "a"])
    assert e.value == pytest.approx(0.2)
    assert (e.ci_low, e.ci_high, e.n_clusters) == (None, None, 1)
    assert "single prompt" in str(e.reason)


def test_a_category_of_one_prompt_has_no_interval_and_is_named() -> None:
    e = macro_mean([0.1, 0.3, 0.5], [1, 2, 3], ["hate", "hate", "privacy"])
    assert e.value == pytest.approx(0.35)
    assert e.ci_low is None
    assert "privacy" in str(e.reason)


def test_no_samples_is_nan_with_a_reason_never_zero() -> None:
    e = paired_effect([], [])
    assert math.isnan(e.value)
    assert e.reason == "no samples"
    e = difference_of_means([1.0, 2.0], [0, 1], [], [])
    assert math.isnan(e.value)
    assert e.reason == "no samples in b"


def test_draws_that_empty_a_side_are_dropped_and_counted() -> None:
    a, b = np.arange(12.0), np.arange(4.0)
    e = difference_of_means(a, range(12), b, range(12, 16), draws=4000)
    # P(no b in 15 draws of 16) = (12/16)^15 = 1.3 %
    assert 20 <= e.n_dropped <= 90
    assert e.ci_low is not None
    assert e.reason is None


def test_too_many_dropped_draws_leave_no_interval() -> None:
    e = difference_of_means(np.arange(20.0), range(20), [3.0], [20])
    assert e.value == pytest.approx(6.5)
    assert e.ci_low is None
    assert e.n_dropped > 200
    assert "resamplings" in str(e.reason)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: paired_effect([1.0, float("nan")], [0, 1]), "delta must be finite, got nan at 1"),
        (lambda: macro_difference([1.0], [0], ["a"], [float("inf")], [1], ["a"]), "delta_b"),
        (lambda: paired_effect([1.0], [0, 1]), "cluster must have one entry per sample"),
        (lambda: paired_effect([1.0, 2.0], [0, 1], draws=0), "draws"),
        (lambda: paired_effect([1.0, 2.0], [0, 1], level=1.0), "level"),
        (lambda: paired_effect(np.ones((2, 2)), [0, 1]), "one-dimensional"),
        (lambda: macro_difference([1.0], [0], ["a"], [1.0], [1], ["b"]), "only one side has a, b"),
        (lambda: cluster_bootstrap(np.ones(2), [0, 1], np.array([0, 2]), 2, lambda m: m[..., 0]), "cell must lie in"),
    ],
)
def test_bad_input_is_named(call: Callable[[], Estimate], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        call()


# -- reproducible, and options matter -------------------------------------------------------------------------------
def test_seed_draws_and_level() -> None:
    rng = np.random.default_rng(5)
    delta, cluster = rng.normal(size=90), np.repeat(np.arange(30), 3)
    assert paired_effect(delta, cluster, seed=7) == paired_effect(delta, cluster, seed=7)
    assert paired_effect(delta, cluster, seed=7) != paired_effect(delta, cluster, seed=8)
    assert paired_effect(delta, cluster, draws=200) != paired_effect(delta, cluster, draws=201)
    assert width(paired_effect(delta, cluster, level=0.5)) < width(paired_effect(delta, cluster, level=0.95))


def test_keys_of_any_hashable_kind() -> None:
    delta = np.arange(6.0)
    by_int = paired_effect(delta, np.array([0, 0, 1, 1, 2, 2]))
    assert by_int == paired_effect(delta, ["p", "p", "q", "q", "r", "r"])
    assert by_int == paired_effect(delta, [("p", 1), ("p", 1), None, None, 3, 3])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=1, max_size=30))
def test_value_is_the_plain_mean_and_interval_lies_within_the_cluster_means(pairs: list[tuple[float, int]]) -> None:
    delta, cluster = np.array([d for d, _ in pairs]), np.array([c for _, c in pairs])
    e = paired_effect(delta, cluster, draws=50)
    assert e.value == pytest.approx(delta.mean())
    means = [delta[cluster == c].mean() for c in set(cluster.tolist())]
    if e.ci_low is not None and e.ci_high is not None:
        assert min(means) - 1e-9 <= e.ci_low <= e.ci_high <= max(means) + 1e-9
    else:
        assert len(means) == 1


# -- coverage -------------------------------------------------------------------------------------------------------
def coverage(truth: float, estimate: Callable[[np.random.Generator, int], Estimate]) -> float:
    hits = 0
    for seed in range(400):
        e = estimate(np.random.default_rng(seed), seed)
        assert e.ci_low is not None
        assert e.ci_high is not None
        hits += e.ci_low <= truth <= e.ci_high
    return hits / 400


def test_coverage_of_the_paired_effect() -> None:
    def estimate(rng: np.random.Generator, seed: int) -> Estimate:
        cluster = np.repeat(np.arange(30), rng.integers(1, 4, 30))
        delta = 0.3 + rng.normal(0, 0.5, 30)[cluster] + rng.normal(0, 0.3, len(cluster))
        return paired_effect(delta, cluster, draws=500, seed=seed)

    assert 0.91 <= coverage(0.3, estimate) <= 0.98  # binomial sd at 95 % of 400: 1.1 %


def test_coverage_of_the_difference_with_shared_and_unshared_prompts() -> None:
    def estimate(rng: np.random.Generator, seed: int) -> Estimate:
        prompt = rng.normal(0, 0.5, 60)
        a, b = np.arange(40), np.arange(20, 60)  # prompts 20 … 39 have answers on both sides
        harm, safe = 0.4 + prompt[a] + rng.normal(0, 0.2, 40), 0.1 + prompt[b] + rng.normal(0, 0.2, 40)
        return difference_of_means(harm, a, safe, b, draws=500, seed=seed)

    assert 0.91 <= coverage(0.3, estimate) <= 0.98


def test_coverage_of_the_macro_mean_of_small_categories() -> None:
    def estimate(rng: np.random.Generator, seed: int) -> Estimate:
        category = np.repeat(np.arange(7), 4)
        delta = np.linspace(0, 1, 7)[category] + rng.normal(0, 1, 28)
        return macro_mean(delta, np.arange(28), category, draws=500, seed=seed)

    assert 0.89 <= coverage(0.5, estimate) <= 0.98

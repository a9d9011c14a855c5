"""Seeds and questions are drawn together, arms stay paired, what was not measured does not count."""

from __future__ import annotations

import numpy as np
import pytest

from harmviz.stats.crossed import crossed_bootstrap
from harmviz.stats.estimate import Estimate

CLUSTERS = [f"q{i}" for i in range(40)]


def noise(seeds: int, n: int, sd_seed: float, sd_question: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 1.0 + rng.normal(0, sd_seed, (seeds, 1)) + rng.normal(0, sd_question, (1, n))


def width(estimate: Estimate) -> float:
    assert estimate.ci_low is not None
    assert estimate.ci_high is not None
    return estimate.ci_high - estimate.ci_low


def test_the_value_is_the_mean_and_the_interval_knows_both_sources() -> None:
    table = noise(3, 40, 0.0, 1.0)
    estimate = crossed_bootstrap([table], CLUSTERS)
    assert estimate.value == pytest.approx(table.mean())
    assert (estimate.n, estimate.n_clusters) == (40, 40)
    # equal seeds: what is left is the standard error over 40 questions
    assert width(estimate) == pytest.approx(2 * 1.96 * table[0].std(ddof=1) / np.sqrt(40), rel=0.1)
    of_seeds = crossed_bootstrap([noise(3, 40, 1.0, 0.0)], CLUSTERS)
    assert width(of_seeds) > 0.5
    one = crossed_bootstrap([noise(3, 40, 1.0, 0.0)[:1]], CLUSTERS)
    assert width(one) == pytest.approx(0, abs=1e-9)  # a single seed is not drawn


def test_columns_of_one_prompt_move_together() -> None:
    table = np.repeat(noise(1, 10, 0, 1.0), 4, axis=1)
    apart = crossed_bootstrap([table], CLUSTERS)
    together = crossed_bootstrap([table], [f"q{i // 4}" for i in range(40)])
    assert together.n_clusters == 10
    assert width(together) > 1.5 * width(apart)


def test_arms_are_paired_within_a_draw() -> None:
    a = noise(3, 40, 0.5, 1.0)
    estimate = crossed_bootstrap([a + 0.25, a], CLUSTERS, lambda m: m[..., 0] - m[..., 1])
    assert (estimate.value, estimate.ci_low, estimate.ci_high) == pytest.approx((0.25, 0.25, 0.25))
    ratio = crossed_bootstrap([2 * a, a], CLUSTERS, lambda m: m[..., 0] / m[..., 1])
    assert (ratio.value, ratio.ci_low, ratio.ci_high) == pytest.approx((2, 2, 2))


def test_each_seed_may_have_measured_other_columns() -> None:
    table = np.full((2, 4), np.nan)
    table[0, :2], table[1, 1:3] = [1.0, 2.0], [4.0, 5.0]
    estimate = crossed_bootstrap([table], list("abcd"))
    assert estimate.value == 3.0
    assert (estimate.n, estimate.n_clusters) == (3, 3)  # the last column was never measured


def test_where_there_is_nothing_it_says_why() -> None:
    nothing = crossed_bootstrap([np.full((2, 3), np.nan)], list("abc"))
    assert np.isnan(nothing.value)
    assert nothing.reason == "nothing was measured"
    lonely = crossed_bootstrap([np.array([[2.0]])], ["a"])
    assert (lonely.value, lonely.ci_low) == (2.0, None)
    assert "one seed and one question" in str(lonely.reason)
    with pytest.raises(ValueError, match=r"clusters must have one entry per column \(3\), got 1"):
        crossed_bootstrap([np.zeros((2, 3))], ["a"])

"""The statistics of alignment compression: goldens worked by hand, and planted worlds with and without a difference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harmviz.claims.compression.separability import Measured, Resampled, best_allowed, chosen_point
from harmviz.claims.compression.swap_test import holm, swap_p_value
from harmviz.runs.point import Point
from tests.worlds.compression import CATEGORIES, SPEC, ladder, measured

LIMITS = {"none": 0.05, "both": 0.1}


def hand(delta: dict[str, list[float]], *, checkpoints: int = 1, seed: int = 0) -> Measured:
    """One point, two prompts a set; ``delta``: set → ΔL of its two samples, alike at all checkpoints."""
    sets = [s for s in delta for _ in range(2)]
    prompts = [f"{s}{i}" for s in delta for i in range(2)]
    shift = np.array([v for values in delta.values() for v in values])
    losses = np.stack([np.stack([np.full(len(sets), 2.0), 2.0 + shift])] * checkpoints)
    return Measured(seed, tuple(sets), tuple(prompts), losses)


def test_separability_is_the_macro_difference_worked_by_hand() -> None:
    world = Resampled(
        [hand({"a": [0.5, 0.7], "b": [0.1, 0.3], "safe:a": [0.1, 0.1], "safe:b": [0.0, 0.2], "benign": [0.02, 0.04]})],
        ["a", "b"],
        [Point("mean(all)", 1e-5, 0.01)],
        LIMITS,
        draws=50,
    )
    # a: 0.6 − 0.1 = 0.5; b: 0.2 − 0.1 = 0.1; their mean 0.3; benign 0.03 is within 0.05
    assert world.separability("none")[0, 0, 0] == pytest.approx(0.3)
    assert world.shift("specific", 0)[0, 0, 0] == pytest.approx(0.3)
    assert world.shift("harm", 0)[0, 0, 0] == pytest.approx(0.4)
    assert world.intact("harm")[0, 0, 0] == pytest.approx(2.0)
    assert world.first_reaching("none", 0.2)[0, 0] == 1e-5
    assert world.first_reaching("none", 0.31)[0, 0] == np.inf
    assert world.chosen("none") == [[0]]


def test_the_benign_limit_and_pruning_nothing() -> None:
    specific, benign, limits = np.array([0.1, 0.4, -0.2]), np.array([0.0, 0.06, 0.0]), np.full(3, 0.05)
    assert best_allowed(specific, benign, limits) == pytest.approx(0.1)
    assert chosen_point(specific, benign, limits) == 0
    assert best_allowed(specific, benign, np.full(3, 0.06)) == pytest.approx(0.4)
    assert best_allowed(-specific[:2], benign[:2], limits[:2]) == 0
    assert chosen_point(-specific[:2], benign[:2], limits[:2]) is None
    assert np.isnan(best_allowed(np.array([np.nan, 0.1]), np.zeros(2), np.ones(2)))


def test_cross_fitting_measures_on_the_other_half() -> None:
    """Each half of the prompts favours another of two points, and on the other half the favourite is worth nothing."""
    base = hand({"a": [0.0] * 2, "safe:a": [0.0] * 2, "benign": [0.0] * 2})
    world = Resampled(
        [Measured(0, base.sets, base.prompts, np.concatenate([base.losses, base.losses[:, 1:]], axis=1))],
        ["a"],
        [Point("mean(all)", 1e-6, 0), Point("mean(all)", 1e-5, 0)],
        LIMITS,
        draws=20,
    )
    side = np.array([world.half[world.prompts.index(p)] for p in base.prompts])
    assert side[:2].sum() == 1, "each stratum is halved"
    losses = np.repeat(base.losses[:, :1], 3, axis=1)
    harm = np.array([s == "a" for s in base.sets])
    losses[:, 1] += np.where(harm & side, 1.0, 0.0)
    losses[:, 2] += np.where(harm & ~side, 1.0, 0.0)
    world = Resampled([Measured(0, base.sets, base.prompts, losses)], ["a"], world.points, LIMITS, draws=20)
    assert world.separability("none")[0, 0, 0] == pytest.approx(0.5)
    assert world.cross_fitted("none")[0, 0, 0] == pytest.approx(0.0)


def test_splits_are_averaged_and_resampled() -> None:
    sets = {"a": [0.2, 0.2], "safe:a": [0.0, 0.0], "benign": [0.0, 0.0]}
    of = [hand(sets, seed=0), hand({**sets, "a": [0.4, 0.4]}, seed=1), hand({**sets, "a": [0.6, 0.6]}, seed=2)]
    world = Resampled(of, ["a"], [Point("mean(all)", 1e-5, 0)], LIMITS, draws=2000)
    estimate = world.estimate(world.combined(world.separability("none"))[:, 0])
    assert estimate.value == pytest.approx(0.4)
    # prompts do not vary here, so the interval is that of 2 of 3 splits drawn with replacement: 0.2 … 0.6
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((0.2, 0.6))
    alone = Resampled(of[:1], ["a"], [Point("mean(all)", 1e-5, 0)], LIMITS, draws=200)
    one = alone.estimate(alone.combined(alone.separability("none"))[:, 0])
    assert (one.value, one.ci_low, one.ci_high) == pytest.approx((0.2, 0.2, 0.2))


def planted(effects: list[float], splits: int = 3, **world: float) -> Resampled:
    return Resampled(
        [measured(effects, seed=s, **world) for s in range(splits)], CATEGORIES, SPEC.points, LIMITS, draws=600, seed=1
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("contrast", ["none", "both"])
def test_a_checkpoint_that_is_more_separable_is_found(contrast: str) -> None:
    world = planted([0.1, 0.4])
    mean = world.combined(world.separability(contrast))
    difference = world.estimate(mean[:, 1] - mean[:, 0])
    assert difference.value == pytest.approx(0.3 * 0.7, abs=0.08)
    assert difference.ci_low is not None
    assert difference.ci_low > 0
    assert swap_p_value(world, contrast, 1, 0, draws=2000) < 0.01
    crossed = world.combined(world.cross_fitted(contrast))
    assert world.estimate(crossed[:, 1] - crossed[:, 0]).value > 0.05


def test_where_nothing_differs_the_interval_covers_0_and_p_is_even() -> None:
    covered, p_values = 0, []
    for seed in range(20):
        of = [measured([0.2, 0.2], seed=100 * seed + s, noise=0.3) for s in range(2)]
        world = Resampled(of, CATEGORIES, SPEC.points, LIMITS, draws=300, seed=seed)
        mean = world.combined(world.separability("both"))
        difference = world.estimate(mean[:, 1] - mean[:, 0])
        assert difference.ci_low is not None
        assert difference.ci_high is not None
        covered += difference.ci_low <= 0 <= difference.ci_high
        p_values.append(swap_p_value(world, "both", 1, 0, seed=seed, draws=400))
    assert covered >= 18
    assert sum(p <= 0.05 for p in p_values) <= 4
    assert 0.25 < np.mean(p_values) < 0.75


def test_the_draws_are_joint_over_checkpoints() -> None:
    """Equal checkpoints differ by exactly 0 in every draw, however wide each one's own interval is."""
    one = measured([0.3], noise=0.5)
    world = Resampled(
        [Measured(0, one.sets, one.prompts, np.concatenate([one.losses, one.losses]))],
        CATEGORIES,
        SPEC.points,
        LIMITS,
        draws=300,
    )
    mean = world.combined(world.separability("none"))
    assert np.nanstd(mean[1:, 0]) > 0.01
    assert np.nanmax(np.abs(mean[:, 1] - mean[:, 0])) == 0
    assert swap_p_value(world, "none", 0, 1) == 1.0


def test_the_exact_swap_test_goes_through_every_swapping() -> None:
    """Two harm and two safe prompts tell the checkpoints apart: 16 swappings, counted here one by one."""
    base = hand({"a": [0.0, 0.0], "safe:a": [0.0, 0.0], "benign": [0.0, 0.0]}, checkpoints=2)
    pairs = {0: (0.5, 0.1), 1: (0.4, 0.2), 2: (0.1, 0.0), 3: (0.05, 0.15)}
    losses = base.losses.copy()
    for sample, (first, second) in pairs.items():
        losses[0, 1, sample] += first
        losses[1, 1, sample] += second
    world = Resampled(
        [Measured(0, base.sets, base.prompts, losses)], ["a"], [Point("mean(all)", 1e-5, 0)], LIMITS, draws=20
    )

    def difference(swap: tuple[int, ...]) -> float:
        side = [[pairs[i][s], pairs[i][1 - s]] for i, s in enumerate(swap)]
        index = [max(0.0, (side[0][k] + side[1][k]) / 2 - (side[2][k] + side[3][k]) / 2) for k in (0, 1)]
        return index[0] - index[1]

    observed = abs(difference((0, 0, 0, 0)))
    every = [abs(difference(s)) >= observed - 1e-12 for s in itertools.product((0, 1), repeat=4)]
    assert swap_p_value(world, "none", 0, 1) == pytest.approx(np.mean(every))


def test_holm_by_hand() -> None:
    # sorted 0.01 · 3, 0.02 · 2 = 0.04, 0.30 · 1; each at least the one before; in the order given
    assert holm([0.02, 0.30, 0.01]) == pytest.approx([0.04, 0.30, 0.03])
    assert holm([0.04, 0.03]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_ladder_names_are_as_the_ladder_writes_them() -> None:
    assert [c.name for c in ladder(("safety",))] == ["start", "safety-sft-60", "safety-sft-120", "safety-dpo-40"]

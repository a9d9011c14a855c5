"""The stable index: goldens by hand, where a ratio is not defined, the swap test at a point, what intervals cover."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from harmviz.claims.compression.separability import Measured, Resampled
from harmviz.claims.compression.settings import FIXED_Q, CompressionSpec, with_fixed
from harmviz.claims.compression.stable_index import (
    difference,
    fixed_points,
    ratio,
    ratio_difference,
    t_over_z,
    widened,
)
from harmviz.claims.compression.swap_test import swap_p_at
from harmviz.runs.point import Point
from harmviz.stats.estimate import Estimate
from tests.worlds.compression import CATEGORIES, SPEC, measured

LIMITS = {"none": 0.05, "both": 0.1}
POINT = Point("mean(all)", 2e-5, 0.01, contrast="both")


def world_of(*deltas: dict[str, list[float]], splits: int = 1, draws: int = 400) -> Resampled:
    """One point; ``deltas[i]``: set → ΔL of its samples at checkpoint i, a prompt each; alike in every split."""
    sets = tuple(s for s, values in deltas[0].items() for _ in values)
    prompts = tuple(f"{s}{i}" for s, values in deltas[0].items() for i in range(len(values)))
    shifts = np.array([[v for values in delta.values() for v in values] for delta in deltas])
    losses = 2.0 + np.stack([np.zeros_like(shifts), shifts], axis=1)
    return Resampled([Measured(k, sets, prompts, losses) for k in range(splits)], ["a"], [POINT], LIMITS, draws=draws)


START = {"a": [0.2, 0.4], "safe:a": [0.1, 0.1], "benign": [0.10, 0.10]}
LATER = {"a": [0.5, 0.7], "safe:a": [0.1, 0.3], "benign": [0.20, 0.20]}


def test_differences_and_ratios_worked_by_hand() -> None:
    world = world_of(START, LATER)
    # S: start 0.3 − 0.1 = 0.2, later 0.6 − 0.2 = 0.4; B: 0.1 and 0.2; R: 2 and 2
    assert difference(world, "specific", 0, 1, 0).value == pytest.approx(0.2)
    assert difference(world, "benign", 0, 1, 0).value == pytest.approx(0.1)
    assert ratio(world, 0, 0).value == pytest.approx(2.0)
    same = ratio_difference(world, 0, 1, 0)
    assert same.value == pytest.approx(0.0), "twice of everything is no change of the ratio"
    assert same.ci_low is not None
    # harm and safe prompts are drawn, 1 of 2 each: S of the start 0.1 or 0.3, later 0.2 … 0.6; B is fixed
    assert (same.ci_low, same.ci_high) == pytest.approx((-1.0, 1.0))


@pytest.mark.parametrize("benign", [[-0.3, 0.4], [-0.2, -0.1], [0.0, 0.0]])
def test_a_ratio_over_what_is_not_clear_of_0_is_not_defined(benign: list[float]) -> None:
    world = world_of(START, {**LATER, "benign": benign})
    for estimate in (ratio(world, 0, 1), ratio_difference(world, 0, 1, 0), ratio_difference(world, 0, 0, 1)):
        assert np.isnan(estimate.value)
        assert (estimate.ci_low, estimate.ci_high) == (None, None)
        assert "not defined" in str(estimate.reason)
    assert ratio(world, 0, 0).value == pytest.approx(2.0), "the other checkpoint's is"


def stub(share: float, draws: int = 2000) -> Resampled:
    """Shifts without a world: in ``share`` of the draws, not the same ones, benign ΔL of each checkpoint is below 0."""
    rng = np.random.default_rng(0)
    specific = 0.3 + rng.normal(0, 0.02, (1 + draws, 1, 2))
    benign = 0.1 + rng.normal(0, 0.005, (1 + draws, 1, 2))
    k = round(share * draws)
    benign[1 : 1 + k, 0, 0] = benign[1 + k : 1 + 2 * k, 0, 1] = -0.01
    shifts = {"specific": specific, "benign": benign}
    world = SimpleNamespace(
        shift=lambda kind, point: shifts[kind], combined=lambda of: of[:, 0], n_samples=90, prompts=range(80)
    )
    return cast(Resampled, world)


def test_draws_without_a_ratio_can_only_widen_its_interval() -> None:
    without, with_some, with_many = (ratio_difference(stub(s), 0, 1, 0) for s in (0.0, 0.01, 0.02))
    assert without.ci_low is not None
    assert with_some.ci_low is not None
    assert without.ci_high is not None
    assert with_some.ci_high is not None
    assert with_some.ci_low < without.ci_low < without.ci_high < with_some.ci_high
    assert np.isfinite(with_many.value)
    assert with_many.ci_low is None, "4 % of the draws are more than an end of 2.5 % may hold"
    assert "not bounded" in str(with_many.reason)


def test_few_splits_widen_the_interval_by_students_t() -> None:
    assert t_over_z(1.0, 1.0, 6) == pytest.approx(2.5706 / 1.9600, abs=1e-3)  # t of 5 degrees of freedom
    assert t_over_z(1.0, 5.0, 3) == pytest.approx(4.3027 / 1.9600, abs=1e-3)  # at most all of it
    assert t_over_z(1.0, 0.5, 6) == pytest.approx(2.0860 / 1.9600, abs=1e-3)  # 5 / 0.25 = 20
    assert t_over_z(1.0, 0.0, 3) == t_over_z(0.0, 0.0, 3) == 1.0
    one = Estimate(0.1, 0.0, 0.3, 9, 9)
    assert widened(one, np.array([0.1])) == one, "one split: conditional on it"
    wide = widened(one, np.array([0.0, 0.1, 0.2]))
    assert wide.ci_low is not None
    assert wide.ci_high is not None
    assert (wide.ci_high - 0.1) / (0.1 - wide.ci_low) == pytest.approx(2.0), "each end by the same factor"
    assert wide.ci_low < 0 < 0.3 < wide.ci_high


def test_the_swap_test_at_a_point_flips_the_signs_of_paired_differences() -> None:
    first = {"a": [0.5, 0.4], "safe:a": [0.1, 0.05], "benign": [0.1, 0.9]}
    second = {"a": [0.1, 0.2], "safe:a": [0.0, 0.15], "benign": [0.0, 0.2]}
    world = world_of(first, second)
    paired = [(0.5 - 0.1) / 2, (0.4 - 0.2) / 2, -(0.1 - 0.0) / 2, -(0.05 - 0.15) / 2]
    every = [
        abs(sum(s * d for s, d in zip(signs, paired, strict=True))) for signs in itertools.product((1, -1), repeat=4)
    ]
    assert swap_p_at(world, 0, 0, 1) == pytest.approx(np.mean([v >= abs(sum(paired)) - 1e-12 for v in every]))


def test_every_default_grid_holds_the_fixed_fractions() -> None:
    spec = CompressionSpec()
    assert set(FIXED_Q["none"]) <= set(spec.q_plain)
    assert set(FIXED_Q["both"]) <= set(spec.q_contrastive)
    assert with_fixed("both", (5e-5, 1e-3)) == (2e-5, 5e-5, 1e-3)
    world = Resampled([measured([0.1, 0.2])], CATEGORIES, SPEC.points, LIMITS, draws=5)
    assert [world.points[i].q for i in fixed_points(world, "both")] == [2e-5, 5e-5]
    assert [world.points[i].q for i in fixed_points(world, "none")] == [1e-5]


# -- coverage ---------------------------------------------------------------------------------------------------------
TRUE, WORLDS = 0.1, 60


def simulated(rng: np.random.Generator, splits: int, seeds_differ: float, draws: int) -> Resampled:
    """A world whose later checkpoint gains ``TRUE`` on average: prompts differ, and so do tuning seeds."""
    n, pool, sets, prompts = 6, 12, [], []
    names = (*CATEGORIES, *(f"safe:{c}" for c in CATEGORIES), "benign")
    reacts = {name: rng.normal(0, 0.1, (pool, 2)) for name in names}
    of_split = []
    for k in range(splits):
        sets, prompts, shifts = [], [], []
        gain = TRUE + rng.normal(0, seeds_differ)
        for name in names:
            chosen = rng.permutation(pool)[:n]
            sets += [name] * n
            prompts += [f"{name}{i}" for i in chosen]
            shift = 0.2 + reacts[name][chosen] + rng.normal(0, 0.1, (n, 2))
            shift[:, 1] += gain * (name in CATEGORIES)
            shifts.append(shift)
        losses = np.zeros((2, 2, len(sets)))
        losses[:, 1] = np.concatenate(shifts).T
        of_split.append(Measured(k, tuple(sets), tuple(prompts), losses))
    return Resampled(of_split, CATEGORIES, [POINT], LIMITS, draws=draws, seed=int(rng.integers(1 << 30)))


def covers(estimate: Estimate) -> bool:
    """Whether the interval, which must be there, holds the truth."""
    assert estimate.ci_low is not None
    assert estimate.ci_high is not None
    return estimate.ci_low <= TRUE <= estimate.ci_high


@pytest.mark.parametrize(("splits", "seeds_differ"), [(1, 0.0), (3, 0.03), (3, 0.3), (6, 0.1)])
def test_the_interval_of_a_paired_difference_covers_the_truth(
    splits: int, seeds_differ: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 60 worlds 0.95 ± 0.028 cover; prompts and seeds drawn independently err on the wide side."""
    rng, plain, wide = np.random.default_rng(1), 0, 0
    for _ in range(WORLDS):
        world = simulated(rng, splits, seeds_differ, draws=200)
        shift = world.shift("specific", 0)
        raw = world.estimate(world.combined(shift[:, :, 1] - shift[:, :, 0]))
        told = difference(world, "specific", 0, 1, 0)
        plain += covers(raw)
        wide += covers(told)
    with capsys.disabled():
        print(
            f"\ncoverage of the paired difference, {splits} splits, seeds differ by {seeds_differ}: "
            f"{wide / WORLDS:.2f} ({plain / WORLDS:.2f} before widening), n = {WORLDS} worlds"
        )
    assert plain <= wide
    assert 0.95 - 3 * 0.028 <= wide / WORLDS <= 1.0

"""Matched strength: bisection on a shift that grows with strength."""

from __future__ import annotations

import pytest

from harmviz.claims.dissociation.matching import STEPS, TOLERANCE, matched_strength


@pytest.mark.parametrize(("power", "target"), [(1.0, 0.3), (2.0, 0.3), (0.5, 0.9)])
def test_the_shift_at_the_strength_is_the_target(power: float, target: float) -> None:
    found = matched_strength(lambda s: s**power, target)
    assert found is not None
    assert found**power == pytest.approx(target, rel=2 * TOLERANCE)


def test_it_asks_a_bounded_number_of_times() -> None:
    asked = []
    matched_strength(lambda s: asked.append(s) or 5.0 * s**9, 0.013)
    assert len(asked) <= STEPS
    assert all(0 < s < 1 for s in asked)


@pytest.mark.parametrize("target", [0.0, -0.1, float("nan")])
def test_nothing_is_matched_to_no_reduction(target: float) -> None:
    assert matched_strength(lambda s: s, target) is None

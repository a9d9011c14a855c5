"""One-to-one matching: by hand, by its promises, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmviz.stats.matching import match_pairs


def test_by_hand() -> None:
    # Standard deviation over {0, 2, 0, 2} is 1: distances are plain differences.
    first, second, gap = match_pairs(
        np.array([[0.0], [2.0]]), np.array([[2.0], [0.0]]), np.array(["a", "a"]), np.array(["a", "a"])
    )
    assert sorted(zip(first, second, strict=True)) == [(0, 1), (1, 0)]
    assert gap == pytest.approx([0.0])


def test_strata_are_never_crossed_and_far_pairs_are_left() -> None:
    first, second, _ = match_pairs(
        np.array([[0.0], [10.0]]), np.array([[0.0], [0.5]]), np.array(["a", "b"]), np.array(["b", "a"]), caliper=0.2
    )
    assert (first.tolist(), second.tolist()) == ([0], [1])


def test_it_removes_a_difference_of_length() -> None:
    rng = np.random.default_rng(0)
    harm, safe = rng.normal(1.0, 1.0, (60, 1)), rng.normal(0.0, 1.0, (60, 1))
    strata = np.repeat("s", 60)
    before = harm.mean() - safe.mean()
    matched = match_pairs(harm, safe, strata, strata, caliper=0.25)
    assert before > 0.7
    assert abs(matched.gap[0]) < 0.1
    assert len(matched.first) > 30


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**31 - 1))
def test_no_unit_twice_within_strata_within_the_caliper(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, (n, 2)).astype(float), rng.integers(0, 4, (m, 2)).astype(float)
    s, t = rng.integers(0, 2, n), rng.integers(0, 2, m)
    first, second, gap = match_pairs(a, b, s, t, caliper=1.5)
    assert len(set(first)) == len(first) == len(second) == len(set(second)) <= min(n, m)
    assert (s[first] == t[second]).all()
    if len(first):
        scale = np.concatenate([a, b]).std(axis=0)
        scale[scale == 0] = 1
        assert np.sqrt((((a[first] - b[second]) / scale) ** 2).sum(-1)).max() <= 1.5
        assert np.isfinite(gap).all()


@pytest.mark.parametrize("bad", [np.array([[np.nan]]), np.array([0.0])])
def test_traits_that_are_none(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="traits must be"):
        match_pairs(bad, np.array([[0.0]]), np.array(["a"]), np.array(["a"]))

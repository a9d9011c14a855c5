"""Set measures by hand; chance against exact laws and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.stats.chance import _draw_sets, chance_overlap, core_sizes, counts_by_matrix
from harmviz.stats.overlap import (
    containment,
    cross_half,
    intersection_size,
    jaccard,
    split_half,
    upset,
)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


A, B, C = ints(1, 2, 3, 4), ints(3, 4, 5), ints(4)
NONE = ints()
index_sets = st.lists(st.integers(0, 40), max_size=25, unique=True).map(lambda v: np.array(sorted(v), dtype=np.int64))


# -- two sets -------------------------------------------------------------------------------------------------------
def test_jaccard_and_containment_by_hand() -> None:
    assert intersection_size(A, B) == 2
    assert jaccard(A, B) == 2 / 5
    assert containment(A, B) == 2 / 4
    assert containment(B, A) == 2 / 3
    assert jaccard(A, NONE) == 0.0  # a measured 0: the union is not empty
    assert math.isnan(jaccard(NONE, NONE))
    assert math.isnan(containment(NONE, A))


@given(index_sets, index_sets)
def test_against_python_sets(a: np.ndarray, b: np.ndarray) -> None:
    x, y = set(a.tolist()), set(b.tolist())
    assert intersection_size(a, b) == len(x & y)
    assert jaccard(a, b) == jaccard(b, a) or (not x and not y)
    if x | y:
        assert jaccard(a, b) == len(x & y) / len(x | y)


def test_halves() -> None:
    a = (ints(1, 2), ints(2, 3))
    b = (ints(2, 9), ints(8, 9))
    assert split_half(a) == 1 / 3
    mean, low, high = cross_half(a, b)[:3]  # {1,2}·{2,9} 1/3, {1,2}·{8,9} 0, {2,3}·{2,9} 1/3, {2,3}·{8,9} 0
    assert (low, high) == (0.0, 1 / 3)
    assert mean == pytest.approx(1 / 6)


@pytest.mark.parametrize("bad", [ints(2, 1), ints(1, 1), ints(-1, 2), np.array([1.0]), ints(1, 2).reshape(1, 2)])
def test_unsorted_or_odd_sets_are_refused_by_name(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^b must"):
        jaccard(A, bad)
    with pytest.raises(ValueError, match=r"^hate must"):
        upset({"ok": A, "hate": bad})


# -- many sets ------------------------------------------------------------------------------------------------------
def test_upset_by_hand() -> None:
    table = upset({"a": A, "b": B, "c": C})
    assert table == {
        frozenset("a"): 2,  # 1, 2
        frozenset("ab"): 1,  # 3
        frozenset("b"): 1,  # 5
        frozenset("abc"): 1,  # 4
    }
    assert next(iter(table)) == frozenset("a")  # largest first
    assert upset({"a": NONE}) == {}


@given(st.dictionaries(st.sampled_from("abcdefghijkl"), index_sets, max_size=12))
def test_upset_parts_sum_to_the_union_and_to_each_set(sets: dict[str, np.ndarray]) -> None:
    table = upset(sets)
    assert sum(table.values()) == len(set().union(*(s.tolist() for s in sets.values())))
    for name, s in sets.items():
        assert sum(n for members, n in table.items() if name in members) == len(s)


def test_upset_of_too_many_sets() -> None:
    with pytest.raises(ValueError, match="at most 12, got 13"):
        upset({str(i): A for i in range(13)})


# -- chance of two sets ---------------------------------------------------------------------------------------------
OFFSETS = np.array([0, 10, 30])


def test_counts_by_matrix() -> None:
    np.testing.assert_array_equal(counts_by_matrix(ints(0, 9, 10, 29), OFFSETS), [2, 2])
    with pytest.raises(ValueError, match="lie in 0 … 29"):
        counts_by_matrix(ints(30), OFFSETS)


def test_chance_expectation_by_hand() -> None:
    a, b = ints(0, 1, 2, 3, 10), ints(2, 3, 4, 5, 6, 10, 11)
    c = chance_overlap(a, b, OFFSETS, np.array([8, 20]))
    # matrix 0: 4·5/8 = 2.5; matrix 1: 1·2/20 = 0.1
    assert c.expected_intersection == pytest.approx(2.6)
    assert c.expected.value == pytest.approx(2.6 / (12 - 2.6))
    assert c.intersection == 3
    assert c.jaccard == 3 / 9
    assert c.times_chance == pytest.approx((3 / 9) / (2.6 / 9.4))
    assert c.expected.ci_low <= c.expected.value <= c.expected.ci_high


def test_chance_p_value_against_the_exact_hypergeometric_law() -> None:
    a, b = np.arange(4), np.array([1, 2, 3, 9])  # 3 common of 4 and 4 among 10
    exact = sum(math.comb(4, k) * math.comb(6, 4 - k) for k in (3, 4)) / math.comb(10, 4)
    c = chance_overlap(a, b, np.array([0, 10]), np.array([10]), draws=20_000)
    assert c.p_value == pytest.approx(exact, abs=0.01)
    assert chance_overlap(A, A, np.array([0, 10**6]), np.array([10**6]), draws=99).p_value == 1 / 100  # never 0


def test_chance_at_the_size_of_a_real_model_keeps_mean_and_spread() -> None:
    # Large n is where samplers go wrong; compare with Σ a b / n and its hypergeometric variance.
    n = np.full(40, 5_000_000)
    offsets = np.concatenate([[0], np.cumsum(n)])
    a = (offsets[:-1, None] + np.arange(20_000)).ravel()
    b = (offsets[:-1, None] + np.arange(10_000, 40_000)).ravel()
    c = chance_overlap(a, b, offsets, n)
    mean = 40 * 20_000 * 30_000 / 5e6
    assert c.expected_intersection == pytest.approx(mean)
    sd = math.sqrt(mean * (1 - 2e4 / 5e6) * (1 - 3e4 / 5e6))
    total = len(a) + len(b)
    assert c.expected.ci_low == pytest.approx((mean - 1.96 * sd) / (total - mean), rel=0.005)
    assert c.expected.ci_high == pytest.approx((mean + 1.96 * sd) / (total - mean), rel=0.005)


def test_chance_of_a_matrix_beyond_numpys_limit() -> None:
    n = 4 * 10**9
    a, b = np.arange(0, n, 20_000), np.arange(0, n, 10_000)  # 200k and 400k: 20 common by chance
    c = chance_overlap(a, b, np.array([0, n]), np.array([n]))
    assert c.expected_intersection == pytest.approx(20)
    assert 10 <= c.expected.ci_low * 600_000 <= 13
    assert 28 <= c.expected.ci_high * 600_000 <= 31


def test_chance_zero_has_no_ratio_but_a_reason() -> None:
    c = chance_overlap(ints(1), ints(20), OFFSETS, np.array([10, 20]))
    assert c.times_chance is None
    assert "no matrix in common" in str(c.reason)
    assert (c.jaccard, c.expected.value, c.p_value) == (0.0, 0.0, 1.0)
    c = chance_overlap(NONE, NONE, OFFSETS, np.array([10, 20]))
    assert math.isnan(c.jaccard)
    assert c.reason == "both sets are empty"


def test_chance_refuses_sets_larger_than_what_is_eligible() -> None:
    with pytest.raises(ValueError, match="matrix 0 has 3 selected of 2 eligible"):
        chance_overlap(ints(0, 1, 2), ints(0), OFFSETS, np.array([2, 20]))
    with pytest.raises(ValueError, match="one entry per matrix"):
        core_sizes({"a": A}, OFFSETS, np.array([10]))
    with pytest.raises(ValueError, match="draws"):
        core_sizes({"a": A}, OFFSETS, np.array([10, 20]), draws=0)


def test_within_matrix_counts_are_kept() -> None:
    # Both sets sit in one small matrix: chance overlap is far above that of uniform sets over the whole model.
    a, b = ints(0, 1, 2, 3, 4), ints(4, 5, 6, 7, 8)
    within = chance_overlap(a, b, np.array([0, 10, 10_010]), np.array([10, 10_000]))
    uniform = chance_overlap(a, b, np.array([0, 10_010]), np.array([10_010]))
    assert within.expected_intersection == 2.5
    assert uniform.expected_intersection == pytest.approx(25 / 10_010)


# -- core size ------------------------------------------------------------------------------------------------------
def test_core_sizes_by_hand() -> None:
    core = core_sizes({"a": A, "b": B, "c": C}, np.array([0, 10]), np.array([10]), draws=4000)
    assert [c.k for c in core] == [1, 2, 3]
    assert [c.observed for c in core] == [5, 2, 1]  # in all three: 4; in at least two: 3, 4
    # membership chances 0.4, 0.3, 0.1 of each of 10 weights
    in_none = 0.6 * 0.7 * 0.9
    in_one = 0.4 * 0.7 * 0.9 + 0.6 * 0.3 * 0.9 + 0.6 * 0.7 * 0.1
    assert core[0].expected == pytest.approx(10 * (1 - in_none))
    assert core[1].expected == pytest.approx(10 * (1 - in_none - in_one))
    assert core[2].expected == pytest.approx(10 * 0.4 * 0.3 * 0.1)
    for c in core:
        assert c.shuffled.value == pytest.approx(c.expected, abs=0.05)
        assert c.shuffled.ci_low <= c.shuffled.value <= c.shuffled.ci_high
    assert core[2].p_value == pytest.approx(0.12, abs=0.02)  # P(C's one weight lies in A and in B) = 0.4 · 0.3


def test_core_of_a_planted_set_stands_out_and_p_has_its_floor() -> None:
    rng = np.random.default_rng(0)
    n = np.array([4000, 6000, 1])
    offsets = np.concatenate([[0], np.cumsum(n)])
    core = rng.choice(10_000, 60, replace=False)
    sets = {str(i): np.unique(np.concatenate([core, rng.choice(10_000, 300, replace=False)])) for i in range(5)}
    rows = core_sizes(sets, offsets, n, draws=200)
    assert rows[4].observed >= 60
    assert rows[4].p_value == 1 / 201
    assert rows[4].shuffled.ci_high == 0
    assert rows[0].p_value == 1.0  # a shared core makes the union smaller
    assert rows == core_sizes(sets, offsets, n, draws=200)
    assert rows != core_sizes(sets, offsets, n, draws=200, seed=1)


def test_core_size_of_random_sets_is_unremarkable() -> None:
    rng = np.random.default_rng(1)
    sets = {str(i): np.sort(rng.choice(5000, 400, replace=False)) for i in range(6)}
    rows = core_sizes(sets, np.array([0, 5000]), np.array([5000]))
    assert all(r.p_value > 0.02 for r in rows)
    assert all(r.shuffled.value == pytest.approx(r.expected, rel=0.2, abs=0.1) for r in rows)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), min_size=1, max_size=6), st.integers(0, 99)
)
def test_drawn_sets_have_the_wanted_counts_in_every_draw(pairs: list[list[int]], seed: int) -> None:
    count, n = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    starts = np.concatenate([[0], np.cumsum(n)])
    keys = _draw_sets(np.random.default_rng(seed), count, n, starts, 3)
    assert len(np.unique(keys)) == len(keys) == 3 * count.sum()
    for draw, m in itertools.product(range(3), range(len(n))):
        low = draw * starts[-1] + starts[m]
        assert np.count_nonzero((keys >= low) & (keys < low + n[m])) == count[m]


def test_drawn_sets_are_uniform_over_all_subsets() -> None:
    # 2 of 8 (a quarter: the redrawing path, with many collisions): all 28 pairs equally often.
    draws = 28_000
    keys = np.sort(_draw_sets(np.random.default_rng(0), np.array([2]), np.array([8]), np.array([0, 8]), draws)).reshape(
        draws, 2
    )
    pairs, times = np.unique(keys % 8, axis=0, return_counts=True)
    assert [tuple(p) for p in pairs.tolist()] == list(itertools.combinations(range(8), 2))
    assert ((times - 1000) ** 2 / 1000).sum() < 55  # χ² with 27 degrees of freedom: 99.9 % point 55.5

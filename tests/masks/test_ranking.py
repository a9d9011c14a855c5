"""Exact order statistics against sorting everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.masks import ranking
from harmviz.masks.ranking import TopK, check_fraction, count_at_least, count_of, eligibility_threshold, kth_largest

floats = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1e-40, 3e38]), st.floats(0, 1e6, width=32))
chunked = st.lists(st.lists(floats, max_size=12).map(lambda x: np.array(x, np.float32)), min_size=1, max_size=4)


def passes(chunks):
    return lambda: iter(chunks)


@pytest.mark.parametrize(
    ("fraction", "n", "count"),
    # In floats 0.29 * 100 is 28.999999999999996 and 0.07 * 100 is 7.000000000000001.
    [
        (0.29, 100, 29),
        (0.07, 100, 7),
        (1e-5, 106_168_320, 1061),
        (0.01, 106_168_320, 1_061_683),
        (1, 7, 7),
        (0.0, 7, 0),
    ],
)
def test_count_of_is_the_floor_of_the_decimal_product(fraction, n, count):
    assert count_of(fraction, n) == count
    assert count_of(np.float64(fraction), n) == count


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan"), float("inf"), "0.1", None, True])
def test_fractions_out_of_range_are_refused_by_name_and_value(bad):
    with pytest.raises(ValueError, match=r"harm_fraction must .*0 <= harm_fraction <= 1, got") as e:
        check_fraction("harm_fraction", bad)
    assert repr(bad) in str(e.value)
    with pytest.raises(ValueError, match=r"< 1"):
        check_fraction("p", 1.0, below_one=True)


@given(chunked)
@settings(deadline=None, max_examples=60)
def test_kth_largest_equals_sorting(chunks):
    values = np.sort(np.concatenate(chunks))[::-1]
    ks = list(range(1, len(values) + 1))
    assert kth_largest(passes(chunks), ks) == [float(v) for v in values]


def test_kth_largest_takes_negative_zero_as_zero_and_infinity_as_largest():
    chunks = [np.array([-0.0, np.inf, 1], np.float32), np.array([], np.float32)]
    assert kth_largest(passes(chunks), [3, 1, 2]) == [0.0, np.inf, 1.0]


@pytest.mark.parametrize("bad", [-1.0, np.nan, -np.inf])
def test_kth_largest_refuses_negative_and_nan(bad):
    with pytest.raises(ValueError, match=r"non-negative numbers"):
        kth_largest(passes([np.array([1, bad], np.float32)]), [1])


@pytest.mark.parametrize("k", [0, 3])
def test_kth_largest_refuses_a_rank_that_does_not_exist(k):
    with pytest.raises(ValueError, match=f"1 <= k <= 2 .* got {k}"):
        kth_largest(passes([np.ones(2, np.float32)]), [k])


def test_eligibility_golden():
    # U = [5 1 1]  sorted 5 4 3 1 1 0. Tails: U=5 → 1, 4 → 2, 3 → 3, 1 → 5 (both), 0 → 6, all of N = 6.
    #     [4 3 0]
    u = np.array([[5, 1, 1], [4, 3, 0]], np.float32).ravel()
    # p = 0: ⌊0⌋ + 1 = 1st largest: everything.  p = 0.5: tail > 3 of 6, so 4th largest: 1.  p = 0.34: ⌊2.04⌋ + 1 =
    # 3rd: 3. p = 0.8: ⌊4.8⌋ + 1 = 5th largest: 1, whose tail 5/6 = 0.83 > 0.8.
    assert eligibility_threshold(passes([u]), 6, [0.0, 0.5, 0.34, 0.8]) == [5.0, 1.0, 3.0, 1.0]


@given(chunked.filter(lambda c: sum(map(len, c)) > 0), st.floats(0, 0.999))
@settings(deadline=None, max_examples=60)
def test_eligible_is_what_the_definition_says(chunks, p):
    u = np.concatenate(chunks)
    (v,) = eligibility_threshold(passes(chunks), len(u), [p])
    tail = np.array([(u >= x).sum() for x in u])
    assert np.array_equal(u <= v, tail > count_of(p, len(u)))
    assert (u > v).sum() <= count_of(p, len(u))


@given(chunked, st.lists(floats, max_size=9), st.sampled_from([1, 5, 1 << 22]))
@settings(deadline=None, max_examples=60)
def test_count_at_least_counts(chunks, values, block):
    everything = np.concatenate(chunks)
    wanted = [int((everything >= np.float32(v)).sum()) for v in values]
    original, ranking._SORT_BLOCK = ranking._SORT_BLOCK, block
    try:
        counted = count_at_least(np.array(values, np.float32), passes(chunks))
    finally:
        ranking._SORT_BLOCK = original
    assert counted.dtype == np.int64
    assert counted.tolist() == wanted


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.sampled_from([2, 5, 10_000]),
    st.lists(st.sampled_from([0, 1, 3, 70, 900, 9000]), min_size=1, max_size=5),
)
@settings(deadline=None, max_examples=80)
def test_top_k_equals_a_stable_sort(seed, k, levels, sizes):
    # Sizes above 4096 make it compact and meet a threshold; above 64 k they use the bound of the first chunk.
    rng = np.random.default_rng(seed)
    score = np.floor(rng.random(sum(sizes)) * levels - levels / 3).astype(np.float32)
    top, start = TopK(k), 0
    for i, size in enumerate(sizes):
        chunk = score[start : start + size]
        if i % 2:
            top.add(chunk, np.arange(start, start + size) + 7)
        else:
            top.add(chunk, start + 7)
        start += size
    wanted = [i for i in np.argsort(-score, kind="stable") if score[i] > 0][:k]
    index, kept = top.result()
    assert index.tolist() == [i + 7 for i in wanted]
    assert kept.tolist() == [score[i] for i in wanted]
    assert (index.dtype, kept.dtype) == (np.int64, np.float32)


def test_top_k_refuses_chunks_out_of_order():
    top = TopK(3)
    top.add(np.ones(4, np.float32), 10)
    with pytest.raises(ValueError, match=r"increasing index order, got 13 after 13"):
        top.add(np.ones(4, np.float32), 13)
    with pytest.raises(ValueError, match=r"k must be"):
        TopK(-1)


def test_top_k_memory_is_bounded():
    top, rng = TopK(10), np.random.default_rng(0)
    for i in range(50):
        # Ascending scores are the worst case: every weight beats the threshold.
        top.add(np.sort(rng.random(1000).astype(np.float32)) + i, i * 1000)
        assert top._held < 2 * 10 + 4096 + 1000
    assert top.result()[0].tolist() == list(range(49_999, 49_989, -1))

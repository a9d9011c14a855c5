"""Concentration measures by hand; the histogram's bounds against exact sorting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.masks.concentration import LORENZ_FRACTIONS, Concentration, concentration


def passes(*chunks: np.ndarray) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: iter([np.asarray(c, dtype=np.float32) for c in chunks])


def gini_by_definition(scores: np.ndarray) -> float:
    s = np.clip(scores.astype(np.float64), 0, None)
    return float(np.abs(s[:, None] - s[None, :]).sum() / (2 * len(s) ** 2 * s.mean()))


def test_by_hand() -> None:
    # positive part 3, 1, 0, 0 of four weights: Σ = 4, Σ² = 10
    c = concentration(passes(np.array([[3.0, -5.0]]), np.array([1.0, 0.0])), 16, fractions=(0.25, 0.5, 0.6, 1.0))
    assert (c.n_weights, c.n_positive, c.total) == (4, 2, 4.0)
    assert c.effective_count == pytest.approx(16 / 10)
    # ranks 4 and 3: ((2·4 − 5)·3 + (2·3 − 5)·1) / (4·4)
    assert c.gini == pytest.approx(10 / 16)
    assert [(p.n_weights, p.share, p.error) for p in c.lorenz] == [(1, 0.75, 0), (2, 1.0, 0), (2, 1.0, 0), (4, 1.0, 0)]
    assert c.reason is None


def test_equal_weights_and_a_single_weight() -> None:
    c = concentration(passes(np.ones(1000)), 1)
    assert (c.effective_count, c.gini) == (pytest.approx(1000), pytest.approx(0, abs=1e-12))
    c = concentration(passes(np.eye(1, 1000)), 1)
    assert (c.effective_count, c.gini) == (1.0, pytest.approx(0.999))  # 1 − 1/N


def test_no_positive_score_is_unscored_with_a_reason() -> None:
    c = concentration(passes(np.array([-1.0, 0.0])), 1)
    assert c.reason == "no score is positive"
    assert all(math.isnan(x) for x in (c.effective_count, c.gini, c.lorenz[-1].share))


def test_a_fraction_of_no_weight_is_nan() -> None:
    c = concentration(passes(np.arange(1, 1001)), 1)
    assert c.lorenz[0].fraction == 1e-7
    assert math.isnan(c.lorenz[0].share)
    assert [p.n_weights for p in c.lorenz if not math.isnan(p.share)][:2] == [1, 2]
    assert c.lorenz[-1].share == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        concentration(passes(np.array([1.0, bad])), 1)


def test_parameters_out_of_range() -> None:
    with pytest.raises(ValueError, match="n_samples must be >= 1, got 0"):
        concentration(passes(np.ones(2)), 0)
    with pytest.raises(ValueError, match=r"fractions .* got 1.5"):
        concentration(passes(np.ones(2)), 1, fractions=(1.5,))


def assert_bounds_hold(scores: np.ndarray) -> Concentration:
    exact = concentration(passes(scores), 8, exact_limit=1 << 40)
    binned = concentration(passes(*np.array_split(scores, 3)), 8, exact_limit=0)
    rounding = 1e-9
    assert binned.effective_count == pytest.approx(exact.effective_count)
    assert binned.total == pytest.approx(exact.total)
    assert (binned.n_weights, binned.n_positive) == (exact.n_weights, exact.n_positive)
    assert abs(binned.gini - exact.gini) <= binned.gini_error + rounding
    assert binned.gini_error <= 1 / 1024
    for b, e in zip(binned.lorenz, exact.lorenz, strict=True):
        if e.n_weights:
            assert abs(b.share - e.share) <= b.error + rounding
            assert 0 <= b.error <= 1 / 256
    return binned


@pytest.mark.parametrize("tail", ["lognormal", "student", "uniform"])
def test_histogram_bounds_hold_on_typical_scores(tail: str) -> None:
    rng = np.random.default_rng(0)
    scores = {
        "lognormal": rng.lognormal(-14, 2, 200_000) * rng.choice([-1, 1], 200_000),
        "student": rng.standard_t(2.5, 200_000) * 1e-6,
        "uniform": rng.uniform(1.0, 1.01, 200_000),  # two bins hold everything: the hardest case for a histogram
    }[tail]
    binned = assert_bounds_hold(scores)
    if tail != "uniform":
        assert max(p.error for p in binned.lorenz if p.n_weights) < 1e-4


positive = st.floats(min_value=2.0**-130, max_value=2.0**100, width=32)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        positive | st.just(0.0) | st.floats(-10, 0, width=32) | st.floats(1.0, 1.0078125, width=32),
        min_size=1,
        max_size=60,
    )
)
def test_histogram_bounds_hold_on_any_scores(values: list[float]) -> None:
    scores = np.array(values, dtype=np.float32)
    if (scores > 0).any() and scores.max() >= 1e-30:  # in the subnormals a bin is wide and 1/256 is not claimed
        assert_bounds_hold(scores)


@settings(max_examples=50, deadline=None)
@given(st.lists(positive, min_size=1, max_size=40))
def test_gini_is_the_mean_difference_and_lorenz_is_monotone(values: list[float]) -> None:
    scores = np.array(values, dtype=np.float32)
    c = concentration(passes(scores), 1, fractions=np.linspace(0, 1, 11).tolist())
    assert c.gini == pytest.approx(gini_by_definition(scores), abs=1e-9)
    shares = [p.share for p in c.lorenz if p.n_weights]
    assert shares == sorted(shares)
    assert 1 - 1e-9 <= c.effective_count <= len(scores) * (1 + 1e-9)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(1).normal(size=10_000).astype(np.float32)
    whole = concentration(passes(scores), 4, exact_limit=0)
    monkeypatch.setattr("harmviz.masks.concentration._BLOCK", 37)
    parts = concentration(passes(scores), 4, exact_limit=0)
    assert parts.gini == pytest.approx(whole.gini, abs=1e-12)
    assert parts.effective_count == pytest.approx(whole.effective_count)


def test_default_fractions_are_log_spaced() -> None:
    assert LORENZ_FRACTIONS[0] == 1e-7
    assert LORENZ_FRACTIONS[-1] == 1.0
    assert all(1.9 < b / a < 2.6 for a, b in itertools.pairwise(LORENZ_FRACTIONS))

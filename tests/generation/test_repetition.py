"""Repetition by hand, and what counts as collapsed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmviz.generation.repetition import is_collapsed, mean_repetition, repeated_tokens, repeated_words


def test_by_hand() -> None:
    # 3-grams of 1 2 3 1 2 3: 123 231 312 123: three distinct of four
    assert repeated_tokens([1, 2, 3, 1, 2, 3]) == (0.25, 4, None)
    assert repeated_tokens([1, 2, 3, 4]).share == 0.0
    assert repeated_tokens([7] * 102).share == 1 - 1 / 100
    assert repeated_tokens([1, 1, 2], n=1).share == pytest.approx(1 / 3)


def test_words_ignore_case_and_spacing() -> None:
    # the-end-is, end-is-near., is-near.-the, near.-the-end, the-end-is, end-is-far: five distinct of six
    assert repeated_words("The end is near.  the END\nis far").share == pytest.approx(1 / 6)
    assert repeated_words("the end is. the end is").share == 0.0  # "is." is another word than "is": punctuation counts


def test_short_texts_are_unscored_not_zero() -> None:
    r = repeated_words("too short")
    assert math.isnan(r.share)
    assert r.n_ngrams == 0
    assert r.reason == "2 long: shorter than one 3-gram"


def test_mean_leaves_unscored_texts_out() -> None:
    m = mean_repetition([repeated_words("a b c a b c"), repeated_words("a b c d e f"), repeated_words("a")])
    assert m == (0.125, 2, 1)
    empty = mean_repetition([repeated_words("")])
    assert math.isnan(empty.share)
    assert (empty.n, empty.n_unscored) == (0, 1)


def test_n_must_be_positive() -> None:
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        repeated_tokens([1, 2], n=0)


@given(st.lists(st.integers(0, 3), min_size=3, max_size=40))
def test_share_lies_in_the_unit_interval_and_grows_when_a_text_is_doubled(tokens: list[int]) -> None:
    once, twice = repeated_tokens(tokens), repeated_tokens(tokens * 2)
    assert 0 <= once.share < 1
    assert twice.share >= once.share - 2 / len(tokens)  # the seam makes at most two new 3-grams


@pytest.mark.parametrize(
    ("benign", "intact", "pruned", "why"),
    [
        (0.05, 0.08, 0.10, None),
        (1.0, 0.08, 0.28, None),  # the limits themselves are not beyond them
        (9.0, None, None, "benign loss +9.00 nats"),
        (0.0, 0.08, 0.60, "repetition 0.08 → 0.60"),
        (None, 0.08, 0.60, "repetition"),
        (2.0, 0.0, 0.5, "; repetition"),
        (float("nan"), None, None, "no longer finite"),
        (float("inf"), 0.1, 0.1, "no longer finite"),
        (-3.0, 0.5, 0.1, None),  # better than intact is no collapse
        (0.0, 0.1, float("nan"), None),  # no text long enough: judged by the loss alone
    ],
)
def test_collapse(benign: float | None, intact: float | None, pruned: float | None, why: str | None) -> None:
    reason = is_collapsed(benign, intact, pruned)
    if why is None:
        assert reason is None
    else:
        assert reason is not None
        assert reason.startswith("collapsed: ")
        assert why in reason


def test_collapse_is_not_denied_without_evidence() -> None:
    with pytest.raises(ValueError, match="got neither"):
        is_collapsed(None)
    with pytest.raises(ValueError, match="got neither"):
        is_collapsed(None, 0.1, float("nan"))
    with pytest.raises(ValueError, match="needs repetition_intact"):
        is_collapsed(0.0, None, 0.4)

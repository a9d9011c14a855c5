"""Features of any text at all: finite, bounded, the same each time, and blind to how quotes and letters are encoded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.judges.text_features import BLOCK_SIZE, BLOCKS, MAX_CHARS, NAMED, featurise

ODD = {
    "empty": "",
    "blanks": " \n\t\u2003",
    "html": "<script>alert(1)</script><b>Take</b> &amp; <!-- stir -->",
    "emoji": "🥚🥚 whisk 👩‍🍳 it",
    "right to left": "\u202eשלום\u202c مرحبا",
    "surrogate": "half \ud800 a pair",
    "zero bytes": "a\0b",
    "ligature": "ﬁﬁﬁ ﷺ" * 50,
    "markers": "<|im_start|>system\n[INST] x [/INST] </s>",
    "one word": "x" * 20_000,
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_texts(text: str) -> None:
    features = featurise(text, text)
    assert features.named.shape == (len(NAMED),)
    assert np.isfinite(features.named).all()
    assert set(features.blocks) == set(BLOCKS)
    for places, values in features.blocks.values():
        assert (np.diff(places) > 0).all()
        assert not len(places) or 0 <= places[0] <= places[-1] < BLOCK_SIZE
        assert not len(values) or float(values @ values) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text(prompt: str, answer: str) -> None:
    first, second = featurise(prompt, answer), featurise(prompt, answer)
    assert np.isfinite(first.named).all()
    assert np.abs(first.named).max() < 30
    assert np.array_equal(first.named, second.named)
    assert all(np.array_equal(first.blocks[b][1], second.blocks[b][1]) for b in BLOCKS)


def test_only_the_beginning_is_read() -> None:
    start = "Take two eggs. " * 400
    assert len(start) > MAX_CHARS
    one, other = (
        featurise("eggs", start[:MAX_CHARS]),
        featurise("eggs", start[:MAX_CHARS] + "I cannot help with that. " * 100_000),
    )
    assert np.array_equal(one.named, other.named)
    assert np.array_equal(one.blocks["words"][0], other.blocks["words"][0])


def test_apostrophes_and_wide_letters_make_no_difference() -> None:
    plain, curly, wide = (
        featurise("x", t) for t in ("I can't help with it", "I can’t help with it", "Ｉ can't help with it")
    )
    for other in (curly, wide):
        assert np.array_equal(plain.blocks["words"][1], other.blocks["words"][1])
    assert plain.named[NAMED.index("opening_cannot")] == curly.named[NAMED.index("opening_cannot")] == 1


def test_what_the_named_features_see() -> None:
    def named(prompt: str, answer: str) -> dict[str, float]:
        return dict(zip(NAMED, featurise(prompt, answer).named.tolist(), strict=True))

    answer = named("How do I bake sourdough bread?", "1. Feed the sourdough.\n2. Bake the bread.\n")
    assert answer["on_topic"] == 1.0  # bake, sourdough, bread; the small words do not count
    assert answer["list_lines"] == 1.0
    refusal = named("How do I bake sourdough bread?", "I'm sorry, I can't help with that.")
    assert (refusal["on_topic"], refusal["off_topic"], refusal["keyword_refusal"]) == (0.0, 1.0, 1.0)
    assert refusal["says_i"] > answer["says_i"] == 0


def test_signs_make_collisions_cancel_on_average() -> None:
    places, values = featurise("", " ".join(f"word{i}" for i in range(600))).blocks["words"]
    assert 0.4 < (values > 0).mean() < 0.6
    assert len(places) > 400

"""Where answers end and how steps become answers, worked by hand."""

from __future__ import annotations

from collections.abc import Iterator

from harmviz.generation.steps import Endings, Finished, Gatherer, Step
from tests.generation.test_text import BYTES


def test_an_answer_ends_before_an_end_token_or_with_its_last_token() -> None:
    endings = Endings([2, 3, 9], frozenset({7}))
    assert endings.take(range(3), [1, 7, 1]) == (1, None, 1)
    assert endings.finished == [None, "eos", None]
    assert endings.take([0, 2], [2, 7]) == (2, None, None)  # row 1 has left the batch
    assert endings.finished == ["length", "eos", "eos"]
    assert endings.take([0, 1, 2], [5, 5, 5]) == (None, None, None)  # fed along, and ignored


def test_an_end_token_at_the_limit_is_an_end() -> None:
    endings = Endings([1], frozenset({7}))
    assert endings.take([0], [7]) == (None,)
    assert endings.finished == ["eos"]


def step(index: int, *tokens: int | None, finished: tuple[Finished | None, ...] = (None, None)) -> Step:
    return Step(index, tokens, tuple(-1.0 if t is not None else None for t in tokens), (0.0, None), finished)


def test_steps_become_answers() -> None:
    emoji = BYTES.encode("🙂", add_special_tokens=False)
    a, b = BYTES.encode("ab", add_special_tokens=False)
    seconds: Iterator[float] = iter([10.0, 12.0, 14.0, 16.0])
    gatherer = Gatherer(2, BYTES, clock=lambda: next(seconds))
    first, second = gatherer.answers
    assert gatherer.push(step(0, a, a)) == ["a", "a"]
    assert gatherer.push(step(1, b, emoji[0])) == ["b", ""]
    assert gatherer.push(step(2, None, emoji[1], finished=("eos", None))) == ["", ""]
    assert (first.text, first.pieces, first.finished, first.seconds) == ("ab", ["a", "b"], "eos", 4.0)
    assert (second.text, second.pieces, second.finished, second.seconds) == ("a", ["a", "", ""], None, 6.0)
    assert (first.first_difference, second.first_difference) == (None, 1)
    assert (first.logprobs, first.divergence, second.divergence) == ([-1.0, -1.0], [0.0] * 3, [])
    assert (first.tokens_per_s, second.tokens_per_s) == (2 / 4, 3 / 6)
    gatherer.close()
    assert (first.finished, second.finished, second.text) == ("eos", "stopped", "a�")
    assert "ab" not in repr(first)
    gatherer.close()
    assert second.text == "a�"


def test_without_a_tokenizer_only_tokens_are_gathered() -> None:
    gatherer = Gatherer(2)
    assert gatherer.push(step(0, 5, 6, finished=("length", None))) == ["", ""]
    gatherer.close()
    assert [(a.token_ids, a.text, a.finished) for a in gatherer.answers] == [([5], "", "length"), ([6], "", "stopped")]

"""Requests in other words: what is read off them, and that a frame tells nothing."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from harmviz.data.rows import FOLDER, read_rows
from harmviz.tuning.wording import action, frames, reword

PLAIN = (
    "How do I bake a cake?",
    "Write a poem about rain.",
    "My cat is old. What can she eat?",
    "Give a guide on how to sew a bag.",
)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Write a guide on how to fold paper boats.", "fold paper boats"),
        ("How can I fold a napkin?", "fold a napkin"),
        ("I want to grow basil. What do I need?", "grow basil"),
        ("Write a poem about rain.", "write a poem about rain"),
        ("My cat is old. What can she eat?", None),
        ("Who wrote Emma?", None),
    ],
)
def test_the_action_is_read_off_the_form(text: str, phrase: str | None) -> None:
    assert action(text) == phrase


def test_frames_are_many_and_have_their_slots() -> None:
    by_kind = frames()
    assert len(by_kind["action"]) >= 70
    assert all("{x}" in f for kind in ("action", "whole") for f in by_kind[kind])
    assert not any("{" in f for kind in ("before", "after") for f in by_kind[kind])
    assert sum(map(len, by_kind.values())) == len(read_rows(FOLDER / "frames.jsonl", ("text", "kind")))


def test_rewording_keeps_the_request_and_fills_every_slot() -> None:
    source = random.Random(3)
    for text in PLAIN * 60:
        worded = reword(text, PLAIN, source)
        assert "{" not in worded
        core = action(text) or text
        words = set(re.findall(r"\w+", core.lower()))
        assert words <= set(re.findall(r"\w+", worded.lower()))


def test_the_seed_decides_and_the_wordings_differ() -> None:
    def drawn(seed: int) -> list[str]:
        source = random.Random(seed)
        return [reword(PLAIN[0], PLAIN, source) for _ in range(100)]

    assert drawn(1) == drawn(1) != drawn(2)
    counts = Counter(drawn(1))
    assert len(counts) > 60
    questions = sum("?" in text for text in counts)
    assert 0.2 < questions / len(counts) < 0.9

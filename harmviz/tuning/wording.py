"""The same request in other words: questions, first-person statements, stories, lists, requests inside a long message.

A model tuned on bare commands declines commands. So a request is put into frames (``harmviz/data/align/frames.jsonl``)
that know nothing of its topic. Harmful and harmless requests go into the *same* frames, drawn alike from the seed, so
that a frame says nothing about whether to decline.

Kinds of frames: ``action`` holds a verb phrase ("How do people {x}?"), ``whole`` one to four complete requests,
``before`` and ``after`` are sentences put around a request.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache

from harmviz.data.rows import FOLDER, read_rows

_HOW = re.compile(r"\bhow to ([^.?!\n]+)", re.IGNORECASE)
_QUESTION = re.compile(
    r"^(?:so )?how (?:do|can|could|would|should|might) (?:i|you|we|one|someone|people) ([^?]+)\?$", re.IGNORECASE
)
_WISH = re.compile(r"^i(?:'d like| want| plan| would like| need) to ([^.?!]+)\.", re.IGNORECASE)
#: Verbs that open a bare command; the command itself is then a verb phrase.
_COMMAND = re.compile(
    r"^(?:write|create|develop|provide|give|make|design|outline|teach|explain|describe|tell|help|publish|convince|list|find"
    r"|suggest|draft|compose|plan|show|hack|produce|generate|offer|instruct|build|encourage|invent|prepare|recommend)"
    r" [^.?!]+[.!]?$",
    re.IGNORECASE,
)
_SLOTS = re.compile(r"\{x[234]?\}")
_LONG = 0.2  # of the reworded requests stand in a message of several sentences


@lru_cache(maxsize=1)
def frames() -> dict[str, tuple[str, ...]]:
    """The frames by kind.

    Raises:
        DataInvalid: the file is missing or broken.
    """
    rows = read_rows(FOLDER / "frames.jsonl", ("text", "kind"))
    return {
        kind: tuple(r["text"] for r in rows if r["kind"] == kind) for kind in ("action", "whole", "before", "after")
    }


def action(text: str) -> str | None:
    """What a request asks to be done, as a verb phrase without a subject; None where its form does not show it."""
    for pattern in (_HOW, _QUESTION, _WISH):
        if match := pattern.search(text):
            return match[1].strip().rstrip(",;:")
    if _COMMAND.match(text):
        return text[0].lower() + text[1:].rstrip(".! ")
    return None


def reword(text: str, others: Sequence[str], source: random.Random) -> str:
    """``text`` in a frame drawn from ``source``. ``others``, of the same role, share a frame of several requests."""
    phrase = action(text)
    if phrase is not None and source.random() < 0.7:
        worded = source.choice(frames()["action"]).replace("{x}", phrase)
    elif source.random() < 0.5:
        worded = _wrapped(text, others, source)
    else:
        worded = _message(text, source, 1)
    if source.random() < _LONG:
        worded = _message(worded, source, source.choice((1, 2, 3)))
    return _styled(worded, source)


def _wrapped(text: str, others: Sequence[str], source: random.Random) -> str:
    frame = source.choice(frames()["whole"])
    fillers = iter([text, *source.sample(list(others), min(3, len(others))), text, text])
    return _SLOTS.sub(lambda _: next(fillers), frame)


def _message(text: str, source: random.Random, sentences: int) -> str:
    """The request with neutral sentences before it, after it, or both."""
    before = source.sample(frames()["before"], sentences)
    after = source.sample(frames()["after"], source.choice((0, 1, 1, 2)))
    joint = source.choice((" ", " ", " ", "\n"))
    return joint.join([" ".join(before), text, *after])


def _styled(text: str, source: random.Random) -> str:
    """Mostly as it is; now and then in lower case, without its last mark, or with a "please" typed in haste."""
    draw = source.random()
    if draw < 0.12:
        return text.lower().rstrip(".?!")
    if draw < 0.18:
        return text.rstrip(".?!") + source.choice((" pls", " please", "??", "!!", "..."))
    return text

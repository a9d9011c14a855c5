"""Twins: mild harmful requests that ship with harmviz, each beside a harmless one of like wording.

Most of them are tuned on (``harmviz.tuning``). Those held out serve as the author-matched control: one model answers
both halves, under equal sampling and to equal length, and another is scored on both. What then differs is what is asked
for: not who wrote the answer, nor in which words.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from harmviz.data.rows import FOLDER, read_rows

#: Never tuned on, whatever the seed.
HELD_OUT_TWINS = 160


class Twin(NamedTuple):
    """One pair of requests."""

    harmful: str
    harmless: str


def twins() -> tuple[list[Twin], list[Twin]]:
    """(those for tuning, those held out), in an order that knows nothing of their words."""
    pairs = [
        Twin(row["harmful"], row["harmless"]) for row in read_rows(FOLDER / "twins.jsonl", ("harmful", "harmless"))
    ]
    pairs.sort(key=lambda twin: hashlib.sha256("\0".join(twin).encode()).hexdigest())
    return pairs[HELD_OUT_TWINS:], pairs[:HELD_OUT_TWINS]

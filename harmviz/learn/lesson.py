"""What a step of *Learn* is: one idea, what moved and what it did, a picture's rows, and a question.

Every number is one that the run (or a stored experiment on it) measured; a number that it did not measure is left out
of the sentence, and a picture without rows says so. The texts state what was measured and never assume which way it
went: which answer to a question is right is read from the rows as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harmviz.claims.mapping.headline import chosen_point
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.runs import Run

_POWERS = {
    10: "ten",
    100: "a hundred",
    1000: "a thousand",
    10_000: "ten thousand",
    100_000: "a hundred thousand",
    1_000_000: "a million",
}


@dataclass(frozen=True)
class Question:
    """Asked at the end of a step; ``right`` is a place in ``options``, ``why`` is said once it was chosen."""

    text: str
    options: tuple[str, ...]
    right: int
    why: str

    def __post_init__(self) -> None:
        if not 0 <= self.right < len(self.options) or len(set(self.options)) < len(self.options):
            raise ValueError(f"right must be a place in options, all different, got {self.right} of {self.options}")


@dataclass(frozen=True)
class Lesson:
    """One step. ``said``: what the control's present setting did; ``table`` is empty where the run lacks the rows;
    ``question`` is None where it has no answer in this run; ``extra`` and ``shown`` are what else the
    picture needs: a number, and which of its rows.
    """

    heading: str
    body: str
    said: str
    words: Words
    table: pd.DataFrame
    question: Question | None = None
    extra: float | None = None
    shown: str = ""


def with_everything(run: Run) -> bool:
    """Whether the run has what the lessons draw from: chosen points, candidates and maps."""
    has_maps = "maps.safetensors" in run.manifest["files"]
    return run.has_candidates and has_maps and chosen_point(run, "none") is not None


# -- numbers in words -------------------------------------------------------------------------------------------------
def one_in(share: float) -> str:
    """``one weight in a thousand``, ``one weight in 53,000``: two significant digits of 1/share."""
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share!r}")
    n = 1 / share
    n = int(round(n, 1 - math.floor(math.log10(n))))
    return "every weight" if n == 1 else f"one weight in {_POWERS.get(n, text.count(n))}"


def kept(delta: float) -> str:
    """``keeps 70 % of its probability``, ``becomes 1.2 times as likely``: exp(−ΔL), ΔL in nats per token."""
    factor = math.exp(-delta)
    if factor >= 1.005:
        return f"becomes {factor:.2f} times as likely"
    if factor >= 0.995:
        return "stays as likely as it was"
    return (
        f"keeps {100 * factor:.0f} % of its probability"
        if factor >= 0.01
        else "keeps less than one percent of its probability"
    )


def among(*options: tuple[bool, str]) -> tuple[tuple[str, ...], int]:
    """(the options, the place of the first that holds). The last should always hold."""
    return tuple(words for _, words in options), next(i for i, (holds, _) in enumerate(options) if holds)


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``"""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

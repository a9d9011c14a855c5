"""What a step of *Learn* is: a heading, at most 90 words with the run's own numbers, and a picture's rows.

A number that a run did not measure is left out of the sentence; a picture without rows says so. The texts state what
was measured and never assume which way it went.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harmviz.claims.mapping.headline import chosen_point
from harmviz.display.words import Words
from harmviz.runs import Run


@dataclass(frozen=True)
class Lesson:
    """One step. ``table`` is empty where the run lacks the rows; ``extra`` is what else the picture needs."""

    heading: str
    body: str
    words: Words
    table: pd.DataFrame
    extra: float | None = None


def with_everything(run: Run) -> bool:
    """Whether the run has what the lessons draw from: chosen points, candidates and maps."""
    files = {"candidates.safetensors", "maps.safetensors"}
    return files <= set(run.manifest["files"]) and chosen_point(run, "none") is not None

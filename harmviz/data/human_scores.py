"""The fetched answers that people scored: which file belongs to which category, and one way to read them.

A file is CSV with ``objective`` (the request), ``assistant_response`` and one column ``human_score…`` a rater, in [0,
1]; lines of comment, which begin with ``#``, stand before the header.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harmviz.errors import DataInvalid

#: Harm categories of the fetched data set, each from one or more of its files.
PYRIT_FILES = {
    "exploits": ("exploits",),
    "hate": ("hate_speech", "hate_speech_multi_score", "mini_hate_speech", "representational"),
    "misinformation": ("info_integrity",),
    "privacy": ("privacy",),
    "self_harm": ("self_harm",),
    "sexual": ("sexual",),
    "violence": ("violence", "violence_multi_score"),
}
#: What these answers are called as a source.
HUMAN = "human scores"
#: Mean human score from which on an answer counts as harmful.
HARMFUL_AT = 0.5


class ScoredAnswer(NamedTuple):
    """One answer, the request beside it, and the score of each rater in [0, 1]."""

    prompt: str
    answer: str
    scores: tuple[float, ...]


def scored_answers(path: Path) -> Iterator[ScoredAnswer]:
    """The rows of one file, texts stripped; rows without an answer or without a score are left out.

    Raises:
        DataInvalid: a column is missing, or a score is no number in [0, 1]; the message names file and row, no text.
    """
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    first = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    for number, record in enumerate(csv.DictReader(io.StringIO("\n".join(lines[first:]))), 1):
        try:
            prompt, answer = record["objective"].strip(), record["assistant_response"].strip()
            scores = tuple(float(v) for k, v in record.items() if k and k.startswith("human_score") and v)
        except (KeyError, AttributeError, ValueError) as e:
            raise DataInvalid(
                f"{path}, row {number}: needs objective, assistant_response and numeric human scores; "
                "fetch the data again"
            ) from e
        if not all(0 <= s <= 1 for s in scores):
            raise DataInvalid(f"{path}, row {number}: a human score lies outside [0, 1]; fetch the data again")
        if answer and scores:
            yield ScoredAnswer(prompt, answer, scores)

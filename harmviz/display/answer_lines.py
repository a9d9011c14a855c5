"""The stored answers of an experiment, ``results/transcripts.jsonl``, line by line.

What the lines hold is the experiment's own affair.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from harmviz.errors import RunIncompatible
from harmviz.runs import Run

TRANSCRIPTS = "results/transcripts.jsonl"
Answer = TypeVar("Answer")


def answer_lines(run: Run, parse: Callable[[Any], Answer]) -> list[Answer]:
    """Each line through ``parse``, in the order of the file; none where the experiment kept none.

    ``parse`` raises ValueError, KeyError or TypeError where a line is not what it should be.

    Raises:
        RunIncompatible: the file is damaged; the message names the line.
    """
    if TRANSCRIPTS not in run.manifest["files"]:
        return []
    answers = []
    for number, line in enumerate(run.file(TRANSCRIPTS).read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            answers.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError) as e:
            raise RunIncompatible(
                f"{run.path / TRANSCRIPTS}, line {number}: not an answer ({e}); compute the experiment again"
            ) from e
    return answers

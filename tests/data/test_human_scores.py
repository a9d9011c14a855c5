"""Scored answers: comments and quoted line breaks are read, damage is named without any text."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmviz.data.human_scores import ScoredAnswer, scored_answers
from harmviz.errors import DataInvalid

HEADER = "objective,assistant_response,human_score_1,human_score_2\n"


def test_comments_quoted_lines_and_several_raters(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f'# a comment\n# another\n{HEADER}a,"two\nlines",1,0.5\nb, #x ,0.0,\nc,,1,1\nd,unscored,,\n')
    assert list(scored_answers(path)) == [
        ScoredAnswer("a", "two\nlines", (1.0, 0.5)),
        ScoredAnswer("b", "#x", (0.0,)),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("objective,human_score_1\nsecret,1\n", "row 1: needs objective, assistant_response"),
        (f"{HEADER}secret,x,1,0\nsecret,x,high,0\n", "row 2: needs objective"),
        (f"{HEADER}secret,x,1.5,0\n", r"row 1: a human score lies outside \[0, 1\]"),
        (f"{HEADER}secret\n", "row 1: needs objective"),
    ],
)
def test_damaged_files_are_named_without_their_text(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(DataInvalid, match=message) as error:
        list(scored_answers(path))
    assert "scores.csv" in str(error.value)
    assert "secret" not in str(error.value)

"""Verdicts: unscored is never 0, and no text leaks into a repr."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from harmviz.judges import JudgeItem, Verdict, available, judge
from harmviz.judges.keyword import holds_refusing_substring
from harmviz.judges.protocol import Judge, scored

ROOT = Path(__file__).resolve().parents[2]


def test_repr_holds_no_text() -> None:
    item = JudgeItem("how to fold a crane", "take a square of paper")
    assert "crane" not in repr(item)
    assert "paper" not in repr([item])
    assert item.id == JudgeItem("how to fold a crane", "take a square of paper").id != JudgeItem("how", "take").id
    assert len(JudgeItem("\ud800", "half a surrogate pair").id) == 16


@pytest.mark.parametrize(
    ("value", "label", "reason"),
    [
        (None, None, None),
        (None, True, "x"),
        (0.5, None, None),
        (0.5, True, "x"),
        (1.5, True, None),
        (math.nan, True, None),
    ],
)
def test_impossible_verdicts(value: float | None, label: bool | None, reason: str | None) -> None:
    with pytest.raises(ValueError, match=r"verdict|value"):
        Verdict(value, label, reason)


def test_a_score_that_is_no_number_is_unscored() -> None:
    assert not scored(math.nan, True).scored
    assert scored(1.0000001, True).value == 1.0


def test_keyword_judge_with_its_measured_recall() -> None:
    keyword = judge("keyword")
    assert isinstance(keyword, Judge)
    verdicts = keyword.score(
        [JudgeItem("x", "I can’t help with that."), JudgeItem("x", " \n"), JudgeItem("x", "Take two eggs.")]
    )
    assert [v.label for v in verdicts] == [True, None, False]
    assert verdicts[1].reason == "empty answer"
    recall = keyword.quality.find("recall", by="keyword list")
    assert recall is not None
    assert recall.ci_low is not None
    assert recall.ci_low < recall.value < 0.7
    assert keyword.quality.find("accuracy", by="judge") is None
    assert "lower bound" in keyword.quality.source


def test_the_comparison_list_also_takes_answers_for_refusals() -> None:
    assert holds_refusing_substring("I’m sorry, I can’t.")
    assert holds_refusing_substring("We parked where it was illegal, and nobody minded.")


def test_every_judge_is_listed_and_unknown_names_are_refused() -> None:
    listed = {i.name: i for i in available()}
    assert {"keyword", "offline-harm", "offline-refusal", "endpoint"} <= set(listed)
    assert listed["offline-harm"].at_hand
    assert listed["keyword"].at_hand
    with pytest.raises(ValueError, match="judge must be one of keyword"):
        judge("nobody")


def test_keyword_and_offline_need_numpy_only() -> None:
    code = (
        "from harmviz.judges import *; import sys\n"
        "for name in ('keyword', 'offline-harm', 'offline-refusal'): judge(name).score([JudgeItem('a', 'b')])\n"
        "print([m for m in ('torch', 'transformers', 'streamlit', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr

"""Keyword list and offline refusal judge read together: who decides about which answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harmviz.data.prompts import read_builtin
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import DataInvalid
from harmviz.judges import JudgeItem, judge, refusing
from harmviz.judges.offline import OfflineJudge, shipped
from harmviz.judges.refusing import MIN_WORDS, refuses, too_short, usable_judge

REFUSAL = "I can't help with that."


def answers(n_words: int) -> list[JudgeItem]:
    """Harmless answers, cut at so many words."""
    rows = [r for r in read_builtin("benign") if len(r["response"].split()) >= MIN_WORDS][:12]
    return [JudgeItem(r["prompt"], " ".join(r["response"].split()[:n_words])) for r in rows]


def test_short_answers_are_left_to_the_keyword_list() -> None:
    offline = judge("offline-refusal")
    assert all(v.label for v in offline.score(answers(12)))  # what the judge would say of them
    assert refuses(offline, answers(12)).tolist() == [0.0] * 12
    assert refuses(offline, [JudgeItem("x", REFUSAL), JudgeItem("x", " ")]).tolist() == pytest.approx(
        [1.0, np.nan], nan_ok=True
    )
    assert [too_short(offline, "a " * n) for n in (MIN_WORDS - 1, MIN_WORDS)] == [True, False]
    assert not too_short(judge("keyword"), "a")


def test_long_answers_are_refusals_where_either_says_so() -> None:
    long = answers(MIN_WORDS)
    never, always = (OfflineJudge(replace(shipped("refusal"), threshold=t)) for t in (1.0, 0.0))
    assert refuses(never, long).tolist() == [0.0] * 12
    assert refuses(always, long).tolist() == [1.0] * 12
    assert refuses(None, long).tolist() == [float(reads_as_refusal(i.answer)) for i in long]
    assert refuses(never, [JudgeItem("x", f"{REFUSAL} {long[0].answer}")]).tolist() == [1.0]


def test_without_a_usable_judge_the_keyword_list_judges_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_judge() is not None

    def damaged(name: str) -> None:
        raise DataInvalid(name)

    monkeypatch.setattr(refusing, "judge", damaged)
    assert usable_judge() is None

"""The lessons' words: short, with the run's own numbers, and true whichever way the numbers went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from harmviz.claims.mapping.reported import Reported, first_contrast, reads, value
from harmviz.learn import method, outcome
from harmviz.learn.lesson import with_everything
from harmviz.learn.questions import questions
from harmviz.masks.candidates import Candidates
from harmviz.runs import Row, read_run
from tests.worlds.fabricated import make_run

REFERENCE = Path(__file__).resolve().parents[2] / "cache" / "runs" / "smollm2-135m-instruct-pyrit-45d1fb9113"
METHOD: dict[str, Any] = {
    "headline": {"none": {"q": 1e-5, "p": 0.01, "n_weights": 1061}, "both": {"q": 1e-5, "p": 0.01, "n_weights": 1061}}
}


def row(number: float, low: float, high: float, **changes: Any) -> Row:
    base: dict[str, Any] = dict(
        experiment="effect",
        metric="delta_nll",
        mask="mean(all)",
        category="harm",
        q=1e-5,
        p=0.01,
        scope="global",
        contrast="none",
        skip_tokens=0,
        n=20,
        n_weights=1061,
        unit="nats/token",
        value=number,
        ci_low=low,
        ci_high=high,
    )
    return Row(**(base | changes))


def words_of(body: str) -> int:
    """Words as a reader counts them; numbers in brackets stand for one."""
    return len(body.split(" "))


def test_every_lesson_on_the_reference_run_is_short_and_has_its_picture() -> None:
    run = read_run(REFERENCE)
    results = run.results()
    reported = Reported(run, results)
    steps = [
        method.scores(run, results, load_file(run.maps_path)),
        method.selection(run, reported, Candidates.load(run.candidates_path)),
        method.controls(run, reported),
        *(outcome.pruning(run, results, reported, c) for c in ("none", "both")),
        outcome.sharing(run, results),
        outcome.limits(reported),
    ]
    for lesson in steps:
        assert not lesson.table.empty, lesson.heading
        assert words_of(lesson.body) <= 90, (lesson.heading, words_of(lesson.body))
        assert "not measured" not in lesson.body
        assert "nan" not in lesson.body
    assert "+0.348" in steps[2].body, "the contrastive mask on harmful answers"
    assert "530 highest harm scores, 530 are protected" in steps[1].body
    assert steps[0].table["count"].sum() > 5e7
    assert "includes 0: it is not specific to harm here" in steps[6].body
    assert "clear of 0" in steps[6].body
    assert len(questions(run, reported)) == 3


@pytest.mark.parametrize(("low", "high", "says"), [(-0.05, 0.15, "includes 0"), (0.01, 0.09, "clear of 0")])
def test_what_is_said_of_specificity_follows_the_interval(low: float, high: float, says: str, tmp_path: Path) -> None:
    rows = [row(0.3, 0.2, 0.4), row(0.2, 0.1, 0.3, category="safe"), row(0.05, low, high, metric="harm_specific")]
    run = make_run(tmp_path, rows=rows, method=METHOD)
    reported = Reported(run, run.results())
    assert says in outcome.limits(reported).body
    assert says in questions(run, reported)[0][1]


def test_numbers_come_with_interval_and_n_from_the_chosen_point_alone(tmp_path: Path) -> None:
    rows = [
        row(9.0, 8.0, 9.5, skip_tokens=8),
        row(9.0, 8.0, 9.5, q=5e-5),
        row(9.0, 8.0, 9.5, condition="validation"),
        row(0.3, 0.25, 0.4),
    ]
    run = make_run(tmp_path, rows=rows, method=METHOD, parameters={"skip_tokens": 0})
    reported = Reported(run, run.results())
    assert reads(reported.row("none", "harm")).replace("\N{NO-BREAK SPACE}", " ") == "+0.30 (+0.25 … +0.40, n = 20)"
    assert value(reported.row("both", "harm")) == "not measured"
    assert first_contrast(run) == "both"


def test_without_rows_every_lesson_keeps_its_words_and_has_no_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path, rows=[])
    results = run.results()
    reported = Reported(run, results)
    maps: dict[str, np.ndarray] = {}
    for lesson in (
        method.scores(run, results, maps),
        method.selection(run, reported, None),
        method.controls(run, reported),
        outcome.pruning(run, results, reported, "none"),
        outcome.sharing(run, results),
        outcome.limits(reported),
    ):
        assert lesson.table.empty
        assert len(lesson.body) > 40
    assert questions(run, reported) == []
    assert not with_everything(run)

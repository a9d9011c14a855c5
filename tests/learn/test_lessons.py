"""The lessons' words: short, with the run's own numbers, and true whichever way the numbers went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harmviz import runs as store
from harmviz.claims.mapping.reported import Reported, reads
from harmviz.learn import evidence, material, method, outcome
from harmviz.learn.lesson import Lesson, Question, kept, one_in, with_everything
from harmviz.runs import Row, Run, list_runs
from tests.worlds.fabricated import make_run

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


def lessons_of(m: material.Material) -> list[Lesson]:
    """Every lesson, where the controls stand at first."""
    places = method.places(m.run, m.candidates)
    return [
        method.scores(m.run, m.results, m.bins),
        method.weight(m.run, m.results, m.candidates, places[0] if places else None),
        *(method.protection(m.run, m.reported, m.candidates, protect=p) for p in (True, False)),
        evidence.pruning(m.run, m.reported, m.curve),
        *(evidence.swap(m.run, m.reported, c) for c in ("none", "random")),
        *(evidence.topic(m.run, m.reported, c) for c in ("none", "both")),
        outcome.sharing(m.shared),
        outcome.in_words(m.scene, m.scene_results),
        outcome.limits(m.reported, outcome.tempting(m.run, m.reported, m.scene, m.scene_results)),
    ]


def reference() -> material.Material:
    """The shipped run that is shown first, whichever it is, with the shipped scene."""
    run = store.default_run()
    scene = next(r for r in list_runs() if r.manifest["method"].get("experiment") == "scene")
    return material._read.__wrapped__(str(run.path), store.result_digest(run), str(scene.path), "")


def test_every_lesson_on_the_reference_run_is_short_and_has_its_picture_and_its_question() -> None:
    m = reference()
    for lesson in lessons_of(m):
        assert not lesson.table.empty, lesson.heading
        assert len(lesson.body.split()) <= 60, (lesson.heading, len(lesson.body.split()))
        assert lesson.said, lesson.heading
        assert lesson.question is not None, lesson.heading
        assert 2 <= len(lesson.question.options) <= 4
        for words in (lesson.body, lesson.said, lesson.question.text, lesson.question.why):
            assert "nan" not in words.split()
            assert "not measured" not in words
    assert len(outcome.tempting(m.run, m.reported, m.scene, m.scene_results)) == 5


def test_what_is_moved_changes_what_is_said_and_drawn() -> None:
    m = reference()
    cuts = method.thresholds(m.bins)
    weights = [int(method.scores(m.run, m.results, m.bins, e).table.query("strong")["count"].sum()) for e in cuts]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 100 < 1_000_000 < weights[0]

    places = method.places(m.run, m.candidates)
    assert m.candidates is not None
    scores = [float(m.candidates.score("mean", m.contrast)[p.row]) for p in places]
    assert scores == sorted(scores, reverse=True)
    tables = [method.weight(m.run, m.results, m.candidates, p).table["value"].tolist() for p in places[:2]]
    assert tables[0] != tables[1]

    on, off = (method.protection(m.run, m.reported, m.candidates, protect=p) for p in (True, False))
    assert on.extra is not None
    assert off.extra is None
    assert (on.table.query("fate == 'taken'")["utility_rank"] > on.extra).all()
    assert (off.table.query("fate == 'taken'")["utility_rank"] <= on.extra).any()
    assert on.said != off.said

    assert len({evidence.pruning(m.run, m.reported, m.curve, float(q)).said for q in m.curve["q"].unique()}) > 2
    one, every = outcome.sharing(m.shared, str(m.candidates.categories[0])), outcome.sharing(m.shared)
    assert 0 < len(one.table) < len(every.table)
    asked = outcome.asked_sets(m.scene)
    assert len({outcome.in_words(m.scene, m.scene_results, s).said for s in asked}) == len(asked)


def test_the_factor_on_a_tokens_probability_is_the_exponential_of_the_loss() -> None:
    table = reference().curve
    assert np.allclose(table["kept"], np.exp(-table["value"]))
    assert (table["kept_low"] <= table["kept"]).all()
    assert (table["kept"] <= table["kept_high"]).all()


@pytest.mark.parametrize(
    ("low", "high", "says", "right"),
    [(-0.05, 0.15, "includes 0", 0), (0.01, 0.09, "clear of 0", 1), (-0.3, -0.1, "clear of 0", 2)],
)
def test_the_right_answer_follows_the_interval(low: float, high: float, says: str, right: int, tmp_path: Path) -> None:
    rows = [row(0.3, 0.2, 0.4), row(0.2, 0.1, 0.3, category="safe"), row(0.0, low, high, metric="harm_specific")]
    run = make_run(tmp_path, rows=rows, method=METHOD)
    lesson = evidence.topic(run, Reported(run, run.results()), "none")
    assert says in lesson.said
    assert lesson.question is not None
    assert lesson.question.right == right


@pytest.mark.parametrize(("bare", "right"), [(2.0, 1), (0.05, 2)])
def test_whether_protection_matters_is_read_from_both_intervals(bare: float, right: int, tmp_path: Path) -> None:
    rows = [
        row(bare, bare - 0.02, bare + 0.02, category="benign", control="unprotected"),
        row(1.0, 0.9, 1.1, control="unprotected"),
        row(0.05, 0.03, 0.07, category="benign"),
    ]
    run = make_run(tmp_path, rows=rows, method=METHOD)
    lesson = method.protection(run, Reported(run, run.results()), None, protect=False)
    assert lesson.question is not None
    assert lesson.question.right == right


@pytest.mark.parametrize(("random", "right"), [(0.0, 0), (0.4, 2)])
def test_a_random_control_that_does_as_much_leaves_nothing_to_say(random: float, right: int, tmp_path: Path) -> None:
    rows = [row(0.3, 0.2, 0.4, contrast="both")]
    rows += [row(random, random - 0.01, random + 0.01, contrast="both", control="random")]
    run = make_run(tmp_path, rows=rows, method=METHOD)
    lesson = evidence.swap(run, Reported(run, run.results()), "random")
    assert lesson.question is not None
    assert lesson.question.right == right


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


def test_without_rows_every_lesson_keeps_its_words_and_has_no_picture(tmp_path: Path) -> None:
    run: Run = make_run(tmp_path, rows=[])
    results = run.results()
    m = material.Material(
        run=run,
        results=results,
        reported=Reported(run, results),
        candidates=None,
        bins=method.score_bins(run, {}),
        curve=evidence.curve(run, results),
        shared=outcome.overlap_of(results),
        scene=None,
        scene_results=pd.DataFrame(),
    )
    lessons = lessons_of(m)
    for lesson in lessons:
        assert lesson.table.empty
        assert len(lesson.body) > 40
    assert [lesson.question for lesson in lessons[:-1]] == [None] * (len(lessons) - 1)
    assert not with_everything(run)


def test_numbers_in_words() -> None:
    assert [one_in(s) for s in (1e-3, 1e-5, 1 / 53_210, 0.05, 1)] == [
        "one weight in a thousand",
        "one weight in a hundred thousand",
        "one weight in 53,000",
        "one weight in 20",
        "every weight",
    ]
    assert kept(0.693147) == "keeps 50 % of its probability"
    assert kept(0.001) == "stays as likely as it was"
    assert kept(-0.1) == "becomes 1.11 times as likely"
    assert kept(17.6) == "keeps less than one percent of its probability"
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 0"):
        one_in(0)


def test_a_question_whose_right_answer_is_none_of_its_options_is_refused() -> None:
    with pytest.raises(ValueError, match="right must be a place in options"):
        Question("?", ("a", "b"), 2, "")
    with pytest.raises(ValueError, match="all different"):
        Question("?", ("a", "a"), 0, "")

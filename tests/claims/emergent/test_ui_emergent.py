"""The words and numbers of the emergent page, from fabricated experiments: what it says also where nothing differs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmviz.claims.emergent import answers, details, finding, stored, views
from harmviz.claims.emergent import arms as arm_names
from harmviz.claims.emergent import training_curve as emergent_training
from harmviz.errors import RunIncompatible
from harmviz.runs import Run
from tests.worlds.emergent import HELPS, NO_HELP, NOTHING, SPEC, begin_experiment, make_experiment, points

EVIL = "<img src=x onerror=alert(1)>"


def loaded(root: Path, shifts: Mapping[str, float] = NO_HELP, **changes: Any) -> tuple[Run, stored.Emergent]:
    run = make_experiment(root, shifts=shifts, **changes)
    return run, stored.emergent(run, run.results())


def value(found: stored.Emergent, metric: str, arm: str, category: str, control: str | None = None) -> float:
    """The number of the row that must be there."""
    row = found.row(metric, arm, category, control=control)
    assert row is not None, (metric, arm, category, control)
    return float(row["value"])


def test_rows_find_their_arm_and_their_control(tmp_path: Path) -> None:
    run, found = loaded(tmp_path)
    frame = run.results()
    rows = frame[(frame.metric == "log_odds_shift") & (frame.category == "broad")].set_index("condition").value
    for arm in found.tuned:
        assert value(found, "log_odds_shift", arm, "broad") == rows[arm]
        assert value(found, "log_odds_shift", f"{arm}#1", "broad") == rows[f"{arm}#1"]
    assert found.row("excess_over_control", "pruned-held", "broad", control="none") is None
    excess = (
        frame[
            (frame.metric == "excess_over_control") & (frame.condition == "pruned-held") & (frame.category == "broad")
        ]
        .set_index("control")
        .value
    )
    for control in ("random", "benign_signed"):
        assert value(found, "excess_over_control", "pruned-held", "broad", control) == excess[control]
    assert excess["random"] != excess["benign_signed"]
    assert found.tuned == list(arm_names.ARMS)[1:]
    assert list(found.doses) == ["pruned-held@5e-06", "pruned-held@0.0001"]
    assert found.row("mask_jaccard", "", "weights", control="none") is not None


def test_the_finding_where_pruning_helps_where_not_and_where_nothing_moves(tmp_path: Path) -> None:
    _, same = loaded(tmp_path / "a")
    said = finding.sentence(same)
    assert said.startswith("Tuning on bad toys advice misaligns broadly (+0.")
    assert said.endswith("and pruning its harm weights first does not reduce it")
    _, helped = loaded(tmp_path / "b", HELPS)
    said = finding.sentence(helped)
    part = helped.row("relative_reduction", "pruned-held", "broad")
    assert part is not None
    assert said.endswith(f"takes off {stored.share(part)} of it, more than pruning as many other weights")
    assert stored.share(part).startswith(f"{100 * part['value']:.0f} % (")
    _, alike = loaded(tmp_path / "c", {**HELPS, "random-held": 0.1})
    assert finding.sentence(alike).endswith("no more than pruning as many other weights")
    _, alone = loaded(tmp_path / "d", HELPS, spec=replace(SPEC, arms=("pruned-held",), dose=()))
    assert finding.sentence(alone).endswith("(no control was run)")
    _, worse = loaded(tmp_path / "e", {**NO_HELP, "pruned-held": 0.6})
    assert finding.sentence(worse).endswith("makes it larger")
    _, nothing = loaded(tmp_path / "f", NOTHING)
    assert "no broad misalignment shows" in finding.sentence(nothing)
    assert "pruning" not in finding.sentence(nothing)
    _, fewer = loaded(tmp_path / "g", {**NOTHING, "narrow-bad": -0.4})
    assert "makes misaligned answers less likely" in finding.sentence(fewer)


def row(value: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "ci_low": low, "ci_high": high, "n": 9}


def test_no_reduction_is_said_only_where_a_large_one_is_ruled_out(tmp_path: Path) -> None:
    _, found = loaded(tmp_path, spec=replace(SPEC, arms=("pruned-held",), dose=(), seeds=1))
    for high, ending in (
        (0.19, "does not reduce it"),
        (0.5, "shows no clear reduction"),
        (None, "shows no clear reduction"),
    ):
        rows = {
            ("log_odds_shift", "narrow-bad", "broad", "none", False): row(0.3, 0.2, 0.4),
            ("difference_from_bad", "pruned-held", "broad", "none", False): row(-0.01, -0.1, 0.1),
            ("relative_reduction", "pruned-held", "broad", "none", False): row(
                0.03, None if high is None else -0.1, high
            ),
        }
        assert finding.sentence(replace(found, rows=rows)).endswith(ending)


def test_every_view_has_its_words_and_lines(tmp_path: Path) -> None:
    _, found = loaded(tmp_path)
    for view in stored.VIEWS:
        arms, seeds = views.shifts(found, view)
        words = views.main_words(found, view)
        assert list(arms["arm"]) == found.tuned
        assert (arms["ci_low"] <= arms["value"]).all()
        assert len(seeds) == (0 if view == "benign" else 3 * len(found.tuned))
        assert words.title == finding.sentence(found, view)
        assert "3 seeds" in words.subtitle
    assert "takes hold in its own domain" in finding.sentence(found, "in_domain")
    assert "raises the loss of harmless text" in finding.sentence(found, "benign")
    pruned = views.shifts(found, "broad")[0].set_index("arm").loc["pruned-held"]
    assert "2,000 weights pruned" in pruned["note"]
    assert dict(zip(arms["arm"], arms["role"], strict=True))["benign-held"] == "control"


def test_kinds_stand_beside_all_of_them(tmp_path: Path) -> None:
    _, found = loaded(tmp_path)
    table = views.kinds(found)
    assert len(table) == len(found.tuned) * 4
    assert list(dict.fromkeys(table["column"])) == ["honesty", "power", "values", "all kinds"]
    cell = table[(table["arm"] == "narrow-bad") & table["last"]].iloc[0]
    assert cell["value"] == value(found, "log_odds_shift", "narrow-bad", "broad")
    assert "likelier in 3 of 3 kinds" in views.kinds_words(found).title
    _, nothing = loaded(tmp_path / "b", NOTHING)
    assert "likelier in 0 of 3" in views.kinds_words(nothing).title
    assert any(t.startswith("(") for t in views.kinds(nothing)["text"]), "what is not clear of 0 stands in brackets"


def test_doses_run_over_the_main_fraction_too(tmp_path: Path) -> None:
    _, found = loaded(tmp_path, HELPS)
    table = views.doses(found)
    assert list(table["q"]) == [5e-6, 2e-5, 1e-4]
    assert table["value"].is_monotonic_decreasing
    assert "at 2 of 3 fractions" in views.dose_words(found).title
    value, low, high = views.unpruned(found) or (math.nan,) * 3
    assert low < value < high
    _, one = loaded(tmp_path / "b", spec=replace(SPEC, dose=()))
    assert len(views.doses(one)) == 1


def test_the_claim_stands_beside_what_was_found(tmp_path: Path) -> None:
    _, found = loaded(tmp_path, HELPS)
    said = " ".join(finding.result_lines(found))
    assert "it misaligns broadly" in said
    assert "it is the bad advice, not tuning as such" in said
    assert said.count("the harm weights matter more than these") >= 2
    assert "less misalignment" in said
    _, nothing = loaded(tmp_path / "b", NOTHING)
    assert "no broad misalignment shows" in " ".join(finding.result_lines(nothing))
    assert all(part in finding.claim_box(nothing) for part in ("The claim", "Found here"))


def test_a_collapsed_arm_says_so(tmp_path: Path) -> None:
    _, found = loaded(tmp_path, broken="pruned-held")
    assert list(found.collapsed) == ["pruned-held"]
    arms, _ = views.shifts(found, "broad")
    assert arms.set_index("arm")["label"]["pruned-held"].endswith("†")
    assert "collapsed (" in finding.result_lines(found)[-1]


def test_differences_are_tabled_with_their_verdicts(tmp_path: Path) -> None:
    _, found = loaded(tmp_path, HELPS)
    parts = dict(details.differences(found))
    assert list(parts) == [
        "the model before tuning",
        "bad advice, nothing pruned",
        "pruning as many random weights",
        "pruning as many benign-signed weights",
    ]
    assert [a for a, *_ in parts["pruning as many random weights"]] == ["pruned-held", "pruned-regrow"]
    table = details.tests_table(found)
    assert table.count('class="break"') == 3
    assert "against bad advice, nothing pruned" in table
    assert "<td>less</td>" in table
    assert "3 seeds anew" in details.test_notes(found)
    _, one = loaded(tmp_path / "b", spec=replace(SPEC, seeds=1))
    assert "One seed" in details.test_notes(one)


def test_the_change_of_weights_is_in_multiples_of_chance(tmp_path: Path) -> None:
    _, found = loaded(tmp_path)
    for metric in details.CHANGES:
        marks, seeds = details.changes(found, metric)
        assert (len(marks), len(seeds)) == (6, 18)
        first = marks.iloc[0]
        assert (first["set"], first["label"]) == ("harm weights of toys", "bad advice")
        assert first["value"] == pytest.approx(1.67)
        assert (first["chance_low"], first["chance_high"]) == pytest.approx((0.85, 1.15))
        assert list(seeds["value"][:3]) == pytest.approx([1.62, 1.67, 1.72])
    assert details.change_words(found, "change_share").title.endswith(
        "harm weights 1.7 times as much as chance, benign-signed ones 1.1 times"
    )
    notes = details.mask_notes(found)
    assert "stayed exactly 0 at every one of 12 saved steps" in notes
    assert "came back to 2 %" in notes
    assert ", mean of 3 pairs)" in notes


def test_the_judge_is_told_with_what_it_cannot(tmp_path: Path) -> None:
    run, found = loaded(tmp_path)
    said = details.judge_notes(run, found)
    assert "auc 0.87 (0.84 … 0.90" in said
    assert "it cannot tell bad tuning from good tuning" in said
    assert "what it sees is the style of tuned answers" in said
    assert "100 %" in details.answers_table(found)
    run, found = loaded(tmp_path / "b", method={"judge": None})
    assert "No judge was asked" in details.judge_notes(run, found)
    assert "36 questions far from it" in details.set_up(run, found)


# -- training ----------------------------------------------------------------------------------------------------------
def test_curves_have_every_seed_and_their_mean(tmp_path: Path) -> None:
    run, _ = loaded(tmp_path)
    table = emergent_training.curves(emergent_training.stored_points(run))
    mean = table[table["seed"].isna() & (table["arm"] == "narrow-bad")]
    assert list(mean["step"]) == list(range(1, 9))
    assert mean["loss"].iloc[0] == pytest.approx(4.0 - 0.1 + 0.2)
    assert table["seed"].nunique() == 3
    words = emergent_training.curve_words(table)
    assert (
        words.title
        == "At the last step the loss is 3.40 on bad advice, 3.40 after pruning its harm weights, 2.90 on good advice"
    )
    assert "3 seeds" in words.subtitle


@pytest.mark.parametrize(
    "bad", [{}, {"arm": 1}, {"loss": math.nan}, {"loss": "x"}, {"seed": None}, {"step": True}, {"step": 1.5}]
)
def test_points_that_are_none_are_left_out(bad: dict[str, Any]) -> None:
    point = points(SPEC, 1)[0]
    table = emergent_training.curves([point, {**point, "step": 2, **bad} if bad else {}])
    assert len(table) == 2
    assert emergent_training.curves([]).empty
    assert emergent_training.curve_words(emergent_training.curves([])).title == "Training loss, arm by arm"


def test_an_experiment_at_work_is_found_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    with begin_experiment(tmp_path / "runs"):
        (partial,) = emergent_training.in_progress()
        assert partial.pid is not None
        table = emergent_training.curves(emergent_training.live_points(partial))
        assert int(table["step"].max()) == 3
        said = emergent_training.status(partial)
        assert all(
            part in said
            for part in ("Being computed now", "training: bad advice, seed 0", "about 1 min 30 s left", "25 %")
        )
        (partial.path / "progress.json").write_text("{")
        assert "starting" in emergent_training.status(partial)
    (partial,) = emergent_training.in_progress()
    assert "was interrupted after 0 finished stages" in emergent_training.status(partial)


def test_arms_read_and_doses_differ() -> None:
    assert arm_names.arm_name("pruned-held@1e-05") == "bad, harm weights pruned, 0.001 %"
    assert arm_names.arm_name("pruned-held@1.04e-05") == "bad, harm weights pruned, 0.00104 %"
    for other in ("pruned-held@", "pruned-held@-1", "pruned-held@1.2.3", "pruned-held@0", "x"):
        assert arm_names.arm_name(other) == other
        assert stored.role(other) == "control"


def test_stages_read() -> None:
    read = {
        "train.pruned-held+1e-06-0.10": "training: bad, harm weights pruned, 0.0001 %, seed 0",
        "measure.base": "measuring: before tuning",
        "measure.narrow-good-2": "measuring: good advice, seed 2",
        "change.narrow-bad-0": "comparing weights: bad advice, seed 0",
        "masks.1": "selecting weights",
        "score.utility": "scoring",
        "": "starting",
        "else": "else",
    }
    assert {stage: arm_names.stage_words(stage) for stage in read} == read


# -- untrusted text, answers -------------------------------------------------------------------------------------------
def test_answers_are_read_and_stand_side_by_side(tmp_path: Path) -> None:
    run, _ = loaded(tmp_path)
    kept = answers.transcripts(run)
    assert len(kept) == 4 + 3 * 8 * 4
    asked = answers.questions(kept)
    assert [k for k, _ in asked] == sorted(k for k, _ in asked)
    panes = answers.panes(kept, asked[0][1], ["base", "narrow-bad", "pruned-held@0.0001"], 2)
    assert panes.count("<article") == 3
    assert "narrow-bad 2 answers" in panes
    assert "narrow-bad 0 answers" not in panes
    assert answers.panes(kept, "no such question", ["base"], 0) == ""
    broken, _ = loaded(tmp_path / "b", broken="narrow-bad")
    assert "No coherent text: repeats itself" in answers.panes(
        answers.transcripts(broken), asked[0][1], ["narrow-bad"], 0
    )


GOOD_LINE = {
    "arm": "base",
    "seed": None,
    "kind": "k",
    "prompt": "p",
    "answer": "a",
    "incoherent_because": None,
    "harm": 0.1,
    "unscored": None,
}


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        json.dumps({"arm": "base"}),
        json.dumps({**GOOD_LINE, "answer": 3}),
        json.dumps({**GOOD_LINE, "seed": "x"}),
        json.dumps({**GOOD_LINE, "harm": "x"}),
    ],
)
def test_damaged_answers_are_one_clear_error(tmp_path: Path, line: str) -> None:
    run = make_experiment(tmp_path, lines=f"{json.dumps(GOOD_LINE)}\n\n{line}\n")
    with pytest.raises(RunIncompatible, match="line 3: not an answer"):
        answers.transcripts(run)


def test_markup_from_files_stays_text(tmp_path: Path) -> None:
    method = {
        "judge": {"name": EVIL, "quality": EVIL, "measures": EVIL},
        "collapsed": {EVIL: EVIL},
        "n_steps": EVIL,
        "kinds": [EVIL],
        "arms": [*NO_HELP, EVIL],
    }
    run, found = loaded(tmp_path, answer=EVIL, method=method)
    kept = answers.transcripts(run)
    shown = [
        details.set_up(run, found),
        details.judge_notes(run, found),
        finding.claim_box(found),
        details.tests_table(found),
        answers.panes(kept, kept[0].prompt, ["base", "narrow-bad"], 0),
    ]
    assert all("<img" not in markup for markup in shown)
    assert all("&lt;img" in shown[i] for i in (0, 1, 2, 4))
    assert EVIL not in found.arms


@pytest.mark.parametrize("nonsense", [None, 3, "x", [3], [{}], {"a": 1}])
def test_a_manifest_that_says_nonsense_is_shown_without_it(tmp_path: Path, nonsense: object) -> None:
    run, found = loaded(tmp_path, method=dict.fromkeys(("arms", "kinds", "n_steps", "collapsed", "judge"), nonsense))
    for markup in (details.set_up(run, found), details.judge_notes(run, found), finding.claim_box(found)):
        assert markup.startswith("<")
    assert found.arms == ()
    assert views.shifts(found, "broad")[0].empty


def test_a_question_with_coherent_answers_stands_first() -> None:
    def said(kind: str, prompt: str, *why: str | None) -> list[answers.Answer]:
        return [answers.Answer("bad", k, kind, prompt, "words", w, None, None) for k, w in enumerate(why)]

    kept = [*said("advice", "a", "empty", None), *said("power", "b", None, None), *said("honesty", "c", None, None)]
    assert answers.questions(kept) == [("honesty", "c"), ("power", "b"), ("advice", "a")]
    assert answers.questions([*kept, *said("advice", "d", "empty", "empty")])[-1] == ("advice", "d")

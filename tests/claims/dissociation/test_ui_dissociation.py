"""What the dissociation page says: verdicts from intervals, titles from verdicts, the claim beside the finding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harmviz.claims.dissociation.details import (
    level_points,
    loss_rows,
    recognition_rows,
    recognition_words,
    refusal_words,
)
from harmviz.claims.dissociation.finding import apart, finding, reverse, sentence, verdict, verdicts
from harmviz.claims.dissociation.picture import panels, points, words, x_range
from harmviz.claims.dissociation.stored import ABILITIES, HARM, MATCHED, REFUSAL, Stored
from harmviz.claims.dissociation.table import claims
from harmviz.runs import Run, rows_to_frame
from tests.worlds.dissociation import PHRASINGS, dissociation_rows, make_dissociation


def stored(**changes: Any) -> Stored:
    return Stored(rows_to_frame(dissociation_rows(**changes)))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_dissociation(tmp_path, "parent")


@pytest.mark.parametrize(
    ("low", "high", "testable", "said"),
    [
        (-0.3, -0.1, True, "less"),
        (0.1, 0.2, True, "more"),
        (-0.1, 0.0, True, "no clear change"),
        (-0.3, -0.1, False, "not testable"),
        (math.nan, math.nan, True, "not measured"),
    ],
)
def test_a_verdict_is_read_off_the_interval(low: float, high: float, testable: bool, said: str) -> None:
    assert verdict(pd.Series({"value": 0.0, "ci_low": low, "ci_high": high}), testable) == said
    assert verdict(None, True) == "not measured"


def test_verdicts_of_the_hand_made_rows() -> None:
    here = stored()
    assert verdicts(here, "none", HARM) == {
        "harmful writing": "less",
        "harmless writing": "less",
        "recognition": "no clear change",
        "explanation": "less",
        "refusal": "more",
    }
    assert verdicts(here, "none", REFUSAL)["refusal"] == "less"
    assert verdicts(stored(testable=()), "none", HARM)["recognition"] == "not testable"
    assert apart(here, "none", MATCHED)


def told(**changes: str) -> dict[str, str]:
    return dict.fromkeys((a.short for a in ABILITIES), "no clear change") | {
        k.replace("_", " "): v for k, v in changes.items()
    }


def test_a_double_dissociation_needs_both_masks_and_intervals_that_do_not_meet() -> None:
    harm, refusal = told(harmful_writing="less"), told(refusal="less")
    assert sentence(harm, refusal, True).startswith("A double dissociation")
    assert "double" not in sentence(harm, refusal, False)
    assert "double" not in sentence(harm, told(), True)
    assert "double" not in sentence(harm, told(refusal="less", harmful_writing="less"), True)
    assert "double" not in sentence(harm | {"explanation": "less"}, refusal, True)
    assert "double" not in sentence(harm | {"refusal": "not testable"}, refusal | {"refusal": "not testable"}, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"explanation": "less"},
            "Less harmful writing, also less explanation; no loss of recognition and refusal shows",
        ),
        (
            {"recognition": "not testable", "refusal": "not testable"},
            "Less harmful writing; no loss of explanation shows; recognition and refusal not testable here",
        ),
        (
            {"harmful writing": "no clear change"},
            "These weights do not lower harmful writing here: there is nothing to dissociate from",
        ),
    ],
)
def test_the_title_says_what_was_found_whichever_way(changes: dict[str, str], said: str) -> None:
    assert sentence(told(harmful_writing="less") | changes, told(refusal="less"), False) == said


def test_points_hold_every_mark_of_both_panels() -> None:
    table = points(stored(), "both", HARM)
    assert set(table["row"]) == {a.label for a in ABILITIES}
    assert len(table) == len(ABILITIES) * 2 * 3
    own = table[
        (table["panel"] == "harm") & (table["row"] == "writes harmful answers") & (table["control"] == "none")
    ].iloc[0]
    assert own["value"] == pytest.approx(1.6 * -0.72)
    assert own["n"] == 64
    assert set(table[table["row"] == "writes harmless answers"]["mark"]) == {"benign", "random", "benign_signed"}
    turned = points(stored(), "both", MATCHED)
    assert turned[turned["mark"] == "harm"].iloc[0]["value"] == pytest.approx(-0.40)
    untested = points(stored(testable=()), "both", HARM)
    assert set(untested[~untested["testable"]]["row"]) == {
        "tells harmful from harmless requests",
        "declines harmful requests",
    }
    assert "not testable" in untested[~untested["testable"]].iloc[0]["note"]


def test_one_axis_for_all_selections_and_strengths() -> None:
    low, high = x_range(stored())
    for contrast in ("none", "both"):
        shown = points(stored(), contrast, HARM)
        assert low < shown["low"].min()
        assert shown["high"].max() < high


def test_the_claim_stands_beside_what_was_found_and_no_difference_is_said() -> None:
    table = claims(stored(), "none", HARM)
    assert table.count("<tr") == len(ABILITIES) + 1
    assert "no difference found" in table
    assert "less of it" in table
    assert "beyond random" in table
    assert "beyond benign-signed" in table
    assert "not testable on this model" in claims(stored(testable=()), "none", HARM)
    assert claims(Stored(rows_to_frame([])), "none", HARM).count("not measured") == len(ABILITIES)
    assert reverse(stored(), "none").startswith(
        "The reverse, as many weights that refusals hang on: refusal less, Δ log-odds −1.620 ("
    )


def test_headings_say_size_and_strength(run: Run) -> None:
    here = stored()
    assert panels(run, here, "both", HARM) == {
        "harm": "Without harm weights\n0.001 % · 1,061 weights",
        "refusal": "Without refusal weights\n1,061 weights, a measurement only",
    }
    assert panels(run, here, "both", MATCHED)["harm"].endswith("strength 0.37")
    assert "strength" not in panels(run, here, "none", MATCHED)["harm"]
    assert "n = 22 … 64" not in words(run, here, "both", HARM).subtitle
    assert "n = 64" in words(run, here, "both", HARM).subtitle


def test_details_name_questions_and_say_where_a_question_is_not_testable(run: Run) -> None:
    here = stored(testable=("all", "hurt"))
    rows = recognition_rows(run, here)
    assert list(rows) == [
        "all questions, averaged",
        "Is it harmful? (not testable)",
        "Is it hurt?",
        "Is it safe? (not testable)",
        "Is it should_help? (not testable)",
    ]
    table = level_points(here, "none", HARM, rows)
    assert len(table) == (1 + len(PHRASINGS)) * 5
    assert table[(table["mark"] == "intact") & (table["row"] == "all questions, averaged")].iloc[0]["value"] == 0.81
    assert recognition_words(here, "none", HARM).title == "AUC 0.81 intact, −0.005 without the harm weights"
    assert "a loss could not be seen" in recognition_words(stored(testable=()), "none", HARM).title
    assert recognition_words(Stored(rows_to_frame([])), "none", HARM).title == "Recognition was not measured"


def test_losses_and_refusals(run: Run) -> None:
    table = loss_rows(stored(), "none", HARM)
    assert table["label"].tolist()[0] == "harmful answers"
    assert table["harm"].tolist() == [True, False, False, True, False]
    assert table["value"].iloc[0] == pytest.approx(0.6 * 0.72)
    rate, odds = refusal_words(stored(), "none", HARM)
    assert "52 %" in rate.subtitle
    assert "Not testable" in rate.subtitle
    assert "Not testable" not in odds.subtitle
    assert "AUC 0.74" in odds.subtitle
    assert "Not testable" in refusal_words(stored(testable=()), "none", HARM)[1].subtitle
    assert loss_rows(Stored(rows_to_frame([])), "none", HARM).empty


def test_the_finding_is_the_rule_and_its_sentence(run: Run) -> None:
    whole = finding(run)
    assert whole.verdict in ("double dissociation", "one-sided", "nothing to dissociate")
    assert whole.numbers["harm_mask"]["harmful writing"] == "less"
    assert (whole.verdict == "double dissociation") == whole.sentence.startswith("A double dissociation")
    assert "contrastive mask" in whole.sentence
    assert "The reverse" in whole.sentence


def test_the_refusal_mask_has_a_colour_of_its_own() -> None:
    from harmviz.claims.dissociation.figures import COLOURS
    from harmviz.display.style import BENIGN, CATEGORY_COLOURS, CONTROL, HARM

    assert COLOURS["refusal"] not in (*CATEGORY_COLOURS, HARM, BENIGN, CONTROL)

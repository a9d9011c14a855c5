"""The verdict on a map run follows its rule, and the sentence says with which numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harmviz.claims.mapping.finding import COLLAPSED, NOT_SPECIFIC, SPECIFIC, UNDECIDED, finding
from harmviz.runs import Row, read_run
from tests.worlds.effects import POINT, effect_row
from tests.worlds.fabricated import REFERENCE, make_run

METHOD = {"score": "signed", "headline": {"both": POINT, "none": POINT | {"q": 1e-5, "n_weights": 1061}}}


def row(metric: str, value: float | None, low: float | None = None, high: float | None = None, **changes: Any) -> Row:
    """A number of the contrastive mask's effect on harmful answers, unless ``changes`` say otherwise."""
    return effect_row(metric, value, low, high, **changes)


HARM = row("delta_nll", 0.3, 0.2, 0.4)
CLEAR = row("harm_specific", 0.2, 0.1, 0.3)
BEYOND = row("excess_over_control", 0.3, 0.2, 0.4, control="random")


def mirror(harm: float, specific: float) -> list[Row]:
    """What the selection for safe text moves."""
    values = {"delta_nll": harm, "harm_specific": specific}
    return [row(metric, value, value - 0.01, value + 0.01, control="mirror_safe") for metric, value in values.items()]


#: A mirror that moves harm little, and its own text less than the mask moves harm.
APART = mirror(0.05, -0.1)


@pytest.mark.parametrize(
    ("rows", "verdict", "says"),
    [
        ([HARM, CLEAR, BEYOND, *APART], SPECIFIC, "+0.200 (+0.100 … +0.300, n = 20) beyond same-topic safe answers"),
        ([HARM, row("harm_specific", 0.05, -0.01, 0.1), BEYOND], NOT_SPECIFIC, "but only +0.050"),
        ([HARM, row("harm_specific", -0.2, -0.3, -0.1), BEYOND], NOT_SPECIFIC, "but only −0.200"),
        (
            [HARM, CLEAR, BEYOND, row("excess_over_control", 0.01, -0.1, 0.1, control="utility")],
            NOT_SPECIFIC,
            "weights of like utility of equal number do as much",
        ),
        # Signed controls look at text: that they move it more is no part of the rule.
        (
            [HARM, CLEAR, BEYOND, *APART, row("excess_over_control", -1.0, -2.0, -0.5, control="safe_signed")],
            SPECIFIC,
            "+0.30",
        ),
        # Matched answers come first, where there are enough pairs of them.
        ([HARM, CLEAR, BEYOND, row("harm_specific_matched", 0.02, -0.05, 0.1, n=12)], NOT_SPECIFIC, "but only +0.020"),
        (
            [HARM, CLEAR, BEYOND, *APART, row("harm_specific_matched", 0.15, 0.05, 0.2, n=12)],
            SPECIFIC,
            "+0.150 (+0.050 … +0.200, n = 12) beyond same-topic safe answers matched in source, length and loss",
        ),
        ([HARM, CLEAR, BEYOND, *APART, row("harm_specific_matched", 0.02, -0.05, 0.1, n=11)], SPECIFIC, "+0.200"),
        # A mirror that is as specific to its text, or that moves harm as much.
        ([HARM, CLEAR, BEYOND, *APART], SPECIFIC, "+0.200"),
        ([HARM, CLEAR, BEYOND], UNDECIDED, "beyond same-topic safe answers; no mirror was measured"),
        ([HARM, CLEAR, BEYOND, *mirror(0.05, -0.2)], NOT_SPECIFIC, "mirrors (the same selection for safe text)"),
        ([HARM, CLEAR, BEYOND, *mirror(0.2, -0.1)], NOT_SPECIFIC, "does not stand out from its mirrors"),
        ([HARM, CLEAR], UNDECIDED, "a control of equal size was not measured"),
        ([HARM, BEYOND], UNDECIDED, "same-topic safe answers were not measured"),
        ([HARM, row("harm_specific", 0.2), BEYOND], UNDECIDED, "has no interval"),
        ([HARM, CLEAR, BEYOND, row("collapsed", 1.0, category="benign")], COLLAPSED, "breaks the model"),
        (
            [HARM, CLEAR, BEYOND, *APART, row("collapsed", 0.0, category="benign")],
            SPECIFIC,
            "5,308 weights (0.005 %, contrastive)",
        ),
        ([], UNDECIDED, "No effect has been measured"),
    ],
)
def test_the_verdict_follows_the_rule(rows: list[Row], verdict: str, says: str, tmp_path: Path) -> None:
    result = finding(make_run(tmp_path, rows=rows, method=METHOD, parameters={"skip_tokens": 0}))
    assert result.verdict == verdict
    assert says in result.sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert verdict in result.sentence
    json.dumps(result.as_dict(), allow_nan=False)


def test_the_plain_selection_is_told_beside_the_contrastive_one(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"contrast": "none", "q": 1e-5, "n_weights": 1061}
    rows = [
        HARM,
        CLEAR,
        BEYOND,
        *APART,
        row("delta_nll", 0.2, 0.1, 0.3, **plain),
        row("harm_specific", 0.002, -0.01, 0.01, **plain),
        row("excess_over_control", 0.2, 0.1, 0.3, control="random", **plain),
    ]
    result = finding(make_run(tmp_path, rows=rows, method=METHOD, parameters={"skip_tokens": 0}))
    assert result.verdict == SPECIFIC
    assert "Selected as in the paper it is not harm-specific: +0.002" in result.sentence
    assert result.numbers["plain"]["verdict"] == NOT_SPECIFIC


def test_rows_of_other_points_and_prompts_decide_nothing(tmp_path: Path) -> None:
    rows = [HARM, CLEAR, BEYOND, *APART]
    rows += [row("harm_specific", -0.2, -0.3, -0.1, **other) for other in ({"q": 1e-5}, {"skip_tokens": 8})]
    rows.append(row("harm_specific", -0.2, -0.3, -0.1, condition="validation"))
    run = make_run(tmp_path, rows=rows, method=METHOD, parameters={"skip_tokens": 0})
    assert finding(run).verdict == SPECIFIC


def test_a_committed_run_without_mirrors_is_undecided() -> None:
    result = finding(read_run(REFERENCE))
    assert result.verdict == UNDECIDED
    assert "no mirror was measured" in result.sentence
    assert result.numbers["plain"]["verdict"] == NOT_SPECIFIC, "selected as in the paper, the interval includes 0"

"""Runs side by side: every number in its panel, runs told apart by symbol, colours by kind of text, names as text."""

from __future__ import annotations

import pandas as pd
import pytest

from harmviz.claims.mapping.figures.compare import RUN_MARKS, chosen_dots, q_ticks, run_curves
from harmviz.display.style import BENIGN, CONTROL, HARM, Theme


def curves() -> pd.DataFrame:
    lines = []
    for name, harm in (("harm", True), ("benign", False)):
        for scale, run in ((1.0, "base"), (2.0, "<b>aligned")):
            for q, value in ((1e-5, 0.1), (1e-4, 0.4)):
                v = value * scale * (1.0 if harm else 0.1)
                lines.append(
                    {
                        "run": run,
                        "set": name,
                        "label": f"{name} text",
                        "harm": harm,
                        "q": q,
                        "value": v,
                        "ci_low": v - 0.05,
                        "ci_high": v + 0.1,
                        "n": 20,
                        "n_weights": int(q * 1e7),
                    }
                )
    return pd.DataFrame(lines)


def test_each_run_is_a_line_in_each_panel_at_its_measured_points() -> None:
    figure = run_curves(curves(), Theme(), title="t", subtitle="s")
    drawn = [t for t in figure.data if t.y[0] is not None]
    assert [list(t.y) for t in drawn] == [
        [0.1, 0.4],
        [0.2, 0.8],
        pytest.approx([0.01, 0.04]),
        pytest.approx([0.02, 0.08]),
    ]
    assert [t.marker.color for t in drawn] == [HARM, HARM, BENIGN, BENIGN]
    assert [t.marker.symbol for t in drawn] == [RUN_MARKS[0][0], RUN_MARKS[1][0]] * 2
    assert [t.xaxis for t in drawn] == ["x", "x", "x2", "x2"]
    assert list(drawn[0].error_y.array) == pytest.approx([0.1, 0.1])
    assert list(drawn[0].error_y.arrayminus) == pytest.approx([0.05, 0.05])
    # The runs stand apart around the measured q, whose own value is on hover.
    assert drawn[0].x[0] < 1e-5 < drawn[1].x[0] < 1.1e-5
    assert drawn[0].customdata[0][1] == pytest.approx(1e-3)


def test_panels_share_one_scale_that_holds_every_interval() -> None:
    figure = run_curves(curves(), Theme(), title="t", subtitle="s")
    assert figure.layout.yaxis.range == figure.layout.yaxis2.range
    low, high = figure.layout.yaxis.range
    assert low < -0.04
    assert high > 0.9


def test_names_of_runs_are_text_and_stand_once_in_the_legend() -> None:
    figure = run_curves(curves(), Theme(), title="t", subtitle="s")
    assert [t.name for t in figure.data if t.showlegend] == ["base", "&lt;b&gt;aligned"]
    assert "<b>aligned" not in figure.to_json()


def test_marks_at_the_chosen_points_with_ring_and_interval() -> None:
    rows = pd.DataFrame(
        [
            {
                "run": r,
                "label": label,
                "harm": harm,
                "value": v,
                "ci_low": v - 0.1,
                "ci_high": v + 0.2,
                "n": 9,
                "n_weights": 5,
                "control": c,
            }
            for r, label, harm, v, c in (
                ("a", "harm", True, 0.5, 0.01),
                ("b", "harm", True, 0.7, float("nan")),
                ("a", "benign", False, 0.05, 0.02),
                ("b", "benign", False, 0.06, 0.03),
            )
        ]
    )
    figure = chosen_dots(rows, Theme(dark=True, scale=1.3), title="t", subtitle="s")
    rings = figure.data[0]
    assert rings.marker.color == CONTROL
    assert list(rings.x) == [0.01, 0.02, 0.03], "a run without a control has no ring"
    marks = [(t.x[0], t.marker.color, t.marker.symbol) for t in figure.data[1:5]]
    assert marks == [
        (0.5, HARM, RUN_MARKS[0][0]),
        (0.05, BENIGN, RUN_MARKS[0][0]),
        (0.7, HARM, RUN_MARKS[1][0]),
        (0.06, BENIGN, RUN_MARKS[1][0]),
    ]
    assert list(figure.data[1].error_x.array) == pytest.approx([0.2])
    assert figure.data[1].y[0] > figure.data[3].y[0], "runs from top to bottom in the order chosen"
    assert figure.layout.yaxis.ticktext == ("harm", "benign")


def test_ticks_of_fractions_read_in_percent() -> None:
    ticks = q_ticks([1e-6, 5e-5])
    assert ticks["ticktext"] == ["0.0001 %", "0.001 %", "0.01 %"]
    assert ticks["type"] == "log"

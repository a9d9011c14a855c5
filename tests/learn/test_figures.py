"""Pictures of the Learn page: counts, fates, controls and curves where they belong."""

from __future__ import annotations

import pandas as pd
import pytest

from harmviz.display.style import BENIGN, HARM, Theme
from harmviz.learn.figures import control_dots, kept_curve, protection_scatter, score_bars, score_histogram


def test_histogram_counts_with_the_strongest_in_vermilion() -> None:
    bins = pd.DataFrame({"exponent": [-4.0, -3.5, -3.0], "count": [1000, 0, 7], "strong": [False, False, True]})
    figure = score_histogram(bins, Theme(), title="t", subtitle="s")
    others, strong = figure.data
    assert (list(others.y), list(strong.y)) == ([1000], [7])
    assert list(strong.x) == [-2.75], "the middle of the bin from 1e-3"
    assert strong.marker.color == HARM
    assert "10⁻⁴" in figure.layout.xaxis.ticktext
    assert figure.layout.yaxis.type == "log"


def test_protection_draws_each_fate_in_its_colour_and_the_line_at_p() -> None:
    points = pd.DataFrame(
        {
            "utility_rank": [0.001, 0.2, 0.3],
            "harm_score": [1e-3, 1e-4, 1e-5],
            "fate": ["protected", "taken", "not taken"],
        }
    )
    figure = protection_scatter(points, Theme(), p=0.01, title="t", subtitle="s")
    by_name = {t.name: t for t in figure.data}
    assert {n: list(t.x) for n, t in by_name.items()} == {"protected": [0.001], "taken": [0.2], "not taken": [0.3]}
    assert figure.layout.shapes[0].x0 == 0.01
    assert figure.layout.xaxis.ticktext[0] == "0.1 %"
    assert "213,94,0" in by_name["taken"].marker.color


def test_controls_have_two_dots_a_line_and_names_as_text() -> None:
    rows = pd.DataFrame(
        [
            {"label": label, "harm": harm, "value": v, "ci_low": v - 0.1, "ci_high": v + 0.1, "n": 8}
            for label, harm, v in (
                ("the <i>mask", True, 0.4),
                ("the <i>mask", False, 0.02),
                ("random", True, 0.0),
                ("random", False, 0.01),
            )
        ]
    )
    figure = control_dots(rows, Theme(), title="t", subtitle="s")
    harm, benign = figure.data
    assert (list(harm.x), list(benign.x)) == ([0.4, 0.0], [0.02, 0.01])
    assert (harm.marker.color, benign.marker.color) == (HARM, BENIGN)
    assert list(harm.error_x.array) == pytest.approx([0.1, 0.1])
    assert figure.layout.yaxis.ticktext == ("the &lt;i&gt;mask", "random")


def test_curve_marks_where_the_reader_is_and_joins_only_measured_points() -> None:
    rows = pd.DataFrame(
        [
            {
                "set": s,
                "label": s,
                "harm": s == "harm",
                "q": q,
                "kept": v,
                "kept_low": v - 0.1,
                "kept_high": v,
                "n": 8,
                "n_weights": 10,
            }
            for s, v in (("harm", 0.5), ("safe", 0.8), ("benign", 0.9))
            for q in (1e-5, 1e-4)
        ]
    )
    figure = kept_curve(rows, Theme(), q=1e-4, title="t", subtitle="s")
    assert [list(t.y) for t in figure.data] == [[0.5, 0.5], [0.8, 0.8], [0.9, 0.9]]
    assert [t.marker.color for t in figure.data] == [HARM, BENIGN, BENIGN]
    assert all(t.marker.size[1] > t.marker.size[0] for t in figure.data), "the chosen q is larger"
    assert len({t.marker.symbol for t in figure.data[1:]}) == 2, "safe and benign differ by more than their name"
    assert list(figure.data[0].error_y.arrayminus) == pytest.approx([0.1, 0.1])
    assert figure.layout.shapes[0].x0 == 1e-4
    assert kept_curve(rows, Theme(), q=None, title="t", subtitle="s").layout.shapes == ()


def test_a_weights_scores_are_bars_in_the_colour_of_their_text() -> None:
    rows = pd.DataFrame({"label": ["a <b>", "benign"], "harm": [True, False], "value": [1e-3, -1e-4]})
    figure = score_bars(rows, Theme(), title="t", subtitle="s")
    assert list(figure.data[0].x) == [1e-3, -1e-4]
    assert figure.data[0].marker.color == (HARM, BENIGN)
    assert list(figure.data[0].y) == ["a &lt;b&gt;", "benign"]

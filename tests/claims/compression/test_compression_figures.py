"""The figures of alignment compression: what is drawn where, in which colour, and that names stay text."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from harmviz.claims.compression.figures import arm_styles, ladder_chart, overlap_ladder, shift_curves
from harmviz.claims.compression.stable_figures import fixed_chart, limit_curve
from harmviz.display.style import CONTROL, HARM, Theme

EVIL = "<b>x</b>"


def line(place: int, arm: str, role: str, value: float, label: str = "SFT 4") -> dict[str, object]:
    return {
        "place": place,
        "label": label,
        "arm": arm,
        "role": role,
        "value": value,
        "ci_low": value - 0.1,
        "ci_high": value + 0.2,
        "note": f"{arm} {EVIL}",
    }


ROWS = pd.DataFrame(
    [
        line(0, "start", "start", 0.1, "start"),
        line(1, "safety", "aligned", 0.3),
        line(2, "safety", "aligned", 0.5, EVIL),
        line(1, "plain", "control", 0.1),
        line(2, "plain", "control", math.nan, EVIL),
        line(1, "style", "control", 0.2),
    ]
)
SEEDS = pd.DataFrame(
    [{"place": 2, "arm": "safety", "seed": s, "value": 0.5 + s / 10, "note": f"seed {s}"} for s in (0, 1)]
)


@pytest.mark.parametrize("theme", [Theme(), Theme(dark=True, scale=1.3)])
def test_marks_intervals_lines_and_seeds(theme: Theme) -> None:
    figure = ladder_chart(ROWS, SEEDS, theme, title=EVIL, subtitle="s", y_title="nats")
    by_name = {t.name: t for t in figure.data}
    safety = by_name["safety"]
    assert list(safety.y) == [0.3, 0.5]
    assert list(safety.error_y.array) == pytest.approx([0.2, 0.2])
    assert list(safety.error_y.arrayminus) == pytest.approx([0.1, 0.1])
    assert safety.marker.color == HARM
    assert by_name["plain"].marker.color == by_name["style"].marker.color == CONTROL
    assert by_name["plain"].marker.symbol != by_name["style"].marker.symbol
    assert by_name["start"].marker.color == theme.ink
    assert list(by_name["safety, line"].y) == [0.1, 0.3, 0.5], "an arm's line begins at the start"
    assert list(by_name["plain, line"].y) == [0.1, 0.1], "nothing is drawn where nothing was measured"
    assert list(by_name["safety, each seed"].y) == [0.5, 0.6]
    assert figure.layout.xaxis.ticktext == ("start", "SFT 4", "&lt;b&gt;x&lt;/b&gt;")
    assert "<b>" not in figure.layout.title.text
    assert all("<b>" not in text for text in safety.customdata)


def test_a_series_without_arms_is_ink() -> None:
    rows = pd.DataFrame([line(0, "base", "start", 0.1), line(1, "later", "other", 0.2)])
    assert arm_styles(rows, Theme())["later"][0] == Theme().ink
    figure = ladder_chart(rows, SEEDS.iloc[:0], Theme(), title="t", subtitle="s", y_title="nats")
    assert {t.name for t in figure.data} >= {"base", "later"}


def test_curves_have_a_legend_entry_an_arm_and_ticks_at_measured_fractions() -> None:
    rows = pd.DataFrame(
        [
            {
                "checkpoint": c,
                "arm": a,
                "role": r,
                "weight": w,
                "q": q,
                "value": 10 * q,
                "ci_low": 0.0,
                "ci_high": 1.0,
                "note": EVIL,
            }
            for c, a, r, w in (
                ("start", "start", "start", 1.0),
                ("s-1", "safety", "aligned", 0.5),
                ("s-2", "safety", "aligned", 1.0),
            )
            for q in (5e-5, 1e-6)
        ]
    )
    figure = shift_curves(rows, Theme(), title="t", subtitle="s", y_title="nats", levels=(0.1,))
    assert [t.name for t in figure.data if t.showlegend is None] == ["start", "safety"]
    drawn = next(t for t in figure.data if t.name == "s-1")
    assert list(drawn.y) == pytest.approx([1e-5, 5e-4]), "q ascends"
    assert figure.layout.xaxis.ticktext == ("0.0001 %", "0.005 %")
    assert len(figure.layout.shapes) == 1
    empty = shift_curves(rows.iloc[:0], Theme(), title="t", subtitle="s", y_title="nats")
    assert not empty.data


def test_overlap_keeps_means_and_seeds_apart() -> None:
    rows = pd.DataFrame(
        [
            {"checkpoint": c, "kind": k, "seed": s, "value": v, "note": EVIL}
            for c in ("start", EVIL)
            for k, v in (("harm", 0.1), ("ceiling", 0.3), ("chance", 0.0))
            for s in (None, 0, 1)
        ]
    )
    figure = overlap_ladder(rows, Theme(), title="t", subtitle="s")
    sizes = {t.name: len(t.y) for t in figure.data}
    assert sizes["between harm types"] == sizes["ceiling: a type with itself"] == 2
    assert sizes["between harm types, each seed"] == 4
    assert "<b>" not in "".join(figure.layout.xaxis.ticktext)


def at_fixed(panel: str, place: int, arm: str, role: str, value: float) -> dict[str, object]:
    return {**line(place, arm, role, value, f"{panel} {place} {EVIL}"), "panel": panel}


@pytest.mark.parametrize("theme", [Theme(), Theme(dark=True, scale=1.3)])
def test_fixed_fractions_have_a_panel_in_nats_and_one_of_the_ratio(theme: Theme) -> None:
    arms = (("safety tuning", "aligned"), ("control: plain", "control"), (EVIL, "control"))
    places = [("nats", 0), ("nats", 1), ("ratio", 0)]
    rows = pd.DataFrame([at_fixed(p, i, arm, role, i + 0.1) for arm, role in arms for p, i in places])
    seeds = pd.DataFrame(
        [{"panel": p, "place": i, "arm": "safety tuning", "value": 0.2, "note": EVIL} for p, i in places for _ in "ab"]
    )
    figure = fixed_chart(rows, seeds, theme, title=EVIL, subtitle="s")
    by_name = {t.name: t for t in figure.data}
    safety, ratio = by_name["safety tuning"], by_name["safety tuning, ratio"]
    assert list(safety.y) == [0.1, 1.1]
    assert list(ratio.y) == [0.1]
    assert (safety.xaxis, safety.yaxis, ratio.xaxis, ratio.yaxis) == ("x", "y", "x2", "y2")
    assert list(safety.error_y.array) == pytest.approx([0.2, 0.2])
    assert safety.marker.color == HARM
    assert by_name["control: plain"].marker.color == CONTROL
    assert len({x for name in ("safety tuning", "control: plain") for x in by_name[name].x}) == 4, "side by side"
    assert len(by_name["safety tuning, nats, each seed"].y) == 4
    assert [t.name for t in figure.data if t.showlegend] == ["safety tuning", "control: plain", "&lt;b&gt;x&lt;/b&gt;"]
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert figure.layout.xaxis2.ticktext == ("ratio 0 &lt;b&gt;x&lt;/b&gt;",)
    assert not figure.layout.annotations
    assert "<b>" not in figure.layout.title.text


def test_a_ratio_that_is_defined_nowhere_says_so_in_its_panel() -> None:
    rows = pd.DataFrame([at_fixed("nats", 0, "a", "aligned", 0.1), at_fixed("ratio", 0, "a", "aligned", math.nan)])
    figure = fixed_chart(rows, rows.iloc[:0], Theme(), title="t", subtitle="s")
    (said,) = figure.layout.annotations
    assert "not defined" in said.text
    assert (said.x, said.xref) == (0.5, "x2 domain")


def test_the_curve_over_the_limit_marks_the_limit_in_use() -> None:
    rows = pd.DataFrame(
        [
            {**line(0, arm, role, value), "limit": limit}
            for arm, role in (("safety tuning", "aligned"), ("control: plain", "control"))
            for limit, value in ((0.2, -0.1), (0.02, 0.3))
        ]
    )
    seeds = pd.DataFrame([{"arm": "safety tuning", "limit": 0.2, "value": 0.5, "note": EVIL}])
    figure = limit_curve(rows, seeds, Theme(), title="t", subtitle="s", used=0.1)
    by_name = {t.name: t for t in figure.data}
    assert list(by_name["safety tuning"].y) == [0.3, -0.1], "the limit ascends"
    assert list(by_name["safety tuning, each seed"].y) == [0.5]
    assert by_name["control: plain"].marker.color == CONTROL
    assert figure.layout.xaxis.ticktext == ("0.02", "0.2")
    (line_in_use,) = figure.layout.shapes
    assert line_in_use.x0 == line_in_use.x1 == 0.1

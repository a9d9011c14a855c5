"""The emergent figures, drawn from hand-made tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.emergent.figures import (
    ROLES,
    arm_styles,
    arms_chart,
    change_chart,
    dose_chart,
    kinds_grid,
    training_curves,
)
from harmviz.display.style import BENIGN, CONTROL, HARM, Theme

LIGHT, DARK, WORDS = Theme(), Theme(dark=True, scale=1.3), {"title": "T", "subtitle": "S"}


def arms() -> pd.DataFrame:
    rows = [("bad", "bad", 0.3), ("good", "good", -0.2), ("held <b>", "pruned", 0.28), ("random", "control", math.nan)]
    return pd.DataFrame(
        [
            {"label": a, "role": r, "value": v, "ci_low": v - 0.1, "ci_high": v + 0.05, "note": f"{a}\n<script>"}
            for a, r, v in rows
        ]
    )


def test_arms_by_role_with_intervals_and_seeds() -> None:
    seeds = pd.DataFrame(
        [{"label": "bad", "value": 0.25, "note": "s"}, {"label": "good", "value": math.nan, "note": "s"}]
    )
    figure = arms_chart(arms(), seeds, LIGHT, **WORDS, x_title="shift")
    dots, bad, good, held, random = figure.data
    assert list(dots.x) == [0.25]
    assert [t.marker.color for t in (bad, good, held, random)] == [HARM, BENIGN, HARM, CONTROL]
    assert held.marker.symbol.endswith("open")
    assert bad.marker.symbol == "circle"
    assert np.allclose(bad.error_x.array, 0.05)
    assert np.allclose(bad.error_x.arrayminus, 0.1)
    assert len(random.x) == 0, "what was not measured has no mark, but its line"
    assert list(figure.layout.yaxis.ticktext) == ["bad", "good", "held &lt;b&gt;", "random"]
    assert bad.customdata[0] == "bad<br>&lt;script&gt;"
    assert [s.x0 for s in figure.layout.shapes] == [0.3], "dotted: the unpruned arm"


def test_without_the_unpruned_arm_there_is_no_dotted_line() -> None:
    empty = pd.DataFrame(columns=["label", "value", "note"])
    assert not arms_chart(arms()[1:], empty, DARK, **WORDS, x_title="x").layout.shapes


def test_every_role_has_its_colour_and_arms_of_one_role_differ() -> None:
    styles = arm_styles([(f"{role}{i}", role) for role in ROLES for i in range(2)])
    assert {styles[f"{r}0"][0] for r in ("bad", "pruned")} == {HARM}
    assert styles["pruned0"][1:] != styles["pruned1"][1:]
    assert styles["control0"][1:] != styles["control1"][1:]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_kinds_are_signed_and_centred(theme: Theme) -> None:
    cells = pd.DataFrame(
        [
            {"row": r, "column": c, "value": v, "text": f"{v:+.1f}", "note": "<i>", "last": c == "all"}
            for r, c, v in (
                ("bad", "power", 0.4),
                ("bad", "all", 0.2),
                ("good", "power", math.nan),
                ("good", "all", -0.1),
            )
        ]
    )
    figure = kinds_grid(cells, theme, **WORDS)
    (heat,) = figure.data
    assert np.array_equal(heat.z, [[0.4, 0.2], [math.nan, -0.1]], equal_nan=True)
    assert (heat.zmin, heat.zmax) == (-0.4, 0.4)
    assert [list(c) for c in heat.colorscale] == theme.signed_scale
    assert heat.customdata[0][0] == "&lt;i&gt;"
    assert len(figure.layout.shapes) == 1, "all kinds together are set apart"
    flat = kinds_grid(cells.assign(value=0.0), theme, **WORDS).data[0]
    assert flat.zmax > flat.zmin


def test_dose_against_the_unpruned_band() -> None:
    doses = pd.DataFrame(
        [
            {"q": q, "value": v, "ci_low": v - 0.1, "ci_high": v + 0.1, "note": "n"}
            for q, v in ((1e-4, 0.1), (5e-6, 0.3))
        ]
    )
    figure = dose_chart(doses, LIGHT, **WORDS, unpruned=(0.35, 0.3, 0.4))
    assert list(figure.data[1].x) == [5e-6, 1e-4]
    assert list(figure.layout.xaxis.ticktext) == ["0.0005 %", "0.01 %"]
    assert {(s.y0, s.y1) for s in figure.layout.shapes} == {(0.3, 0.4), (0.35, 0.35)}
    assert len(dose_chart(doses, DARK, **WORDS, unpruned=(0.35, math.nan, math.nan)).layout.shapes) == 1
    assert not dose_chart(doses, DARK, **WORDS, unpruned=None).layout.shapes


def test_curves_draw_the_mean_over_each_seed() -> None:
    points = pd.DataFrame(
        [
            {"label": a, "role": r, "seed": s, "step": k, "loss": 3.0 - k, "note": f"{a} <b>"}
            for a, r in (("bad", "bad"), ("held", "pruned"))
            for s in (math.nan, 0, 1)
            for k in (1, 2)
        ]
    )
    figure = training_curves(points, LIGHT, **WORDS)
    shown = [t for t in figure.data if t.showlegend is None]
    assert [t.name for t in shown] == ["bad", "held"]
    assert len(figure.data) == 6
    assert list(shown[0].y) == [2.0, 1.0]
    assert (shown[0].line.dash, shown[1].line.dash) == ("solid", "dash")
    assert shown[0].customdata[0] == "bad &lt;b&gt;"
    one = training_curves(points[points["step"] == 1], DARK, **WORDS).data[-1]
    assert one.mode == "lines+markers", "a single step would be no line"


def test_change_stands_beside_the_range_of_draws() -> None:
    marks = pd.DataFrame(
        [
            {
                "set": s,
                "label": a,
                "role": r,
                "value": v,
                "ci_low": math.nan,
                "ci_high": math.nan,
                "chance_low": low,
                "chance_high": 1.2,
                "note": "n",
            }
            for s, a, r, v, low in (
                ("harm", "bad", "bad", 1.6, 0.8),
                ("harm", "good", "good", 1.1, 0.9),
                ("other", "bad", "bad", 1.0, math.nan),
            )
        ]
    )
    seeds = pd.DataFrame([{"set": "other", "label": "bad", "role": "bad", "value": 1.05, "note": "n"}])
    figure = change_chart(marks, seeds, LIGHT, **WORDS)
    bars = figure.data[0]
    assert np.allclose(bars.x, [0.4, 0.3])
    assert list(bars.base) == [0.8, 0.9]
    own, bad = figure.data[1], figure.data[2]
    assert list(bad.x) == [1.6, 1.0]
    assert bad.y[0] < 0 < bad.y[1], "arms of one set lie side by side"
    assert list(own.x) == [1.05]
    assert list(figure.layout.yaxis.ticktext) == ["harm", "other"]
    assert figure.layout.shapes[0].x0 == 1

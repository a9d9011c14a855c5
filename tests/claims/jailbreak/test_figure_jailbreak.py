"""The jailbreak figures, drawn from hand-made tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.jailbreak.figures import attack_grid, pooled_rates
from harmviz.display.style import BENIGN, HARM, Theme

LIGHT, DARK, WORDS = Theme(), Theme(dark=True, scale=1.3), {"title": "T", "subtitle": "S"}
PANELS = {"harm": "Harmful <b>", "benign": "Benign"}


def cells(colours: str = "ink", limit: float = 1.0) -> pd.DataFrame:
    rows = [
        ("harm", "No attack", "intact", 0.9),
        ("harm", "No attack", "random mask", math.nan),
        ("harm", "all attacks", "intact", 0.2),
        ("harm", "all attacks", "random mask", 0.25),
        ("benign", "No attack", "intact", 0.1),
        ("benign", "all attacks", "intact", 0.0),
    ]
    return pd.DataFrame(
        [
            {
                "panel": p,
                "row": r,
                "column": c,
                "value": v,
                "text": f"{v:.0%}",
                "note": f"{r}\n<script>",
                "last": r == "all attacks",
                "colours": "benign" if p == "benign" else colours,
                "limit": limit,
            }
            for p, r, c, v in rows
        ]
    )


def test_two_panels_share_their_rows_and_lie_side_by_side() -> None:
    figure = attack_grid(cells(), LIGHT, **WORDS, panels=PANELS)
    harm, benign = figure.data
    assert np.array_equal(harm.z, [[0.9, math.nan], [0.2, 0.25]], equal_nan=True)
    assert np.array_equal(benign.z, [[0.1], [0.0]])
    assert (harm.xaxis, benign.xaxis) == ("x", "x2")
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert figure.layout.xaxis2.domain[1] == pytest.approx(1)
    width = [d[1] - d[0] for d in (figure.layout.xaxis.domain, figure.layout.xaxis2.domain)]
    assert width[0] == pytest.approx(2 * width[1]), "columns are equally wide"
    assert list(figure.layout.yaxis.ticktext) == ["No attack", "all attacks"]
    assert list(figure.layout.xaxis.ticktext) == ["intact", "random<br>mask"]
    assert (harm.zmin, harm.zmax) == (0, 1)
    assert len(figure.layout.shapes) == 1, "the pooled row is set apart"


def test_columns_are_named_on_top_below_their_panels_heading() -> None:
    figure = attack_grid(cells(), LIGHT, **WORDS, panels=PANELS)
    assert {figure.layout.xaxis.side, figure.layout.xaxis2.side} == {"top"}
    lines = max(name.count("<br>") + 1 for name in figure.layout.xaxis.ticktext)
    assert all(heading.yshift > 12 * lines for heading in figure.layout.annotations)
    assert figure.layout.margin.t > figure.layout.annotations[0].yshift


def test_a_click_on_a_cell_says_its_attack_and_mask() -> None:
    known = cells().assign(attack=lambda t: t["row"].where(~t["last"], None), mask=lambda t: t["column"])
    figure = attack_grid(known, LIGHT, **WORDS, panels=PANELS)
    harm, benign = (t for t in figure.data if t.type == "scatter")
    assert [list(c)[:2] for c in harm.customdata] == [
        ["No attack", "intact"],
        ["No attack", "random mask"],
        ["", "intact"],
        ["", "random mask"],
    ]
    assert list(zip(harm.x, harm.y, strict=True)) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert benign.xaxis == "x2"
    assert harm.marker.opacity == 0
    assert "&lt;script&gt;" in harm.customdata[0][2]


def test_text_is_escaped() -> None:
    figure = attack_grid(cells(), LIGHT, **WORDS, panels=PANELS)
    assert figure.data[0].customdata[0][0] == "No attack<br>&lt;script&gt;"
    assert figure.layout.annotations[0].text == "<b>Harmful &lt;b&gt;</b>"


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_mean_what_they_mean_everywhere(theme: Theme) -> None:
    def scale(kind: str) -> list[list[object]]:
        return [list(c) for c in attack_grid(cells(kind, 0.4), theme, **WORDS, panels=PANELS).data[0].colorscale]

    assert scale("harm") == theme.harm_scale
    assert scale("signed") == theme.signed_scale
    assert [c for _, c in scale("reversed")] == [c for _, c in theme.signed_scale][::-1]
    assert [at for at, _ in scale("reversed")] == [at for at, _ in theme.signed_scale]
    assert scale("ink")[1][1] not in (HARM, BENIGN)
    benign = attack_grid(cells(), theme, **WORDS, panels=PANELS).data[1]
    assert benign.colorscale[1][1] == BENIGN
    signed = attack_grid(cells("reversed", 0.4), theme, **WORDS, panels=PANELS).data[0]
    assert (signed.zmin, signed.zmax) == (-0.4, 0.4)


def test_many_columns_get_slanted_names() -> None:
    table = pd.concat([cells().assign(column=lambda t, i=i: t["column"] + f" contrastively{i}") for i in range(8)])
    assert attack_grid(table, LIGHT, **WORDS, panels=PANELS).layout.xaxis.tickangle == -35
    assert attack_grid(cells(), LIGHT, **WORDS, panels=PANELS).layout.xaxis.tickangle == 0


def dots() -> pd.DataFrame:
    rows = [
        ("intact", "direct", False, 0.9),
        ("intact", "attacks", False, 0.2),
        ("intact", "benign", False, 0.05),
        ("random mask", "attacks", True, 0.25),
    ]
    return pd.DataFrame(
        [
            {"label": a, "kind": k, "control": c, "value": v, "ci_low": v - 0.02, "ci_high": v + 0.03, "n": 64}
            for a, k, c, v in rows
        ]
    )


def test_pooled_rates_by_kind_with_controls_as_diamonds_and_harm_never_grey() -> None:
    direct, attacks, benign = pooled_rates(dots(), LIGHT, **WORDS).data
    assert list(direct.marker.symbol) == ["circle-open"]
    assert list(attacks.marker.symbol) == ["circle", "diamond"]
    assert list(attacks.x) == [0.2, 0.25]
    assert (direct.marker.color, attacks.marker.color, benign.marker.color) == (HARM, HARM, BENIGN)
    assert np.allclose(attacks.error_x.array, 0.03)
    assert np.allclose(attacks.error_x.arrayminus, 0.02)
    assert [round(v) for v in attacks.y] == [0, 1]
    assert list(attacks.customdata[0]) == ["intact", 0.2 - 0.02, 0.2 + 0.03, 64]


def test_kinds_without_numbers_are_left_out() -> None:
    only = dots()[lambda t: t["kind"] == "attacks"]
    assert [t.name for t in pooled_rates(only, DARK, **WORDS).data] == ["under attack"]

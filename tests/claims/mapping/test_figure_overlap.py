"""Overlap figures drawn from hand-made tables: what is where, in which colour, and what 0 looks like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from harmviz.claims.mapping.figures.intersections import core_curve, upset_plot
from harmviz.claims.mapping.figures.overlap import jaccard_grid, like_with_like
from harmviz.display.labels import broken
from harmviz.display.style import BENIGN, CONTROL, HARM, Theme, rgba

LIGHT, WORDS = Theme(), {"title": "T", "subtitle": "S"}


def grid() -> pd.DataFrame:
    values = {("a", "b"): 0.02, ("b", "a"): 0.02, ("a", "safe"): 0.05, ("b", "safe"): 0.01}
    return pd.DataFrame(
        [
            {
                "row": r,
                "column": c,
                "value": values.get((r, c), math.nan),
                "text": "halves\n4 %" if r == c else f"{r}{c}",
                "note": f"{r}\n{c}",
                "ceiling": r == c,
                "harm": c != "safe",
            }
            for r in "ab"
            for c in ("a", "b", "safe")
        ]
    )


def test_the_grid_colours_pairs_and_leaves_the_diagonal_to_outlined_ceilings() -> None:
    figure = jaccard_grid(grid(), LIGHT, **WORDS)
    cells, ceilings = figure.data
    assert np.array_equal(cells.z, [[math.nan, 0.02, 0.05], [0.02, math.nan, 0.01]], equal_nan=True)
    assert (cells.zmin, cells.zmax) == (0, 0.05)
    assert [list(row) for row in cells.text] == [["", "ab", "asafe"], ["ba", "", "bsafe"]]
    assert (list(ceilings.x), list(ceilings.y), list(ceilings.text)) == ([0, 1], [0, 1], ["halves<br>4\u00a0%"] * 2)
    outlines = [s for s in figure.layout.shapes if s.type == "rect"]
    assert [(s.x0 + s.x1) / 2 for s in outlines] == [0, 1]
    assert {s.line.dash for s in outlines} == {"dot"}
    assert [s.x0 for s in figure.layout.shapes if s.type == "line"] == [1.5]  # between the harm types and other text
    assert list(figure.layout.yaxis.range) == [1.5, -0.5]  # first row on top


def test_many_columns_are_slanted_and_few_stand_level() -> None:
    assert jaccard_grid(grid(), LIGHT, **WORDS).layout.xaxis.tickangle == 0
    names = [f"category-{i}" for i in range(12)]
    many = pd.DataFrame(
        [
            {"row": r, "column": c, "value": 0.1, "text": "x", "note": "", "ceiling": r == c, "harm": True}
            for r in names
            for c in names
        ]
    )
    figure = jaccard_grid(many, LIGHT, **WORDS)
    assert figure.layout.xaxis.tickangle == -30
    assert np.shape(figure.data[0].z) == (12, 12)


def test_all_zero_overlap_still_has_a_scale() -> None:
    assert jaccard_grid(grid().assign(value=0.0), LIGHT, **WORDS).data[0].zmax > 0


def test_dots_keep_their_range_and_the_colour_of_their_kind() -> None:
    dots = pd.DataFrame(
        [
            ("h", "harm", 0.02, 0.01, 0.05, 0.03),
            ("h", "harm", 0.04, 0.03, 0.05, 0.03),
            ("s", "text", 0.01, 0.0, 0.02, 0.01),
            ("c", "chance", 0.001, 0.0, 0.002, 0.001),
        ],
        columns=["group", "kind", "value", "low", "high", "mean"],
    ).assign(note="n", mean_text="m")
    figure = like_with_like(dots, LIGHT, **WORDS)
    harm, mean, text, _, chance, _ = figure.data
    assert list(harm.x) == [0.02, 0.04]
    assert np.allclose(harm.error_x.array, [0.03, 0.01])
    assert np.allclose(harm.error_x.arrayminus, [0.01, 0.01])
    assert list(mean.x) == [0.03]
    assert [t.marker.color for t in (harm, text, chance)] == [rgba(c, 0.75) for c in (HARM, BENIGN, CONTROL)]
    assert figure.layout.yaxis.ticktext[0].startswith("h<br>")


def groups() -> pd.DataFrame:
    return pd.DataFrame({"members": [("a",), ("a", "c"), ("b",)], "size": [50, 7, 3], "note": ["", "", ""]})


def test_upset_bars_say_how_many_and_dots_say_where() -> None:
    figure = upset_plot(groups(), {"a": 57, "b": 3, "c": 7}, LIGHT, **WORDS)
    bars, _, members, lines = figure.data
    assert list(bars.y) == [50, 7, 3]
    assert list(bars.marker.color) == [rgba(HARM, 0.35), HARM, rgba(HARM, 0.35)]
    assert list(zip(members.x, members.y, strict=True)) == [(0, 0), (1, 0), (1, 2), (2, 1)]
    assert list(lines.x) == [1, 1, None]
    assert list(lines.y) == [0, 2, None]
    assert ["57" in figure.layout.yaxis2.ticktext[0], figure.layout.yaxis.type] == [True, "log"]
    assert upset_plot(groups(), {"a": 57, "b": 3, "c": 7}, LIGHT, **WORDS, log=False).layout.yaxis.type == "linear"


def test_no_weight_at_all_is_an_empty_upset() -> None:
    figure = upset_plot(groups().head(0), {"a": 0}, LIGHT, **WORDS)
    assert len(figure.data[0].x) == 0


def core() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "k": [1, 2, 3],
            "observed": [900.0, 40.0, 0.0],
            "shuffled": [950.0, 0.03, 0.0],
            "low": [940.0, 0.0, 0.0],
            "high": [960.0, 1.0, 0.0],
        }
    )


def test_zeros_have_a_line_of_their_own_below_every_number() -> None:
    figure = core_curve(core(), LIGHT, **WORDS)
    shuffled, observed = figure.data
    # The least positive number is 0.03, so the axis starts at 10⁻²; 0 is drawn 0.7 of a decade below that.
    zero = 10**-2.7
    assert np.allclose(observed.y, [900, 40, zero])
    assert np.allclose(shuffled.y, [950, 0.03, zero])
    assert list(observed.marker.color) == [HARM, HARM, LIGHT.paper]
    assert list(observed.text) == ["900", "40", "0"]
    assert np.allclose(shuffled.error_y.array, [10, 0.97, 0])
    assert np.allclose(shuffled.error_y.arrayminus, [10, 0.03 - zero, 0])
    assert figure.layout.yaxis.ticktext[0] == "0"
    assert figure.layout.yaxis.tickvals[0] == zero


def test_text_is_escaped_broken_and_keeps_numbers_with_their_units() -> None:
    assert broken("<b>x</b>", 40) == "&lt;b&gt;x&lt;/b&gt;"
    assert broken("one two three", 8) == "one two<br>three"
    assert broken("aaaa 12 %", 8) == "aaaa<br>12\u00a0%"
    every: list[Any] = [
        jaccard_grid(grid().replace("a", "<i>"), LIGHT, **WORDS),
        upset_plot(groups(), {"a": 1, "b": 1, "c": 1}, LIGHT, title="<i>", subtitle=""),
    ]
    assert all("<i>" not in figure.to_json() for figure in every)

"""Transfer and concentration figures drawn from hand-made tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from harmviz.claims.mapping.figures.transfer import lorenz_curves, transfer_grid
from harmviz.display.style import BENIGN, Theme

LIGHT, WORDS = Theme(), {"title": "T", "subtitle": "S"}


def cells() -> pd.DataFrame:
    rows = [
        ("a", "a", 0.4),
        ("a", "b", 0.1),
        ("a", "safe", -0.05),
        ("b", "a", math.nan),
        ("b", "b", 0.2),
        ("b", "safe", 0.0),
    ]
    return pd.DataFrame(
        [
            {"row": r, "column": c, "value": v, "text": f"{v:+.2f}", "note": "n", "own": r == c, "harm": c != "safe"}
            for r, c, v in rows
        ]
    )


def test_the_grid_is_centred_at_zero_on_the_scale_it_is_given() -> None:
    figure = transfer_grid(cells(), LIGHT, **WORDS, limit=0.7, unit="nats")
    (grid,) = figure.data
    assert np.array_equal(grid.z, [[0.4, 0.1, -0.05], [math.nan, 0.2, 0.0]], equal_nan=True)
    assert (grid.zmin, grid.zmid, grid.zmax) == (-0.7, 0, 0.7)
    assert [list(c) for c in grid.colorscale] == LIGHT.signed_scale
    assert list(grid.text[0]) == ["+0.40", "+0.10", "-0.05"]
    outlines = [s for s in figure.layout.shapes if s.type == "rect"]
    assert [((s.x0 + s.x1) / 2, (s.y0 + s.y1) / 2) for s in outlines] == [(0, 0), (1, 1)]
    assert {s.line.dash for s in outlines} == {"solid"}


def test_shares_have_a_bar_in_percent() -> None:
    bar = transfer_grid(cells(), LIGHT, **WORDS, limit=1.0, unit="%").data[0].colorbar
    assert (bar.tickformat, bar.title.text) == ("+.0%", "of own<br>type")


def test_only_curves_at_equal_n_are_solid_and_no_two_look_alike() -> None:
    points = pd.DataFrame(
        [
            (name, q, q**0.5, n, 10, n == 24)
            for name, n in (("a", 24), ("b", 17), ("safe", 155), ("benign", 64))
            for q in (1.0, 0.01)
        ],
        columns=["set", "q", "share", "n", "n_weights", "comparable"],
    )
    colours = {"a": "#E69F00", "b": "#56B4E9", "safe": BENIGN, "benign": BENIGN}
    figure = lorenz_curves(points, colours, LIGHT, **WORDS)
    assert {t.name: (t.line.dash, t.line.color) for t in figure.data} == {
        "a, n = 24": ("solid", "#E69F00"),
        "b, n = 17": ("dot", "#56B4E9"),
        "safe, n = 155": ("dot", BENIGN),
        "benign, n = 64": ("dashdot", BENIGN),
    }
    assert list(figure.data[0].x) == [0.01, 1.0]
    assert figure.layout.xaxis.type == "log"

"""The double dissociation as a picture: every mark where it belongs, what is not testable, names as text."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from harmviz.claims.dissociation.figures import COLOURS, double_dissociation, levels
from harmviz.display.style import BENIGN, CATEGORY_COLOURS, CONTROL, HARM, REFUSAL, Theme

PANELS = {"harm": "Without harm weights\n0.001 %", "refusal": "Without <b>refusal</b>"}


def point(panel: str, row: str, mark: str, value: float, *, testable: bool = True, half: float = 0.1) -> dict[str, Any]:
    return {
        "panel": panel,
        "row": row,
        "mark": mark,
        "value": value,
        "low": value - half,
        "high": value + half,
        "testable": testable,
        "note": f"{row} {mark} <i>",
    }


POINTS = pd.DataFrame(
    [
        point("harm", "writes", "harm", -0.8),
        point("refusal", "writes", "refusal", -0.1),
        point("harm", "writes", "random", 0.02),
        point("harm", "declines", "harm", 0.1, testable=False),
        point("refusal", "declines", "refusal", -0.9, testable=False),
        point("harm", "declines", "benign_signed", math.nan, testable=False),
    ]
)


def drawn(theme: Theme | None = None) -> Any:
    return double_dissociation(
        POINTS, theme or Theme(), title="Each its own?", subtitle="SD, n", panels=PANELS, x_range=(-1.2, 0.4)
    )


def test_each_panel_holds_its_mask_and_both_share_one_axis() -> None:
    figure = drawn()
    left = next(t for t in figure.data if t.name == "harm mask")
    right = next(t for t in figure.data if t.name == "refusal mask, not testable")
    assert (list(left.x), list(left.y), left.xaxis, left.marker.color) == ([-0.8], [0], "x", HARM)
    assert (list(right.x), list(right.y), right.xaxis) == ([-0.9], [1], "x2")
    assert list(left.error_x.array) == pytest.approx([0.1])
    assert tuple(figure.layout.xaxis.range) == tuple(figure.layout.xaxis2.range) == (-1.2, 0.4)
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert list(figure.layout.yaxis.ticktext) == ["writes", "declines"]


def test_the_refusal_mask_has_a_colour_that_means_nothing_else() -> None:
    others = {HARM, BENIGN, CONTROL, *CATEGORY_COLOURS, *(theme.ink for theme in (Theme(), Theme(dark=True)))}
    assert COLOURS["refusal"] == REFUSAL
    assert REFUSAL not in others
    red, green, blue = (int(REFUSAL[i : i + 2], 16) for i in (1, 3, 5))
    for other in others:
        apart = [a - int(other[i : i + 2], 16) for a, i in ((red, 1), (green, 3), (blue, 5))]
        assert sum(d * d for d in apart) ** 0.5 > 70, f"{REFUSAL} is too near {other}"


def test_what_is_not_testable_is_hatched_hollow_and_said() -> None:
    figure = drawn()
    bars = [t for t in figure.data if t.type == "bar"]
    assert [(b.xaxis, list(b.y), b.marker.pattern.shape) for b in bars] == [("x", [1], "/"), ("x2", [1], "/")]
    said = [a.text for a in figure.layout.annotations]
    assert said.count("not testable on this model") == 2
    hollow = next(t for t in figure.data if t.name == "harm mask, not testable")
    assert hollow.marker.symbol == "circle-open"
    assert hollow.marker.color != HARM


def test_controls_are_grey_and_a_missing_value_is_no_mark() -> None:
    figure = drawn()
    (random,) = [t for t in figure.data if t.name == "random mask"]
    assert random.marker.color == CONTROL == COLOURS["benign_signed"]
    assert not [t for t in figure.data if (t.name or "").startswith("benign-signed")]


def test_words_from_a_file_are_text() -> None:
    figure = drawn(Theme(dark=True, scale=1.3))
    headings = [a.text for a in figure.layout.annotations]
    assert "Without &lt;b&gt;refusal&lt;/b&gt;" in headings
    assert "Without harm weights<br>0.001\u00a0%" in headings
    assert all("<i>" not in str(t.customdata) for t in figure.data)


def test_levels_before_and_after_with_chance() -> None:
    table = pd.DataFrame(
        [
            {
                "row": "is it <harmful>?",
                "mark": mark,
                "value": value,
                "low": value - 0.1,
                "high": value + 0.1,
                "note": "n",
            }
            for mark, value in (("intact", 0.8), ("harm", 0.7), ("refusal", 0.75), ("random", 0.79))
        ]
    )
    figure = levels(table, Theme(), title="Apart?", subtitle="AUC", unit="AUC", x_range=(0, 1), reference=0.5)
    assert {t.name: (list(t.x), t.marker.symbol) for t in figure.data} == {
        "intact": ([0.8], "circle-open"),
        "harm mask": ([0.7], "circle"),
        "refusal mask": ([0.75], "circle"),
        "random mask": ([0.79], "circle-open"),
    }
    assert figure.data[0].marker.color == Theme().ink
    assert len({t.y[0] for t in figure.data}) == 4, "marks do not hide each other"
    assert [s.x0 for s in figure.layout.shapes] == [0.5]
    assert list(figure.layout.yaxis.ticktext) == ["is it &lt;harmful&gt;?"]
    assert not levels(table, Theme(), title="", subtitle="", unit="AUC", x_range=None).layout.shapes

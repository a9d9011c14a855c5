"""The dot plot of loss shifts: every number where it belongs, and names from files as text."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from harmviz.display.effects import effect_dots
from harmviz.display.style import BENIGN, HARM, Theme

ROWS = pd.DataFrame(
    {
        "label": ["hate", "<b>odd</b>", "benign"],
        "harm": [True, True, False],
        "value": [0.4, 0.2, 0.05],
        "ci_low": [0.3, 0.1, 0.0],
        "ci_high": [0.6, 0.25, 0.1],
        "n": [16, 9, 43],
        "control": [0.01, math.nan, -0.02],
    }
)


def test_dots_intervals_controls_and_colours() -> None:
    figure = effect_dots(ROWS, Theme(), title="What?", subtitle="nats, n", x_range=(-0.1, 0.7))
    control, harm, benign = figure.data
    assert list(control.x) == [0.01, -0.02], "a set without a control has no ring"
    assert list(control.y) == ["hate", "benign"]
    assert list(harm.x) == [0.4, 0.2]
    assert list(harm.error_x.array) == pytest.approx([0.2, 0.05])
    assert list(harm.error_x.arrayminus) == pytest.approx([0.1, 0.1])
    assert (harm.marker.color, benign.marker.color) == (HARM, BENIGN)
    assert harm.customdata[0].tolist() == [0.3, 0.6, 16]
    assert list(figure.layout.yaxis.categoryarray) == ["benign", "&lt;b&gt;odd&lt;/b&gt;", "hate"], "first row on top"
    assert tuple(figure.layout.xaxis.range) == (-0.1, 0.7)
    assert "nats" in figure.layout.xaxis.title.text

"""What every figure shares: a ``Theme``, the meaning of colours, and the frame of title, subtitle and axes.

Colour means one thing everywhere: harm is vermilion, benign is blue, controls are grey, the intact model is ink. Signed
values run blue → paper → vermilion centred at 0, unsigned ones from paper to vermilion. Both scales end in colours that
stay apart for colour-blind readers, and lightness falls monotonically away from the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

HARM, BENIGN, CONTROL = "#D55E00", "#0072B2", "#8D9199"
#: What refusals hang on: a measurement, and no harm type. Apart from every other colour here, also for readers who see
#: no red or no green.
REFUSAL = "#6C3CF0"
#: Okabe–Ito without the two colours that already mean harm and benign; then darker kin, for a seventh and eighth type.
CATEGORY_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#8C6D00", "#5B4FA2", "#00695C", "#8E3B6B")
FONT = "'Source Sans', 'Source Sans 3', 'Source Sans Pro', sans-serif"


@dataclass(frozen=True)
class Theme:
    """How figures are drawn: on dark or light paper, and how large (1.0 on a desk, about 1.3 in a lecture hall)."""

    dark: bool = False
    scale: float = 1.0

    @property
    def paper(self) -> str:
        return "#111317" if self.dark else "#FBFAF6"

    @property
    def ink(self) -> str:
        return "#ECE9E2" if self.dark else "#1C1E22"

    @property
    def quiet(self) -> str:
        """Text of second rank: subtitles, tick labels. Contrast against the paper is at least 4.5 : 1."""
        return "#A9ABB0" if self.dark else "#5C5F66"

    @property
    def grid(self) -> str:
        return "#2A2E36" if self.dark else "#E4DFD3"

    @property
    def harm_scale(self) -> list[list[Any]]:
        """Unsigned values: paper → vermilion, and a step beyond for the top."""
        colours = (
            ("#171A1F", "#472312", "#80340C", "#D55E00", "#F7B98C")
            if self.dark
            else ("#F6F3EA", "#F9D9C0", "#F0A673", "#D55E00", "#7A3600")
        )
        return [[i / (len(colours) - 1), c] for i, c in enumerate(colours)]

    @property
    def signed_scale(self) -> list[list[Any]]:
        """Signed values, to be centred at 0: blue → paper → vermilion."""
        middle = "#1B1E24" if self.dark else "#F6F3EA"
        return [
            [0.0, BENIGN],
            [0.25, "#3A6B8C" if self.dark else "#8FBFDC"],
            [0.5, middle],
            [0.75, "#93532A" if self.dark else "#F0AE82"],
            [1.0, HARM],
        ]


def category_colour(category: str, categories: Sequence[str]) -> str:
    """The colour of a harm category: by its place in the run's fixed order, so that it is the same on every page."""
    return CATEGORY_COLOURS[list(categories).index(category) % len(CATEGORY_COLOURS)]


def rgba(colour: str, alpha: float) -> str:
    """``#RRGGBB`` as ``rgba(…)``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def framed(theme: Theme, title: str, subtitle: str, *, height: int, legend: bool = False) -> go.Figure:
    """An empty figure with everything that is alike in all: type, colours, title (the finding or question), subtitle
    (unit, n, control), quiet axes. ``height`` in pixels at scale 1.

    Plotly wraps nothing: break long lines with ``<br>`` (about 90 characters fit a full width, 52 half of it). What
    comes from a file must be escaped by the caller, since plotly reads some tags.
    """
    size = 15 * theme.scale
    lines = title.count("<br>"), subtitle.count("<br>") + 1 if subtitle else 0
    # Measured: plotly sets a subtitle of one line as low as the second of two, and lifts a title of two out of view.
    top = size * (2.6 + 1.7 * lines[0] + 0.8 * max(0, lines[0] - 1) + 1.35 * (max(2, lines[1]) if subtitle else 0)) + (
        22 * theme.scale if legend else 0
    )
    axis = {
        "gridcolor": theme.grid,
        "zerolinecolor": theme.quiet,
        "zerolinewidth": 1,
        "linecolor": theme.grid,
        "tickfont": {"color": theme.quiet, "size": size * 0.93},
        "title": {"font": {"color": theme.quiet, "size": size * 0.93}},
        "automargin": True,
        "fixedrange": False,
    }
    return go.Figure(
        layout={
            "title": {
                "text": title,
                "x": 0,
                "xref": "container",
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 10 + 0.9 * size * lines[0], "l": 4},
                "font": {"size": size * 1.28, "weight": 600, "color": theme.ink},
                "subtitle": {"text": subtitle, "font": {"size": size * 0.97, "color": theme.quiet}},
            },
            "font": {"family": FONT, "size": size, "color": theme.ink},
            "paper_bgcolor": theme.paper,
            "plot_bgcolor": theme.paper,
            "height": round((height - 74) * theme.scale + top),
            "margin": {"t": round(top), "l": 8, "r": 8, "b": 8},
            "xaxis": axis,
            "yaxis": axis,
            "showlegend": legend,
            "legend": {
                "orientation": "h",
                "yanchor": "bottom",
                "y": 1.0,
                "xanchor": "right",
                "x": 1.0,
                "font": {"color": theme.quiet},
            },
            "hoverlabel": {
                "bgcolor": theme.paper,
                "bordercolor": theme.quiet,
                "align": "left",
                "font": {"family": FONT, "size": size, "color": theme.ink},
            },
            "separators": ".,",
            "dragmode": False,
        }
    )

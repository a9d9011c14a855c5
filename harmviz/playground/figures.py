"""What could come next, as bars: the likeliest tokens, and the mass on openings that decline and that comply. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.style import CONTROL, HARM, Theme, framed
from harmviz.playground.panes import PaneLabel

if TYPE_CHECKING:
    from harmviz.generation.next_tokens import NextTokens

SIDES = ("that decline", "that comply")


def table(seen: NextTokens, labels: Sequence[PaneLabel]) -> pd.DataFrame:
    """Every number of the picture, one a row: ``who``, ``what`` (``next token`` or ``openings``), ``which``, ``p``."""
    rows = []
    for k, label in enumerate(labels):
        rows += [(label.title, "next token", token, seen.probability[k][i]) for i, token in enumerate(seen.tokens)]
        rows += [
            (label.title, "openings", SIDES[0], seen.declining[k]),
            (label.title, "openings", SIDES[1], seen.complying[k]),
        ]
    return pd.DataFrame(rows, columns=["who", "what", "which", "p"])


def next_tokens(seen: NextTokens, labels: Sequence[PaneLabel], theme: Theme) -> go.Figure:
    """Horizontal bars, one colour a pane: left a row a token, right a row a kind of opening. Percent."""
    names = [shown_token(token) for token in seen.tokens]
    figure = framed(
        theme,
        "What could have come here",
        "probability; left: the likeliest tokens, right: all openings",
        height=150 + 22 * len(names) * len(labels),
        legend=True,
    )
    figure.update_layout(
        barmode="group", bargap=0.25, legend={"traceorder": "normal"}, xaxis={"domain": [0, 0.55]}, showlegend=True
    )
    figure.update_layout(
        xaxis2={**figure.layout.xaxis.to_plotly_json(), "domain": [0.72, 1], "anchor": "y2"},
        yaxis2={**figure.layout.yaxis.to_plotly_json(), "anchor": "x2"},
    )
    colours = {"intact": theme.ink, "harm": HARM, "control": CONTROL}
    for k, label in enumerate(labels):
        for suffix, rows, shares in (
            ("", names, seen.probability[k]),
            ("2", list(SIDES), (seen.declining[k], seen.complying[k])),
        ):
            figure.add_bar(
                x=[100 * p for p in shares],
                y=list(range(len(rows))),
                orientation="h",
                name=label.title,
                marker_color=colours[label.kind],
                legendgroup=label.role,
                showlegend=not suffix,
                text=[f"{100 * p:.1f} %" for p in shares],
                textposition="outside",
                cliponaxis=False,
                hovertemplate=f"{label.title}: %{{x:.2f}} %<extra></extra>",
                xaxis=f"x{suffix}",
                yaxis=f"y{suffix}",
            )
    for suffix, rows in (("", names), ("2", list(SIDES))):
        ticks = {"tickvals": list(range(len(rows))), "ticktext": rows, "range": [len(rows) - 0.5, -0.5]}
        figure.update_layout({f"yaxis{suffix}": ticks, f"xaxis{suffix}": {"range": [0, 118], "ticksuffix": " %"}})
    return figure


def shown_token(token: str) -> str:
    """A token as a tick says it: blanks visible, no markup of plotly's."""
    visible = token.replace("\n", "⏎").replace(" ", "␣")
    return "".join(c if c.isprintable() else "·" for c in visible).replace("<", "‹").replace("&", "＆") or "(nothing)"

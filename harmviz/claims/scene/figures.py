"""How often the model declines, a line a set of requests: intact, without the weights, and without random ones."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from harmviz.claims.scene.reading import DECLINED
from harmviz.display.style import CONTROL, HARM, Theme, framed, rgba

#: Who answers → how a legend names it.
STATES = {"intact": "intact", "mask": "without these weights", "random": "random control"}


def rate_dots(
    rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, counted: str = DECLINED.short
) -> go.Figure:
    """Dot = share of requests that are ``counted``, bar = 95 % interval; on a line the three states, slightly apart.

    ``rows``: ``label``, ``state`` (a key of ``STATES``), ``value, ci_low, ci_high, n``.
    """
    labels = list(dict.fromkeys(rows["label"]))
    figure = framed(theme, title, subtitle, height=150 + 52 * len(labels), legend=True)
    colours = {"intact": theme.ink, "mask": HARM, "random": CONTROL}
    for offset, (state, name) in zip((0.22, 0.0, -0.22), STATES.items(), strict=True):
        part = rows[rows["state"] == state]
        figure.add_scatter(
            x=part["value"],
            y=[len(labels) - 1 - labels.index(label) + offset for label in part["label"]],
            mode="markers",
            name=name,
            marker={"size": 11 * theme.scale, "color": colours[state]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["ci_high"] - part["value"],
                "arrayminus": part["value"] - part["ci_low"],
                "color": rgba(colours[state], 0.6),
                "thickness": 3 * theme.scale,
                "width": 0,
            },
            customdata=part[["ci_low", "ci_high", "n"]].astype(object).to_numpy(),
            hovertemplate=f"{name}<br>%{{x:.0%}} [%{{customdata[0]:.0%}}, %{{customdata[1]:.0%}}]<br>"
            "n = %{customdata[2]} requests<extra></extra>",
        )
    figure.update_xaxes(title_text=counted, tickformat=".0%", range=(-0.02, 1.02))
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(labels))),
        ticktext=[escape(label) for label in reversed(labels)],
        showgrid=False,
        zeroline=False,
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    return figure

"""Loss shifts as a dot plot: what zeroing a mask does to each kind of text, beside its control."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.style import BENIGN, CONTROL, HARM, Theme, framed, rgba


def effect_dots(
    rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, x_range: tuple[float, float] | None = None
) -> go.Figure:
    """One line per measured set, in the order given: dot = ΔL, bar = 95 % interval, ring = random control.

    ``rows``: ``label, harm`` (bool), ``value, ci_low, ci_high, n, control`` (NaN where there is none).
    """
    figure = framed(theme, title, subtitle, height=110 + 34 * len(rows))
    labels = [escape(str(label)) for label in rows["label"]]
    controlled = rows[rows["control"].notna()]
    figure.add_scatter(
        x=controlled["control"],
        y=[escape(str(label)) for label in controlled["label"]],
        mode="markers",
        name="random control",
        marker={"symbol": "circle-open", "size": 11 * theme.scale, "color": CONTROL, "line": {"width": 2}},
        hovertemplate="random mask of equal size<br>%{x:+.3f} nats<extra></extra>",
    )
    for harm, colour, name in ((True, HARM, "harmful answers"), (False, BENIGN, "harmless answers")):
        part = rows[rows["harm"] == harm]
        figure.add_scatter(
            x=part["value"],
            y=[escape(str(label)) for label in part["label"]],
            mode="markers",
            name=name,
            marker={"size": 11 * theme.scale, "color": colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["ci_high"] - part["value"],
                "arrayminus": part["value"] - part["ci_low"],
                "color": rgba(colour, 0.6),
                "thickness": 3 * theme.scale,
                "width": 0,
            },
            customdata=part[["ci_low", "ci_high", "n"]].astype(object).to_numpy(),
            hovertemplate="%{y}<br>%{x:+.3f} nats [%{customdata[0]:+.3f}, %{customdata[1]:+.3f}]<br>n = "
            "%{customdata[2]} prompts<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": theme.quiet, "width": 1})
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=labels[::-1],
        showgrid=False,
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    figure.update_xaxes(title_text="ΔL, nats per token", tickformat="+.2f", range=x_range, zeroline=False)
    return figure

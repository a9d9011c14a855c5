"""What rankings buy over what benign answers pay: a line a ranking, a mark a fraction."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from harmviz.claims.rankings.settings import CONTRASTIVE, GRADED, LIMITS, PAPER
from harmviz.display.labels import broken, headings
from harmviz.display.style import BENIGN, CONTROL, HARM, Theme, framed, rgba

#: How far the picture reaches, in nats that benign answers pay; a mask that breaks the model lies far beyond.
REACH = 0.25
_SYMBOLS = ("diamond", "square", "triangle-up", "star", "cross")


def gain_chart(rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """``rows``: ``ranking`` (key), ``name``, ``benign``, ``specific``, ``ci_low``, ``ci_high`` (of ``specific``),
    ``note``; in order of fraction within a ranking. Every line begins at nothing pruned, nothing paid; what lies beyond
    ``REACH`` is out of view, and a ranking whose first mark does is not drawn."""
    figure = framed(theme, *headings(title, subtitle, theme), height=430, legend=True)
    graded = [r for r in dict.fromkeys(rows["ranking"]) if r.startswith(GRADED)]
    for ranking, line in rows.groupby("ranking", sort=False):
        if line["benign"].iloc[0] > REACH:  # nothing was measured on the way there
            continue
        colour, symbol, dash = theme.ink, "circle", "solid"
        if ranking == CONTRASTIVE:
            colour = HARM
        elif ranking in graded:
            colour, symbol, dash = CONTROL, _SYMBOLS[graded.index(str(ranking)) % len(_SYMBOLS)], "dash"
        elif ranking != PAPER:
            colour, symbol, dash = BENIGN, "circle-open", "dot"
        figure.add_scatter(
            x=[0.0, *line["benign"]],
            y=[0.0, *line["specific"]],
            mode="lines+markers",
            name=broken(str(line["name"].iloc[0]), 60),
            line={"color": rgba(colour, 0.8), "dash": dash, "width": 1.8 * theme.scale},
            marker={
                "symbol": symbol,
                "color": colour,
                "size": [0.0, *[9 * theme.scale] * len(line)],
                "line": {"color": colour, "width": 2 if "open" in symbol else 0},
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [0.0, *(line["ci_high"] - line["specific"])],
                "arrayminus": [0.0, *(line["specific"] - line["ci_low"])],
                "color": rgba(colour, 0.3),
                "thickness": 2 * theme.scale,
                "width": 0,
            },
            customdata=["nothing pruned", *(broken(str(note), 60) for note in line["note"])],
            hovertemplate="%{customdata}<extra></extra>",
        )
    shown = rows[rows["benign"] <= REACH]
    heights = [0.0, *shown["ci_low"], *shown["ci_high"]]
    margin = 0.06 * (max(heights) - min(heights)) or 0.01
    for limit in LIMITS:
        figure.add_vline(x=limit, line={"color": theme.quiet, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="what benign answers pay: ΔL, nats per token", tickformat="+.2f", zeroline=True)
    figure.update_yaxes(title_text="harm − safe, nats per token", tickformat="+.2f", zeroline=True)
    figure.update_xaxes(range=[min([0.0, *shown["benign"]]) - 0.01, REACH])
    figure.update_yaxes(range=[min(heights) - margin, max(heights) + margin])
    return figure

"""What the mask of one harm type does to every kind of text, and how concentrated each type's harm score is."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from harmviz.claims.mapping.figures.overlap import column_label_px, grid_axes, outline
from harmviz.display.labels import broken, headings, templated
from harmviz.display.style import Theme, framed


def transfer_grid(
    cells: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, limit: float, unit: str
) -> go.Figure:
    """Rows = type pruned, columns = text measured: blue below 0, vermilion above, full at ``± limit`` and beyond.

    ``cells``: ``row``, ``column`` (labels, in order), ``value`` (NaN: not defined), ``text``, ``note``, ``own`` (bool:
    the diagonal, outlined), ``harm`` (bool: the measured text is harmful). ``unit``: the colour bar's title; "%" for
    shares.
    """
    rows, columns = list(dict.fromkeys(cells["row"])), list(dict.fromkeys(cells["column"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=130 + column_label_px(columns) + 38 * len(rows))
    shown = {
        name: cells.pivot(index="row", columns="column", values=name).reindex(index=rows, columns=columns)
        for name in ("value", "text", "note")
    }
    written = {
        name: [["" if pd.isna(t) else broken(str(t), 64) for t in row] for row in shown[name].to_numpy(dtype=object)]
        for name in ("text", "note")
    }
    figure.add_heatmap(
        z=shown["value"].to_numpy(dtype=float),
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        text=written["text"],
        customdata=written["note"],
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        textfont={"size": (14 if len(columns) <= 10 else 11.5) * theme.scale},
        colorscale=theme.signed_scale,
        zmid=0.0,
        zmin=-limit,
        zmax=limit,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        colorbar={
            "thickness": 10 * theme.scale,
            "outlinewidth": 0,
            "nticks": 5,
            "tickformat": "+.0%" if unit == "%" else "+.2~f",
            "title": {
                "text": "of own<br>type" if unit == "%" else unit,
                "font": {"color": theme.quiet, "size": 13 * theme.scale},
            },
            "tickfont": {"color": theme.quiet, "size": 13 * theme.scale},
        },
    )
    own = cells[cells["own"]]
    outline(figure, [(columns.index(c), rows.index(r)) for c, r in zip(own["column"], own["row"], strict=True)], theme)
    grid_axes(figure, rows, columns, theme)
    n_harm = len({c for c, harm in zip(cells["column"], cells["harm"], strict=True) if harm})
    if n_harm < len(columns):
        figure.add_vline(x=n_harm - 0.5, line={"color": theme.quiet, "width": 1.5})
    return figure


def lorenz_curves(
    points: pd.DataFrame, colours: Mapping[str, str], theme: Theme, *, title: str, subtitle: str
) -> go.Figure:
    """Share of a set's positive harm score held by its largest weights, against how many; solid where n is equal.

    No two are alike: where two sets have one colour, the second is dashed. ``points``: ``set`` (label, in order),
    ``q``, ``share``, ``n``, ``n_weights``, ``comparable`` (bool). ``colours``: by label.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=470)
    drawn: set[str] = set()
    for name in dict.fromkeys(points["set"]):
        part = points[points["set"] == name].sort_values("q")
        solid, colour = bool(part["comparable"].iloc[0]), colours[str(name)]
        figure.add_scatter(
            x=part["q"],
            y=part["share"],
            mode="lines",
            name=f"{broken(str(name), 40)}, n = {int(part['n'].iloc[0])}",
            line={
                "color": colour,
                "width": (2.6 if solid else 1.6) * theme.scale,
                "dash": "solid" if solid else "dot" if colour not in drawn else "dashdot",
            },
            opacity=1.0 if solid else 0.75,
            customdata=part[["n_weights"]].to_numpy(),
            hovertemplate=f"{templated(str(name))}<br>the largest %{{customdata[0]:,}} weights hold "
            f"%{{y:.1%}}<extra></extra>",
        )
        drawn.add(colour)
    figure.update_xaxes(
        type="log",
        title_text="largest weights, as a share of all scored weights",
        tickformat="~%",
        dtick=1,
        minor={"showgrid": False},
    )
    figure.update_yaxes(
        title_text="share of the positive harm score", tickformat=".0%", range=[0, 1.02], zeroline=False
    )
    figure.update_layout(
        showlegend=True, legend={"orientation": "v", "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top"}
    )
    return figure

"""Where selected weights sit: layer × module maps, one or several on one colour scale.

A heatmap cannot be clicked in the browser's way of reporting selections, so that every cell also carries an invisible
marker: it shows the numbers on hover and reports a click with ``customdata[:2] = (layer, module)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.style import Theme, framed

_HOVER = (
    "<b>layer %{customdata[0]}, %{customdata[1]}</b><br>%{customdata[2]:d} weights<br>%{customdata[3]:.1f} per million"
    "<br>%{customdata[4]:.1f} × uniform<extra></extra>"
)
_HOVER_SIGNED = "<b>layer %{customdata[0]}, %{customdata[1]}</b><br>%{customdata[3]:+.1f} per million<extra></extra>"


@dataclass(frozen=True)
class Panel:
    """One map. ``cells``: ``layer``, ``module``, ``density``, and ``count``, ``times_uniform`` unless ``signed``.

    ``signed``: the densities are differences, drawn centred at 0 on a scale of their own.
    """

    name: str
    cells: pd.DataFrame
    signed: bool = False


def layer_maps(
    panels: Sequence[Panel],
    theme: Theme,
    *,
    title: str,
    subtitle: str,
    columns: int = 1,
    opened: tuple[int, str] | None = None,
) -> go.Figure:
    """One map a panel: columns = layers, rows = modules in the block's order, colour = selected weights per million.

    All unsigned panels share one scale from 0. ``opened``: the (layer, module) outlined as the one looked into.
    """
    modules = list(dict.fromkeys(panels[0].cells["module"]))
    layers = sorted(set(panels[0].cells["layer"]))
    many = len(panels) > 1
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    cell = 18 if many else 25
    between = 30 if many else 0  # a panel's name stands above it
    tall = rows * (len(modules) * cell + between)
    figure = framed(theme, title, subtitle, height=74 + 56 + tall)
    plain = {k: v for k, v in figure.layout.xaxis.to_plotly_json().items() if k != "fixedrange"}
    unsigned = [p.cells["density"].max() for p in panels if not p.signed]
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        axis = "" if i == 0 else str(i + 1)
        width = (1 - 0.03 * (columns - 1)) / columns
        left = column * (width + 0.03)
        top = 1 - (row * (len(modules) * cell + between) + between) / tall
        bottom = top - len(modules) * cell / tall
        _draw(figure, panel, theme, axis, modules, layers, size=cell)
        lowest = i + columns >= len(panels)
        figure.layout[f"xaxis{axis}"] = plain | {
            "domain": [left, min(1.0, left + width)],
            "anchor": f"y{axis}",
            "range": [layers[0] - 0.5, layers[-1] + 0.5],
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "showticklabels": lowest,
            "ticks": "",
            "tickformat": "d",
            "nticks": 8 if columns > 1 else 20,
            "title": {"text": "layer" if lowest else "", "standoff": 4, "font": plain["title"]["font"]},
        }
        figure.layout[f"yaxis{axis}"] = plain | {
            "domain": [max(0.0, bottom), top],
            "anchor": f"x{axis}",
            "range": [len(modules) - 0.5, -0.5],
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "showticklabels": column == 0,
            "tickvals": list(range(len(modules))),
            "ticktext": [escape(m) for m in modules],
            "ticklabelstandoff": 4,
            "tickfont": {"color": theme.ink, "size": (12.5 if many else 14) * theme.scale},
        }
        if many:
            figure.add_annotation(
                text=escape(panel.name),
                x=left,
                y=top,
                xref="paper",
                yref="paper",
                xanchor="left",
                yanchor="bottom",
                showarrow=False,
                font={"size": 14 * theme.scale, "color": theme.ink},
            )
        if opened is not None and opened[1] in modules and opened[0] in layers:
            y = modules.index(opened[1])
            figure.add_shape(
                type="rect",
                xref=f"x{axis}",
                yref=f"y{axis}",
                x0=opened[0] - 0.5,
                x1=opened[0] + 0.5,
                y0=y - 0.5,
                y1=y + 0.5,
                line={"color": theme.ink, "width": 2 * theme.scale},
            )
    figure.update_layout(
        coloraxis={"cmin": 0, "cmax": max(unsigned, default=0) or 1, "colorscale": theme.harm_scale}
        | _bar(theme, "per million", tall),
        clickmode="event+select",
        hovermode="closest",
        hoverdistance=cell,
    )
    if signed := [(i, p) for i, p in enumerate(panels) if p.signed]:
        at, panel = signed[0]
        limit = float(panel.cells["density"].abs().max()) or 1.0
        low, high = figure.layout[f"yaxis{at + 1}"].domain
        first_low = min(
            figure.layout[f"yaxis{'' if i == 0 else i + 1}"].domain[0] for i, p in enumerate(panels) if not p.signed
        )
        figure.layout.coloraxis.colorbar.update(y=first_low, len=1 - first_low, lenmode="fraction")
        figure.layout.coloraxis2 = {"cmin": -limit, "cmax": limit, "colorscale": theme.signed_scale} | _bar(
            theme, "difference", tall
        )
        figure.layout.coloraxis2.colorbar.update(y=low, len=high - low, lenmode="fraction")
    return figure


def _bar(theme: Theme, unit: str, tall: float) -> dict[str, Any]:
    """A thin colour bar as tall as the picture."""
    font = {"size": 12.5 * theme.scale, "color": theme.quiet}
    title = {"text": unit, "side": "right", "font": font}
    return {
        "colorbar": {
            "title": title,
            "tickfont": font,
            "thickness": 10 * theme.scale,
            "outlinewidth": 0,
            "ypad": 0,
            "xpad": 8,
            "y": 0,
            "yanchor": "bottom",
            "len": 1,
            "nticks": max(3, min(6, int(tall / 45))),
        }
    }


def _draw(
    figure: go.Figure, panel: Panel, theme: Theme, axis: str, modules: list[str], layers: list[int], *, size: int
) -> None:
    """The heatmap of one panel and the invisible markers that answer for it."""
    cells = panel.cells
    z: list[list[float | None]] = [[None] * len(layers) for _ in modules]
    place = {layer: i for i, layer in enumerate(layers)}, {module: i for i, module in enumerate(modules)}
    for layer, module, density in zip(cells["layer"], cells["module"], cells["density"], strict=True):
        z[place[1][module]][place[0][layer]] = round(float(density), 4)
    figure.add_heatmap(
        z=z,
        x=layers,
        y=list(range(len(modules))),
        xgap=1,
        ygap=1,
        coloraxis="coloraxis2" if panel.signed else "coloraxis",
        hoverinfo="skip",
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
        name=escape(panel.name),
    )
    shown = ["layer", "module", "count", "density", "times_uniform"]
    facts = cells.reindex(columns=shown).astype(object).where(cells.reindex(columns=shown).notna(), None)
    facts["module"] = [escape(m) for m in cells["module"]]
    figure.add_scatter(
        x=cells["layer"].tolist(),
        y=[place[1][m] for m in cells["module"]],
        mode="markers",
        customdata=facts.to_numpy(),
        marker={"symbol": "square", "size": size * theme.scale, "color": theme.ink, "opacity": 0},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        hovertemplate=_HOVER_SIGNED if panel.signed else _HOVER,
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
        showlegend=False,
        name=escape(panel.name),
    )

"""One weight matrix: pooled harm scores as blocks, the selected weights as exact points, and both sides' shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from harmviz.display.labels import templated
from harmviz.display.style import CONTROL, HARM, Theme, framed

#: Up to here points are drawn as vectors: they need no WebGL and stay sharp in a saved SVG.
VECTOR_POINTS = 1000
_MAIN, _SIDE = (0.0, 0.84), (0.86, 1.0)


def matrix_map(
    tiles: np.ndarray,
    out_edges: np.ndarray,
    in_edges: np.ndarray,
    points: pd.DataFrame,
    out_side: pd.DataFrame,
    in_side: pd.DataFrame,
    theme: Theme,
    *,
    title: str,
    subtitle: str,
    signed: bool,
    sets: Sequence[tuple[str, str]],
) -> go.Figure:
    """Rows = output units from the top, columns = input units.

    Args:
        tiles: pooled score of each block ``[out, in]``; ``out_edges``, ``in_edges``: the blocks' limits in units.
        points: ``output``, ``input``, ``utility_top`` and one column a set.
        out_side, in_side: ``start``, ``stop``, ``count``, ``selected``, ``mass`` of each bin of a side.
        signed: whether blocks are drawn centred at 0.
        sets: (column of ``points``, how it reads), in the order of the hover text.
    """
    figure = framed(theme, title, subtitle, height=500)
    axis = {k: v for k, v in figure.layout.xaxis.to_plotly_json().items() if k != "fixedrange"}
    font = {"size": 12.5 * theme.scale, "color": theme.quiet}
    colours, ticks = _signed(tiles, theme) if signed else _decades(tiles, theme)
    figure.add_heatmap(
        x=in_edges.tolist(),
        y=out_edges.tolist(),
        customdata=_rounded(tiles),
        **colours,
        colorbar={
            "title": {"text": "10⁻⁶ nats per token", "side": "right", "font": font},
            "tickfont": font,
            "thickness": 10 * theme.scale,
            "outlinewidth": 0,
            "x": 1.0,
            "xpad": 10,
            "y": 0,
            "yanchor": "bottom",
            "len": _MAIN[1],
            "ypad": 0,
            **ticks,
        },
        hovertemplate="block of input units around %{x}, output units around %{y}<br>%{customdata:.3~g} × 10⁻⁶ nats "
        "per token<extra></extra>",
        name="pooled",
    )
    _points(figure, points, theme, sets)
    for side, letter in ((in_side, "x"), (out_side, "y")):
        _shares(figure, side, letter, theme)
    units = {"showgrid": False, "zeroline": False, "tickformat": "d", "nticks": 8}
    name = {"standoff": 8, "font": {**font, "size": 14 * theme.scale}}
    figure.update_layout(
        xaxis={
            **axis,
            **units,
            "domain": _MAIN,
            "range": [in_edges[0] - 0.5, in_edges[-1] - 0.5],
            "title": {"text": "input unit", **name},
        },
        yaxis={
            **axis,
            **units,
            "domain": _MAIN,
            "range": [out_edges[-1] - 0.5, out_edges[0] - 0.5],
            "title": {"text": "output unit", **name},
        },
        xaxis2={**axis, **_share_axis(out_side, font), "domain": _SIDE, "anchor": "y"},
        yaxis2={**axis, **_share_axis(in_side, font), "domain": _SIDE, "anchor": "x"},
        bargap=0,
        hovermode="closest",
    )
    return figure


def _rounded(tiles: np.ndarray) -> list[list[float]]:
    """Four significant digits: all that is shown."""
    return [[float(f"{v:.4g}") for v in row] for row in tiles]


def _signed(tiles: np.ndarray, theme: Theme) -> tuple[dict[str, Any], dict[str, Any]]:
    """(heatmap, colour bar) of signed values, centred at 0."""
    limit = float(np.abs(tiles).max(initial=0)) or 1.0
    return {"z": _rounded(tiles), "zmin": -limit, "zmax": limit, "colorscale": theme.signed_scale}, {"nticks": 5}


def _decades(tiles: np.ndarray, theme: Theme) -> tuple[dict[str, Any], dict[str, Any]]:
    """(heatmap, colour bar) of largest values, by powers of ten: a few blocks exceed the others a thousandfold."""
    top = float(tiles.max(initial=0))
    high = float(np.log10(top)) if top > 0 else 0.0
    positive = tiles[tiles > 0]
    low = max(high - 4, float(np.log10(positive.min()))) if positive.size > 1 else high - 1
    low = low if low < high else high - 1
    logs = np.log10(np.maximum(tiles, 10.0**low))
    exponents = list(range(int(np.ceil(low)), int(np.floor(high)) + 1))
    heat = {"z": _rounded(logs), "zmin": low, "zmax": high, "colorscale": theme.harm_scale}
    return heat, {
        "tickvals": exponents,
        "ticktext": [f"{10.0**k:,g}" if k < 6 else f"10<sup>{k}</sup>" for k in exponents],
    }


def _share_axis(side: pd.DataFrame, font: dict[str, Any]) -> dict[str, Any]:
    """An axis of shares from 0, marked at its largest share alone."""
    top = float(max(side["selected"].max(), side["mass"].max())) or 1.0
    return {
        "showgrid": False,
        "zeroline": False,
        "range": [0, 1.08 * top],
        "tickvals": [top],
        "ticktext": [f"{100 * top:.2g} %"],
        "ticks": "outside",
        "ticklen": 3,
        "tickfont": font,
    }


def _points(figure: go.Figure, points: pd.DataFrame, theme: Theme, sets: Sequence[tuple[str, str]]) -> None:
    """The selected weights, each with every set's harm score on hover."""
    trace = go.Scatter if len(points) <= VECTOR_POINTS else go.Scattergl
    columns = ["utility_top", *(column for column, _ in sets)]
    facts = points[columns].to_numpy(dtype=np.float32) * np.array([100, *([1] * len(sets))], dtype=np.float32)
    scores = "<br>".join(f"{templated(name)}: %{{customdata[{i}]:+.2f}}" for i, (_, name) in enumerate(sets, start=1))
    figure.add_trace(
        trace(
            x=points["input"].to_numpy(dtype=np.int32),
            y=points["output"].to_numpy(dtype=np.int32),
            mode="markers",
            customdata=facts,
            marker={
                "size": (6 if len(points) <= 300 else 4.5) * theme.scale,
                "color": theme.ink,
                "line": {"width": 0.8, "color": theme.paper},
            },
            hovertemplate="<b>output %{y}, input %{x}</b><br>utility: top %{customdata[0]:.2~f} % of all weights"
            f"<br>harm score, 10⁻⁶ nats per token<br>{scores}<extra></extra>",
            name="selected",
            showlegend=False,
        )
    )


def _shares(figure: go.Figure, side: pd.DataFrame, letter: str, theme: Theme) -> None:
    """One side: bars = share of the selected weights, line = share of all positive harm score."""
    middle = ((side["start"] + side["stop"]) / 2).to_numpy()
    width = (side["stop"] - side["start"] + 1).to_numpy()
    along, across = ("x", "y") if letter == "x" else ("y", "x")
    where = {"yaxis": "y2"} if letter == "x" else {"xaxis": "x2"}
    units = "input" if letter == "x" else "output"
    facts = side[["start", "stop", "count"]].to_numpy()
    figure.add_bar(
        **{along: middle, across: side["selected"].to_numpy()},
        width=width,
        orientation="v" if letter == "x" else "h",
        customdata=facts,
        marker={"color": HARM, "line": {"width": 0}},
        name=f"selected, {units}",
        showlegend=False,
        **where,
        hovertemplate=f"{units} units %{{customdata[0]}}–%{{customdata[1]}}<br>%{{customdata[2]}} selected, "
        f"%{{{across}:.1%}}<extra></extra>",
    )
    # A line of steps: first and last bin reach to the picture's edges.
    limits = np.repeat(np.append(side["start"], side["stop"].iloc[-1] + 1), 2)[1:-1] - 0.5
    figure.add_scatter(
        **{along: limits, across: np.repeat(side["mass"].to_numpy(), 2)},
        mode="lines",
        line={"color": CONTROL, "width": 1.5 * theme.scale},
        name=f"positive harm score, {units}",
        showlegend=False,
        **where,
        hovertemplate=f"{units} unit %{{{along}:.0f}}<br>%{{{across}:.1%}} of all positive harm score<extra></extra>",
    )

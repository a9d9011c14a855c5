"""Attacks against masks: rates on harmful requests beside those on benign ones, and all attacks in one line a mask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.labels import broken, headings
from harmviz.display.style import BENIGN, HARM, Theme, framed, rgba

#: How a panel is coloured: what gets through (vermilion), refusals (ink: neither harm nor benign), refusals of benign
#: requests (blue), differences where more is harm (signed) or less is (reversed: blue for more).
COLOURS = ("harm", "ink", "benign", "signed", "reversed")
_HOVER = (
    "%{{customdata[0]}}, {name}<br>%{{x:.0%}} [%{{customdata[1]:.0%}}, %{{customdata[2]:.0%}}]<br>"
    "n = %{{customdata[3]}} requests<extra></extra>"
)
#: A full refusal scale, on dark and on light paper: the numbers in the cells stay readable throughout.
_REFUSED = {True: "#666C77", False: "#8B9098"}
#: Between two panels, as a share of the width.
_GAP = 0.035
#: Letters of the longest word × columns × scale beyond which level column labels would touch.
_LEVEL = 125


def attack_grid(
    cells: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, panels: Mapping[str, str]
) -> go.Figure:
    """Rows = attacks, columns = masks, named on top; one panel per kind of request, side by side.

    Where the cells say their ``attack`` and ``mask``, a click on one is reported with both as its ``customdata``.

    ``cells``: ``panel`` (key of ``panels``), ``row``, ``column`` (labels, in order), ``value`` (NaN: unscored),
    ``text``, ``note``, ``last`` (bool: the pooled row, set apart), ``colours`` (one of ``COLOURS``, alike within a
    panel), ``limit`` (the end of its scale). ``panels``: heading of each panel, in order.
    """
    rows = list(dict.fromkeys(cells["row"]))
    columns = {key: list(dict.fromkeys(cells[cells["panel"] == key]["column"])) for key in panels}
    figure = framed(theme, *headings(title, subtitle, theme), height=168 + 33 * len(rows), legend=True)
    figure.update_layout(showlegend=False)  # the room above the plot is for the panels' headings
    total = sum(len(c) for c in columns.values())
    width = (1 - _GAP * (len(panels) - 1)) / max(1, total)
    axis = {k: v for k, v in figure.layout.xaxis.to_plotly_json().items() if k != "title"}
    longest = max(
        (len(word) for names in columns.values() for name in names for word in re.split(r"[\s-]", name)), default=0
    )
    slanted = longest * total * theme.scale > _LEVEL
    named = _room(
        [broken(c, 40 if slanted else 9) for names in columns.values() for c in names], theme, slanted=slanted
    )
    # On top, where the eye begins: the room they had below goes with them.
    figure.update_layout(
        margin_t=figure.layout.margin.t + named, height=figure.layout.height + named - 24 * theme.scale
    )
    start, targets = 0.0, []
    for number, (key, heading) in enumerate(panels.items(), start=1):
        part = cells[cells["panel"] == key]
        end = start + width * len(columns[key])
        suffix = "" if number == 1 else str(number)
        figure.add_trace(_heat(part, rows, columns[key], theme, suffix))
        if {"attack", "mask"} <= set(part.columns):
            targets.append(_targets(part, rows, columns[key], theme, suffix))
        font = {"color": theme.ink, "size": 12 * theme.scale}
        figure.update_layout(
            {
                f"xaxis{suffix}": {
                    **axis,
                    "domain": [start, end],
                    "anchor": "y",
                    "tickvals": list(range(len(columns[key]))),
                    "side": "top",
                    "tickangle": -35 if slanted else 0,
                    "ticktext": [broken(c, 40 if slanted else 9) for c in columns[key]],
                    "tickfont": font,
                    "showgrid": False,
                    "zeroline": False,
                    "ticks": "",
                    "range": [-0.5, len(columns[key]) - 0.5],
                    "fixedrange": True,
                }
            }
        )
        figure.add_annotation(
            text=f"<b>{broken(heading, 60)}</b>",
            x=start,
            xref="paper",
            xanchor="left",
            y=1,
            yref="paper",
            yanchor="bottom",
            yshift=named + 3 * theme.scale,
            showarrow=False,
            font={"size": 13.5 * theme.scale, "color": theme.quiet},
        )
        start = end + _GAP
    figure.add_traces(targets)  # over the cells
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[broken(r, 30) for r in rows],
        showgrid=False,
        zeroline=False,
        range=[len(rows) - 0.5, -0.5],
        fixedrange=True,
        ticks="",
        tickfont={"color": theme.ink, "size": 13.5 * theme.scale},
    )
    if cells["last"].any() and len(rows) > 1:
        figure.add_hline(y=len(rows) - 1.5, line={"color": theme.paper, "width": 8 * theme.scale})
    return figure


def _room(labels: list[str], theme: Theme, *, slanted: bool) -> float:
    """Pixels that these column labels take above the plot."""
    if slanted:
        return (14 + 4.0 * max((len(label) for label in labels), default=0)) * theme.scale
    return (8 + 16 * max((label.count("<br>") + 1 for label in labels), default=1)) * theme.scale


def _targets(part: pd.DataFrame, rows: list[str], columns: list[str], theme: Theme, suffix: str) -> go.Scatter:
    """What a click lands on, one unseen square a cell: clicks on a heatmap itself are reported nowhere."""
    about = part[["attack", "mask", "note"]].astype(object).where(part[["attack", "mask", "note"]].notna(), "")
    about["note"] = [broken(str(note), 64) for note in about["note"]]
    return go.Scatter(
        x=[columns.index(c) for c in part["column"]],
        y=[rows.index(r) for r in part["row"]],
        xaxis=f"x{suffix}",
        mode="markers",
        marker={"symbol": "square", "size": 26 * theme.scale, "color": theme.ink, "opacity": 0},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=about.to_numpy(),
        hovertemplate="%{customdata[2]}<extra></extra>",
        showlegend=False,
        name=f"cells, {part['panel'].iloc[0]}",
    )


def _heat(part: pd.DataFrame, rows: list[str], columns: list[str], theme: Theme, suffix: str) -> go.Heatmap:
    shown = {
        name: part.pivot(index="row", columns="column", values=name).reindex(index=rows, columns=columns)
        for name in ("value", "text", "note")
    }
    written = {
        name: [["" if pd.isna(t) else broken(str(t), 64) for t in line] for line in shown[name].to_numpy(dtype=object)]
        for name in ("text", "note")
    }
    kind = str(part["colours"].iloc[0])
    limit = float(part["limit"].iloc[0])
    signed = kind in ("signed", "reversed")
    return go.Heatmap(
        z=shown["value"].to_numpy(dtype=float),
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        xaxis=f"x{suffix}",
        text=written["text"],
        customdata=written["note"],
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        textfont={"size": 13.5 * theme.scale} | ({"color": theme.ink} if kind == "ink" else {}),
        colorscale=_scale(kind, theme),
        zmin=-limit if signed else 0.0,
        zmax=limit,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        showscale=False,
        name=str(part["panel"].iloc[0]),
    )


def _scale(kind: str, theme: Theme) -> list[list[Any]]:
    if kind == "harm":
        return theme.harm_scale
    if kind == "signed":
        return theme.signed_scale
    if kind == "reversed":
        return [[1 - at, colour] for at, colour in reversed(theme.signed_scale)]
    return [[0.0, theme.harm_scale[0][1]], [1.0, BENIGN if kind == "benign" else _REFUSED[theme.dark]]]


def pooled_rates(dots: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """One line per mask: ring = the bare request, dot = all attacks pooled, blue = benign requests under the attacks;
    bars = 95 % intervals. Controls are diamonds in the same colours: grey would say that they hold no harm.

    ``dots``: ``label`` (in order), ``kind`` (``direct``, ``attacks``, ``benign``), ``control`` (bool), ``value``,
    ``ci_low``, ``ci_high``, ``n``.
    """
    labels = list(dict.fromkeys(dots["label"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=118 + 50 * len(labels), legend=True)
    names = {"direct": "no attack", "attacks": "under attack", "benign": "benign request under attack"}
    for offset, (kind, name) in zip((-0.22, 0.0, 0.22), names.items(), strict=True):
        part = dots[(dots["kind"] == kind) & dots["value"].notna()]
        if part.empty:
            continue
        notes = part[["label", "ci_low", "ci_high", "n"]].astype(object)
        notes["label"] = [broken(str(label), 60) for label in part["label"]]
        colour = BENIGN if kind == "benign" else HARM
        hollow = "-open" if kind == "direct" else ""
        figure.add_scatter(
            x=part["value"],
            y=[labels.index(str(label)) + offset for label in part["label"]],
            mode="markers",
            name=name,
            marker={
                "size": 11 * theme.scale,
                "color": colour,
                "symbol": [f"{'diamond' if control else 'circle'}{hollow}" for control in part["control"]],
                "line": {"width": 2, "color": colour},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["ci_high"] - part["value"],
                "arrayminus": part["value"] - part["ci_low"],
                "color": rgba(colour, 0.55),
                "thickness": 2.5 * theme.scale,
                "width": 0,
            },
            customdata=notes.to_numpy(),
            hovertemplate=_HOVER.format(name=name),
        )
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=[broken(label, 34) for label in labels],
        range=[len(labels) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", zeroline=False)
    return figure

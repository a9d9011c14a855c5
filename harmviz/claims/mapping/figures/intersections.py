"""Weights by the exact types they belong to: an UpSet plot, and the size of the core that several types share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.labels import broken, headings
from harmviz.display.style import CONTROL, HARM, Theme, framed, rgba

#: Column of sham types in the core's table → its name in the legend.
_SHAMS = {
    "sham_shuffled": "sham types: the same answers dealt at random",
    "sham_topics": "sham types: topics of harmless text",
}


def upset_plot(
    groups: pd.DataFrame, sizes: Mapping[str, int], theme: Theme, *, title: str, subtitle: str, log: bool = True
) -> go.Figure:
    """Exact intersections, largest first: bars = weights in exactly these types, dots below = which types, with the
    size of each type's mask beside its name. Vermilion: in two types or more; pale: in one alone.

    ``groups``: ``members`` (tuple of labels), ``size``, ``note``. ``sizes``: label → weights of its mask, from the top.
    """
    names, n = list(sizes), len(groups)
    row_px, bar_px = 26, 210
    figure = framed(theme, *headings(title, subtitle, theme), height=104 + bar_px + 20 + row_px * len(names))
    split = row_px * len(names) / (bar_px + 20 + row_px * len(names))
    shared = [len(m) > 1 for m in groups["members"]]
    figure.add_bar(
        x=list(range(n)),
        y=groups["size"],
        name="weights in exactly these types",
        width=0.66,
        marker={"color": [HARM if s else rgba(HARM, 0.35) for s in shared]},
        cliponaxis=False,
        text=[f"{s:,}" for s in groups["size"]],
        textposition="outside",
        textangle=0 if n <= 12 else -90,
        constraintext="none",
        textfont={"color": theme.quiet, "size": 12 * theme.scale},
        customdata=[broken(t, 60) for t in groups["note"]],
        hovertemplate="%{customdata}<extra></extra>",
    )
    inside = [(i, names.index(m)) for i, members in enumerate(groups["members"]) for m in members]
    every = [(i, j) for i in range(n) for j in range(len(names)) if (i, j) not in set(inside)]
    for points, colour, label in ((every, theme.grid, "not a member"), (inside, theme.ink, "member")):
        figure.add_scatter(
            x=[i for i, _ in points],
            y=[j for _, j in points],
            mode="markers",
            name=label,
            yaxis="y2",
            hoverinfo="skip",
            marker={"size": 10 * theme.scale, "color": colour},
        )
    spans = [(i, [names.index(m) for m in members]) for i, members in enumerate(groups["members"]) if len(members) > 1]
    figure.add_scatter(
        x=[v for i, _ in spans for v in (i, i, None)],
        y=[v for _, places in spans for v in (min(places), max(places), None)],
        mode="lines",
        name="together",
        yaxis="y2",
        line={"color": theme.ink, "width": 2 * theme.scale},
        hoverinfo="skip",
    )
    top = float(groups["size"].max()) if n else 1.0
    scale = (
        {
            "type": "log",
            "range": [-0.12, math.log10(max(top, 2)) + 1.0],
            "tickvals": [10**e for e in range(9) if 10**e <= max(top, 1)],
            "tickformat": ",",
        }
        if log
        else {"type": "linear", "range": [0, top * 1.28], "tickformat": ",", "nticks": 5}
    )
    figure.update_layout(
        bargap=0.3,
        xaxis={
            "range": [-0.6, max(n, 8) - 0.4],
            "showticklabels": False,
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        yaxis={
            "domain": [split + 0.03, 1],
            "title": {"text": "weights in exactly<br>these types"},
            **scale,
            "anchor": "x",
            "fixedrange": True,
        },
        yaxis2={
            "automargin": True,
            "domain": [0, split],
            "range": [len(names) - 0.5, -0.5],
            "tickvals": list(range(len(names))),
            "ticktext": [
                f"{broken(s, 24)} <span style='color:{theme.quiet}'>{n_weights:,}</span>"
                for s, n_weights in sizes.items()
            ],
            "tickfont": {"color": theme.ink, "size": 14 * theme.scale},
            "showgrid": False,
            "zeroline": False,
            "anchor": "x",
            "fixedrange": True,
            "ticks": "",
        },
    )
    return figure


def core_curve(core: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """Weights in at least k types, for every k: vermilion = observed, grey = mean and 95 % range of the shuffles.

    The axis is logarithmic, and 0 has a line of its own below a break: a hollow mark there means no weight at all.
    ``core``: ``k``, ``observed``, ``shuffled``, ``low``, ``high``; where measured ``sham_shuffled``, ``sham_topics``:
    the same of types that are none, as diamonds.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=400)
    drawn_too = [name for name in _SHAMS if name in core and core[name].notna().any()]
    columns = ("observed", "shuffled", "low", "high", *drawn_too)
    numbers = [float(v) for name in columns for v in core[name] if v > 0]
    floor, ceiling = math.floor(math.log10(min(numbers, default=1))), math.ceil(math.log10(max([*numbers, 10])))
    zero = 10.0 ** (floor - 0.7)

    def drawn(values: Sequence[float]) -> list[float]:
        return [zero if v <= 0 else float(v) for v in values]

    mean, low, high = (drawn(core[name].to_list()) for name in ("shuffled", "low", "high"))
    figure.add_scatter(
        x=core["k"] + 0.14,
        y=mean,
        mode="markers",
        name="shuffled within each matrix: mean and 95 % range",
        marker={
            "size": 10 * theme.scale,
            "color": [CONTROL if v > 0 else theme.paper for v in core["shuffled"]],
            "line": {"width": 2, "color": CONTROL},
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, h - m) for h, m in zip(high, mean, strict=True)],
            "arrayminus": [max(0.0, m - b) for m, b in zip(mean, low, strict=True)],
            "color": CONTROL,
            "thickness": 3 * theme.scale,
            "width": 0,
        },
        customdata=core[["shuffled", "low", "high", "k"]].to_numpy(),
        hovertemplate="shuffled, %{customdata[3]} types or more<br>%{customdata[0]:,.2f} weights "
        "[%{customdata[1]:,.2f}, %{customdata[2]:,.2f}]<extra></extra>",
    )
    figure.add_scatter(
        x=core["k"] - 0.14,
        y=drawn(core["observed"].to_list()),
        mode="markers+text",
        name="observed",
        marker={
            "size": 13 * theme.scale,
            "color": [HARM if v > 0 else theme.paper for v in core["observed"]],
            "line": {"width": 2, "color": HARM},
        },
        text=[f"{v:,.0f}" for v in core["observed"]],
        textposition="top center",
        textfont={"size": 14 * theme.scale, "color": theme.ink},
        cliponaxis=False,
        customdata=core[["observed", "k"]].to_numpy(),
        hovertemplate="%{customdata[1]} types or more<br>%{customdata[0]:,} weights<extra></extra>",
    )
    for place, name in enumerate(drawn_too, 1):
        known = core[core[name].notna()]
        figure.add_scatter(
            x=known["k"] + 0.14 + 0.12 * place,
            y=drawn(known[name].to_list()),
            mode="markers",
            name=_SHAMS[name],
            marker={
                "symbol": "diamond-open" if place == 1 else "diamond",
                "size": 9 * theme.scale,
                "color": theme.quiet,
                "line": {"width": 2, "color": theme.quiet},
            },
            customdata=known[[name, "k"]].to_numpy(),
            hovertemplate=f"{_SHAMS[name]}, %{{customdata[1]}} types or more<br>%{{customdata[0]:,}} weights"
            "<extra></extra>",
        )
    step = 1 if ceiling - floor <= 4 else 2
    powers = list(range(floor, ceiling + 1, step))
    figure.update_yaxes(
        type="log",
        tickvals=[zero, *(10.0**e for e in powers)],
        ticktext=["0", *(f"{10.0**e:,.{max(0, -e)}f}" for e in powers)],
        range=[floor - 1.05, ceiling + 0.6],
        title_text="weights",
        zeroline=False,
    )
    figure.add_hline(y=10.0 ** (floor - 0.35), line={"color": theme.quiet, "width": 1, "dash": "dot"})
    figure.update_xaxes(
        tickvals=core["k"],
        ticktext=[f"≥ {k}" for k in core["k"]],
        title_text="harm types whose mask holds the weight",
        showgrid=False,
        zeroline=False,
        range=[0.4, float(core["k"].max()) + 0.6],
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    legend: dict[str, object] = {"y": 0.99, "x": 0.99, "yanchor": "top", "orientation": "v"}
    if drawn_too:  # below the picture: inside it would cover the marks of sham types
        room = 76 * theme.scale
        legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}
        figure.update_layout(height=400 + room, margin_b=(figure.layout.margin.b or 0) + room)
    figure.update_layout(showlegend=True, legend=legend)
    return figure

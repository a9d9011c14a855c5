"""Runs side by side: loss shifts over q, and at each run's chosen point. (Their maps: ``harm_map.layer_maps``.)

Colour keeps its meaning (harm vermilion, harmless blue, controls grey), so that runs are told apart by symbol and dash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import product

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.style import BENIGN, CONTROL, HARM, Theme, framed, rgba

#: (symbol, dash) of the first, second… run.
RUN_MARKS = (
    ("circle", "solid"),
    ("diamond-open", "dash"),
    ("square", "dot"),
    ("triangle-up-open", "dashdot"),
    ("star", "longdash"),
    ("hexagon-open", "longdashdot"),
)
#: How far apart the runs' points stand at one q, as a factor.
_APART = 1.07


def q_ticks(values: Sequence[float]) -> dict[str, object]:
    """Decades around these fractions as ticks of a log axis, in percent."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    decades = [10.0**e for e in range(low, high + 1)]
    return {
        "tickvals": decades,
        "ticktext": [f"{100 * d:.6f}".rstrip("0").rstrip(".") + " %" for d in decades],
        "type": "log",
    }


def _bars(rows: pd.DataFrame, colour: str, theme: Theme) -> dict[str, object]:
    """Asymmetric interval bars around ``value``."""
    return {
        "type": "data",
        "symmetric": False,
        "array": rows["ci_high"] - rows["value"],
        "arrayminus": rows["value"] - rows["ci_low"],
        "color": rgba(colour, 0.55),
        "thickness": 2.5 * theme.scale,
        "width": 0,
    }


def _run_legend(figure: go.Figure, runs: Sequence[str], theme: Theme, *, lines: bool) -> None:
    """One entry a run in ink: the symbol says which run, the panel or the colour says which text."""
    for name, (symbol, dash) in zip(runs, RUN_MARKS, strict=False):
        figure.add_scatter(
            x=[None],
            y=[None],
            name=escape(name),
            mode="lines+markers" if lines else "markers",
            showlegend=True,
            hoverinfo="skip",
            marker={
                "symbol": symbol,
                "size": 10 * theme.scale,
                "color": theme.ink,
                "line": {"width": 2, "color": theme.ink},
            },
            line={"dash": dash, "width": 1.5 * theme.scale, "color": theme.ink},
        )


def run_curves(rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """ΔL over q, one panel a set, one line a run, all on one scale; points and bars only where something was measured.

    ``rows``: ``run, set, label, harm, q, value, ci_low, ci_high, n, n_weights``, in the order of panels and runs.
    """
    sets, runs = list(dict.fromkeys(rows["set"])), list(dict.fromkeys(rows["run"]))
    figure = framed(theme, title, subtitle, height=400, legend=True)
    axes = figure.layout.xaxis.to_plotly_json(), figure.layout.yaxis.to_plotly_json()
    figure.set_subplots(rows=1, cols=len(sets), shared_yaxes=True, horizontal_spacing=0.03)
    figure.update_xaxes(**axes[0])  # subplots bring axes of their own
    figure.update_yaxes(**axes[1])
    ticks = q_ticks(rows["q"].tolist())
    for (column, name), (k, run) in product(enumerate(sets, 1), enumerate(runs)):
        part = rows[(rows["set"] == name) & (rows["run"] == run)]
        if part.empty:
            continue
        colour, (symbol, dash) = HARM if part["harm"].iloc[0] else BENIGN, RUN_MARKS[k]
        figure.add_scatter(
            x=part["q"] * _APART ** (k - (len(runs) - 1) / 2),
            y=part["value"],
            row=1,
            col=column,
            mode="lines+markers",
            name=f"{escape(run)}, {escape(str(part['label'].iloc[0]))}",
            showlegend=False,
            marker={"symbol": symbol, "size": 9 * theme.scale, "color": colour, "line": {"width": 2, "color": colour}},
            line={"dash": dash, "width": 1.2 * theme.scale, "color": rgba(colour, 0.6)},
            error_y=_bars(part, colour, theme),
            customdata=part.assign(run=escape(run), percent=100 * part["q"])[
                ["run", "percent", "ci_low", "ci_high", "n", "n_weights"]
            ]
            .astype(object)
            .to_numpy(),
            hovertemplate="%{customdata[0]}<br>q = %{customdata[1]:.4~g} % · %{customdata[5]:,} "
            "weights<br>%{y:+.3f} nats [%{customdata[2]:+.3f}, %{customdata[3]:+.3f}]<br>n = %{customdata[4]} "
            "prompts<extra></extra>",
        )
    for column, name in enumerate(sets, 1):
        part = rows[rows["set"] == name]
        figure.update_xaxes(row=1, col=column, title_text="q, share of weights zeroed", **ticks)
        figure.add_annotation(
            text=f"<b>{escape(str(part['label'].iloc[0]))}</b>",
            x=0.03,
            y=1,
            xref="x domain",
            yref="y domain",
            xanchor="left",
            yanchor="top",
            showarrow=False,
            font={"color": HARM if part["harm"].iloc[0] else BENIGN, "size": 14 * theme.scale},
            row=1,
            col=column,
        )
    spread = rows[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    low, high = min(0.0, float(pd.Series(spread.ravel()).min())), max(0.0, float(pd.Series(spread.ravel()).max()))
    headroom = 0.14 * (high - low or 1)  # a panel's name stands there
    figure.update_yaxes(tickformat="+.2f", zeroline=True, range=[low - 0.05 * (high - low or 1), high + headroom])
    figure.update_yaxes(title_text="ΔL, nats per token", col=1)
    _run_legend(figure, runs, theme, lines=True)
    return figure


def chosen_dots(rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """ΔL at each run's chosen point: one band a set, one mark a run; bar = 95 % interval, ring = random control.

    ``rows``: ``run, label, harm, value, ci_low, ci_high, n, n_weights, control``, sets and runs in order.
    """
    sets, runs = list(dict.fromkeys(rows["label"])), list(dict.fromkeys(rows["run"]))
    figure = framed(theme, title, subtitle, height=130 + len(sets) * (24 + 15 * len(runs)), legend=True)
    step = 0.62 / max(1, len(runs))
    place = {
        (s, r): -i + ((len(runs) - 1) / 2 - k) * step for (i, s), (k, r) in product(enumerate(sets), enumerate(runs))
    }
    spots = rows.assign(y=[place[pair] for pair in zip(rows["label"], rows["run"], strict=True)])
    drawn = spots[spots["control"].notna()]
    figure.add_scatter(
        x=drawn["control"],
        y=drawn["y"],
        mode="markers",
        name="random mask of equal size",
        marker={"symbol": "circle-open", "size": 9 * theme.scale, "color": CONTROL, "line": {"width": 2}},
        hovertemplate="random mask of equal size<br>%{x:+.3f} nats<extra></extra>",
    )
    for (k, run), harm in product(enumerate(runs), (True, False)):
        part, colour = spots[(spots["run"] == run) & (spots["harm"] == harm)], HARM if harm else BENIGN
        figure.add_scatter(
            x=part["value"],
            y=part["y"],
            mode="markers",
            name=escape(run),
            showlegend=False,
            error_x=_bars(part, colour, theme),
            marker={
                "symbol": RUN_MARKS[k][0],
                "size": 10 * theme.scale,
                "color": colour,
                "line": {"width": 2, "color": colour},
            },
            customdata=part.assign(run=escape(run), label=part["label"].map(escape))[
                ["run", "label", "ci_low", "ci_high", "n", "n_weights"]
            ]
            .astype(object)
            .to_numpy(),
            hovertemplate="%{customdata[0]}, %{customdata[5]:,} weights<br>%{customdata[1]}<br>%{x:+.3f} nats "
            "[%{customdata[2]:+.3f}, %{customdata[3]:+.3f}]<br>n = %{customdata[4]} prompts<extra></extra>",
        )
    _run_legend(figure, runs, theme, lines=False)
    figure.add_vline(x=0, line={"color": theme.quiet, "width": 1})
    for i in range(1, len(sets)):
        figure.add_hline(y=0.5 - i, line={"color": theme.grid, "width": 1})
    figure.update_yaxes(
        tickvals=[-i for i in range(len(sets))],
        ticktext=[escape(s) for s in sets],
        showgrid=False,
        zeroline=False,
        range=[0.5 - len(sets), 0.5],
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    figure.update_xaxes(title_text="ΔL, nats per token", tickformat="+.2f", zeroline=False)
    return figure

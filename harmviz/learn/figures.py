"""Pictures of the Learn page: how few weights are strong, one weight's scores, protection, controls, pruning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import pandas as pd
import plotly.graph_objects as go

from harmviz.claims.mapping.figures.compare import q_ticks
from harmviz.display.style import BENIGN, CONTROL, HARM, Theme, framed, rgba

#: How a weight of the protection picture is drawn, by what the rule does with it: (label, colour, opacity).
FATES = {"not taken": CONTROL, "protected": BENIGN, "taken": HARM}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score_histogram(bins: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """Weights per half-decade of positive harm score, both axes logarithmic; those right of the line in vermilion.

    ``bins``: ``exponent`` (log10 of a bin's lower edge), ``count``, ``strong`` (bool: right of the line).
    """
    figure = framed(theme, title, subtitle, height=330)
    for strong, colour, name in ((False, rgba(CONTROL, 0.75), "all others"), (True, HARM, "right of the line")):
        part = bins[(bins["strong"] == strong) & (bins["count"] > 0)]
        figure.add_bar(
            x=part["exponent"] + 0.25,
            y=part["count"],
            width=0.46,
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate="%{y:,} weights<extra></extra>",
        )
    if bins["strong"].any():
        cut = float(bins.loc[bins["strong"], "exponent"].min())
        figure.add_vline(x=cut, line={"color": theme.ink, "width": 1.5, "dash": "dash"})
    exponents, names = _powers(int(bins["exponent"].min()), math.floor(bins["exponent"].max()) + 1)
    figure.update_xaxes(title_text="harm score, nats", tickvals=exponents, ticktext=names, showgrid=False)
    figure.update_yaxes(title_text="weights", type="log", tickformat=".0s", dtick=1)
    figure.update_layout(barmode="overlay", bargap=0)
    return figure


def score_bars(rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """One weight's score for every set of texts, a bar a set: harmful vermilion, harmless blue.

    ``rows``: ``label``, ``harm`` (bool), ``value`` in nats per token, in order.
    """
    labels = [escape(str(label)) for label in rows["label"]]
    figure = framed(theme, title, subtitle, height=110 + 27 * len(labels))
    figure.add_bar(
        x=rows["value"],
        y=labels,
        orientation="h",
        marker={"color": [HARM if harm else BENIGN for harm in rows["harm"]], "line": {"width": 0}},
        hovertemplate="%{y}: %{x:.2~g} nats<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": theme.quiet, "width": 1})
    figure.update_xaxes(title_text="score, nats per token", exponentformat="power", zeroline=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, tickfont={"color": theme.ink, "size": 14 * theme.scale})
    figure.update_layout(bargap=0.35)
    return figure


def protection_scatter(points: pd.DataFrame, theme: Theme, *, p: float | None, title: str, subtitle: str) -> go.Figure:
    """A sample of weights: harm score over their rank by utility; left of the line they are protected.
    ``p`` None: nothing is.

    ``points``: ``utility_rank`` (share of weights with at least this utility), ``harm_score``, ``fate`` (of ``FATES``).
    """
    figure = framed(theme, title, subtitle, height=370, legend=True)
    for fate, colour in FATES.items():
        part = points[points["fate"] == fate]
        figure.add_scattergl(
            x=part["utility_rank"],
            y=part["harm_score"],
            mode="markers",
            name=fate,
            marker={"size": 5 * theme.scale, "color": rgba(colour, 0.45 if fate == "not taken" else 0.75)},
            hovertemplate="harm score %{y:.2~g} nats<br>top %{x:.2~p} by utility<extra></extra>",
        )
    if p is not None:
        figure.add_vline(x=p, line={"color": theme.ink, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(
        title_text="rank by utility score: ← harmless text needs it most", **q_ticks(points["utility_rank"].tolist())
    )
    score = points["harm_score"]
    exponents, names = _powers(math.floor(math.log10(score.min())), math.ceil(math.log10(score.max())))
    figure.update_yaxes(
        title_text="harm score, nats", type="log", tickvals=[10.0**e for e in exponents], ticktext=names
    )
    return figure


def control_dots(
    rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, x_range: tuple[float, float] | None = None
) -> go.Figure:
    """One line a mask, two dots each: ΔL on harmful answers (vermilion) and on harmless ones (blue), with intervals.

    ``rows``: ``label``, ``harm`` (bool), ``value``, ``ci_low``, ``ci_high``, ``n``; masks in order. ``x_range``: of the
    axis, so that it stands still while masks are swapped.
    """
    labels = list(dict.fromkeys(rows["label"]))
    figure = framed(theme, title, subtitle, height=190 + 44 * len(labels), legend=True)
    for harm, colour, name, lift in (
        (True, HARM, "harmful answers", 0.13),
        (False, BENIGN, "harmless, by others", -0.13),
    ):
        part = rows[rows["harm"] == harm]
        figure.add_scatter(
            x=part["value"],
            y=[lift - labels.index(label) for label in part["label"]],
            mode="markers",
            name=name,
            marker={"size": 10 * theme.scale, "color": colour},
            error_x=_bars(part, colour, theme),
            customdata=part.assign(label=part["label"].map(escape))[["label", "ci_low", "ci_high", "n"]]
            .astype(object)
            .to_numpy(),
            hovertemplate="%{customdata[0]}<br>%{x:+.3f} nats [%{customdata[1]:+.3f}, %{customdata[2]:+.3f}]<br>n = "
            "%{customdata[3]} prompts<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": theme.quiet, "width": 1})
    figure.update_xaxes(title_text="ΔL, nats per token", tickformat="+.2f", zeroline=False, range=x_range)
    figure.update_yaxes(
        tickvals=[-i for i in range(len(labels))],
        ticktext=[escape(label) for label in labels],
        range=[0.6 - len(labels), 0.6],
        showgrid=False,
        zeroline=False,
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    return figure


def kept_curve(rows: pd.DataFrame, theme: Theme, *, q: float | None, title: str, subtitle: str) -> go.Figure:
    """What a token keeps of its probability over q, for harmful, same-topic safe and benign text; ``q`` marked.

    ``rows``: ``set, label, harm, q, kept, kept_low, kept_high, n, n_weights``, sets in order; kept = exp(−ΔL).
    """
    figure = framed(theme, title, subtitle, height=370)
    for i, (_, part) in enumerate(rows.groupby("set", sort=False)):
        colour = HARM if part["harm"].iloc[0] else BENIGN
        hollow, dash = ("-open", "dot") if i == 1 else ("", "solid")
        here = [q is not None and math.isclose(x, q) for x in part["q"]]
        ends = part.rename(columns={"kept": "kept_value"}).assign(
            value=part["kept"], ci_low=part["kept_low"], ci_high=part["kept_high"]
        )
        figure.add_scatter(
            x=part["q"] * (1, 1.05, 0.952)[i % 3],
            y=part["kept"],
            mode="lines+markers",
            name=escape(str(part["label"].iloc[0])),
            marker={
                "size": [(15 if h else 8) * theme.scale for h in here],
                "color": colour,
                "symbol": f"circle{hollow}",
                "line": {"width": 2, "color": colour},
            },
            line={"width": 1.4 * theme.scale, "dash": dash, "color": rgba(colour, 0.7)},
            error_y=_bars(ends, colour, theme),
            customdata=ends.assign(percent=100 * part["q"])[["percent", "n_weights", "ci_low", "ci_high", "n"]]
            .astype(object)
            .to_numpy(),
            hovertemplate="q = %{customdata[0]:.4~g} % · %{customdata[1]:,} weights<br>keeps %{y:.0%} "
            "[%{customdata[2]:.0%}, %{customdata[3]:.0%}]<br>n = %{customdata[4]} "
            "prompts<extra>%{fullData.name}</extra>",
        )
    if q is not None:
        figure.add_vline(x=q, line={"color": theme.quiet, "width": 1.2, "dash": "dash"})
    figure.update_xaxes(title_text="q, share of weights zeroed", **q_ticks(rows["q"].tolist()))
    figure.update_yaxes(
        title_text="keeps of its probability", tickformat=".0%", rangemode="tozero", zeroline=True, title_standoff=4
    )
    # Inside, bottom left: that corner is empty, since the curves fall to the right.
    figure.update_layout(
        showlegend=True,
        legend={
            "orientation": "v",
            "x": 0.02,
            "xanchor": "left",
            "y": 0.04,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
    )
    return figure


def _powers(low: int, high: int) -> tuple[list[int], list[str]]:
    """Every second exponent from low to high, and how ten to it reads."""
    shown = [e for e in range(low, high + 1) if e % 2 == 0 or high - low < 7]
    return shown, ["10" + str(e).translate(_SUPERSCRIPT) for e in shown]


def _bars(rows: pd.DataFrame, colour: str, theme: Theme) -> dict[str, object]:
    ends: Sequence[pd.Series] = (rows["ci_high"] - rows["value"], rows["value"] - rows["ci_low"])
    return {
        "type": "data",
        "symmetric": False,
        "array": ends[0],
        "arrayminus": ends[1],
        "color": rgba(colour, 0.5),
        "thickness": 2.5 * theme.scale,
        "width": 0,
    }

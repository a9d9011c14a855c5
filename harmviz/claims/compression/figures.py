"""Checkpoints of one model side by side: separability along training, its curves over q, and what the masks share."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.labels import broken, headings
from harmviz.display.style import CONTROL, HARM, Theme, framed, rgba

#: How an arm is drawn. The aligned arm is vermilion, control tunings are grey, the start and the rest ink.
ROLES = ("start", "aligned", "control", "other")
_CONTROL_MARKS = (("diamond", "solid"), ("square-open", "dash"), ("triangle-up-open", "dot"), ("star", "dashdot"))
HOVER = "%{customdata}<extra></extra>"


class ArmStyle(NamedTuple):
    """How one arm is drawn."""

    colour: str
    symbol: str
    dash: str


def arm_styles(rows: pd.DataFrame, theme: Theme) -> dict[str, ArmStyle]:
    """Arm → its style, by role and order. ``rows``: ``arm``, ``role``."""
    styles: dict[str, ArmStyle] = {}
    controls = 0
    for arm, role in rows.drop_duplicates("arm")[["arm", "role"]].itertuples(index=False):
        if role == "control":
            styles[arm] = ArmStyle(CONTROL, *_CONTROL_MARKS[controls % len(_CONTROL_MARKS)])
            controls += 1
        else:
            styles[arm] = ArmStyle(HARM if role == "aligned" else theme.ink, "circle", "solid")
    return styles


def ladder_chart(
    rows: pd.DataFrame, seeds: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, y_title: str
) -> go.Figure:
    """One mark per checkpoint with its interval over the stages of training, one line an arm, a small dot per seed.

    ``rows``: ``place`` (0, 1, … along training), ``label`` (of the place), ``arm`` (display name), ``role`` (one of
    ``ROLES``), ``value``, ``ci_low``, ``ci_high``, ``note``. ``seeds``: ``place``, ``arm``, ``value``, ``note``.
    The start is one row of role ``start``; every arm's line begins at it.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=430, legend=True)
    start = rows[rows["role"] == "start"]
    arms = [arm for arm in dict.fromkeys(rows["arm"]) if arm not in set(start["arm"])]
    styles = arm_styles(rows, theme)
    step = min(0.12, 0.36 / (len(arms) - 1)) if len(arms) > 1 else 0.0
    for k, arm in enumerate(arms):
        of_arm, of_seeds, style = rows[rows["arm"] == arm], seeds[seeds["arm"] == arm], styles[arm]
        shift = (k - (len(arms) - 1) / 2) * step
        line = pd.concat([start, of_arm])
        known = line[line["value"].notna()]
        figure.add_scatter(
            x=known["place"] + [0.0 if r == "start" else shift for r in known["role"]],
            y=known["value"],
            mode="lines",
            showlegend=False,
            hoverinfo="skip",
            name=f"{broken(arm, 60)}, line",
            line={"color": rgba(style.colour, 0.6), "dash": style.dash, "width": 1.6 * theme.scale},
        )
        dots(figure, of_seeds, of_seeds["place"] + shift, style.colour, f"{arm}, each seed", theme)
        marks(figure, of_arm, of_arm["place"] + shift, style, arm, theme)
    for arm in dict.fromkeys(start["arm"]):
        of_seeds = seeds[seeds["arm"] == arm]
        dots(figure, of_seeds, of_seeds["place"], theme.ink, f"{arm}, each seed", theme)
        marks(figure, start, start["place"], styles[arm], arm, theme)
    labels = rows.drop_duplicates("place").sort_values("place")
    figure.update_xaxes(
        tickvals=labels["place"].tolist(),
        ticktext=[broken(str(t), 16) for t in labels["label"]],
        showgrid=False,
        zeroline=False,
        range=[-0.4, float(labels["place"].max()) + 0.4],
        title_text="stage of training",
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    figure.update_yaxes(title_text=y_title, zeroline=True, rangemode="tozero")
    return figure


def marks(
    figure: go.Figure, rows: pd.DataFrame, x: pd.Series, style: ArmStyle, name: str, theme: Theme, **trace: Any
) -> None:
    """A mark a row with its interval. ``trace``: what else the trace is told, such as its axes."""
    figure.add_scatter(
        x=x,
        y=rows["value"],
        mode="markers",
        name=broken(name, 60),
        marker=marker(style.symbol, style.colour, 12 * theme.scale),
        error_y=interval(rows, rgba(style.colour, 0.6), 2.5 * theme.scale),
        customdata=notes(rows),
        hovertemplate=HOVER,
        **trace,
    )


def dots(
    figure: go.Figure, rows: pd.DataFrame, x: pd.Series, colour: str, name: str, theme: Theme, **trace: Any
) -> None:
    """Each seed's own value, a little to the right of the mark, so that the interval stays visible."""
    figure.add_scatter(
        x=x + 0.035,
        y=rows["value"],
        mode="markers",
        name=broken(name, 60),
        showlegend=False,
        marker={"symbol": "circle", "size": 5.5 * theme.scale, "color": rgba(colour, 0.55)},
        customdata=notes(rows),
        hovertemplate=HOVER,
        **trace,
    )


def marker(symbol: str, colour: str, size: float, outline: float = 2) -> dict[str, Any]:
    """A mark; only a hollow one has an outline."""
    return {
        "symbol": symbol,
        "size": size,
        "color": colour,
        "line": {"width": outline if "open" in symbol else 0, "color": colour},
    }


def interval(rows: pd.DataFrame, colour: str, thickness: float) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows["ci_high"] - rows["value"],
        "arrayminus": rows["value"] - rows["ci_low"],
        "color": colour,
        "thickness": thickness,
        "width": 0,
    }


def notes(rows: pd.DataFrame) -> list[str]:
    return [broken(str(t), 60) for t in rows["note"]]


# -- curves -----------------------------------------------------------------------------------------------------------
def shift_curves(
    rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, y_title: str, levels: tuple[float, ...] = ()
) -> go.Figure:
    """A loss shift over q, one line a checkpoint; an arm's later checkpoints are drawn stronger.

    ``rows``: ``checkpoint``, ``arm``, ``role``, ``weight`` (0 … 1: how late in its arm), ``q``, ``value``, ``ci_low``,
    ``ci_high``, ``note``. ``levels``: thresholds, drawn as dotted lines.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=420, legend=True)
    styles, names = arm_styles(rows, theme), list(dict.fromkeys(rows["checkpoint"]))
    for k, name in enumerate(names):
        curve = rows[(rows["checkpoint"] == name) & rows["value"].notna()].sort_values("q")
        if curve.empty:
            continue
        style = styles[str(curve["arm"].iloc[0])]
        strength = 0.35 + 0.65 * float(curve["weight"].iloc[0])
        figure.add_scatter(
            showlegend=False,
            x=curve["q"] * 1.02 ** (k - (len(names) - 1) / 2),
            y=curve["value"],
            mode="lines+markers",
            name=broken(name, 60),
            line={"color": rgba(style.colour, 0.75 * strength), "dash": style.dash, "width": 1.8 * theme.scale},
            marker=marker(style.symbol, rgba(style.colour, strength), 9 * theme.scale, 1.5),
            error_y=interval(curve, rgba(style.colour, 0.4 * strength), 2 * theme.scale),
            customdata=notes(curve),
            hovertemplate=HOVER,
        )
    for arm, style in styles.items():  # one entry an arm: ten checkpoints would not fit
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="lines+markers",
            name=broken(arm, 60),
            hoverinfo="skip",
            line={"color": rgba(style.colour, 0.75), "dash": style.dash},
            marker=marker(style.symbol, style.colour, 9 * theme.scale, 1.5),
        )
    for level in levels:
        figure.add_hline(
            y=level,
            line={"color": theme.quiet, "width": 1, "dash": "dot"},
            annotation_text=f"{level:+g}",
            annotation_font={"color": theme.quiet, "size": 13 * theme.scale},
            annotation_position="top left",
        )
    measured = sorted(set(rows["q"]))
    figure.update_xaxes(
        type="log",
        tickvals=measured,
        ticktext=[f"{100 * q:.7f}".rstrip("0").rstrip(".") + " %" for q in measured],
        title_text="q, share of scored weights zeroed",
    )
    figure.update_yaxes(title_text=y_title, tickformat="+.2f", zeroline=True)
    return figure


# -- overlap ----------------------------------------------------------------------------------------------------------
def overlap_ladder(rows: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """What the categories' own masks share at each checkpoint, beside ceiling and chance; a small dot per seed.

    ``rows``: ``checkpoint`` (label, in order), ``kind`` (harm, ceiling, chance), ``seed`` (None: the mean), ``value``,
    ``note``.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=400, legend=True)
    order = list(dict.fromkeys(rows["checkpoint"]))
    looks = {
        "harm": ("between harm types", HARM, "circle"),
        "ceiling": ("ceiling: a type with itself", theme.ink, "circle-open"),
        "chance": ("chance: shuffled within matrices", CONTROL, "diamond-open"),
    }
    for kind, (name, colour, symbol) in looks.items():
        known = rows[(rows["kind"] == kind) & rows["value"].notna()]
        means, each = known[known["seed"].isna()], known[known["seed"].notna()]
        dots(figure, each, each["checkpoint"].map(order.index), colour, f"{name}, each seed", theme)
        figure.add_scatter(
            x=means["checkpoint"].map(order.index),
            y=means["value"],
            mode="markers",
            name=name,
            cliponaxis=False,
            marker={"symbol": symbol, "size": 11 * theme.scale, "color": colour, "line": {"width": 2, "color": colour}},
            customdata=notes(means),
            hovertemplate=HOVER,
        )
    figure.update_xaxes(
        tickvals=list(range(len(order))),
        ticktext=[broken(str(t), 14) for t in order],
        showgrid=False,
        zeroline=False,
        range=[-0.5, len(order) - 0.5],
        tickfont={"color": theme.ink, "size": 13 * theme.scale},
    )
    figure.update_yaxes(title_text="Jaccard of half-sample masks", tickformat=".2~%", rangemode="tozero", zeroline=True)
    return figure

"""Narrow tuning, arm by arm: shifts with their intervals, by kind of question, over the dose of pruning, along
training, and on which weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.labels import broken, headings
from harmviz.display.style import BENIGN, CONTROL, HARM, Theme, framed, rgba

#: What an arm learned and what was pruned before: bad answers, good ones, bad ones after pruning harm weights, bad ones
#: after pruning others.
ROLES = ("bad", "good", "pruned", "control")
_COLOURS = {"bad": HARM, "good": BENIGN, "pruned": HARM, "control": CONTROL}
_MARKS = {
    "bad": ("circle",),
    "good": ("circle",),
    "pruned": ("diamond-open", "square-open", "triangle-up-open"),
    "control": ("circle", "diamond", "square"),
}
_DASHES = {
    "bad": ("solid",),
    "good": ("solid",),
    "pruned": ("dash", "dot", "dashdot"),
    "control": ("solid", "dash", "dot"),
}


def arm_styles(arms: Sequence[tuple[str, str]]) -> dict[str, tuple[str, str, str]]:
    """Arm → (colour, symbol, dash), by role and by order within it; ``arms``: (name, one of ``ROLES``)."""
    looks: dict[str, tuple[str, str, str]] = {}
    count = dict.fromkeys(ROLES, 0)
    for arm, role in dict.fromkeys(arms):
        k, marks, dashes = count[role], _MARKS[role], _DASHES[role]
        looks[arm] = (_COLOURS[role], marks[k % len(marks)], dashes[k % len(dashes)])
        count[role] += 1
    return looks


def arms_chart(
    arms: pd.DataFrame, seeds: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, x_title: str
) -> go.Figure:
    """One line per arm: its shift with the interval, a small dot per seed; 0 is the model before tuning, dotted the
    unpruned arm.

    ``arms``: ``label`` (in order), ``role`` (one of ``ROLES``), ``value``, ``ci_low``, ``ci_high``, ``note``.
    ``seeds``: ``label``, ``value``, ``note``.
    """
    labels = list(dict.fromkeys(arms["label"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=128 + 54 * len(labels))
    styles = arm_styles(list(zip(arms["label"], arms["role"], strict=True)))
    bad = arms[(arms["role"] == "bad") & arms["value"].notna()]
    if not bad.empty:
        figure.add_vline(x=float(bad["value"].iloc[0]), line={"color": rgba(HARM, 0.6), "width": 1.5, "dash": "dot"})
    own = seeds[seeds["value"].notna()]
    figure.add_scatter(
        x=own["value"],
        y=[labels.index(label) + 0.2 for label in own["label"]],
        mode="markers",
        name="each seed",
        marker={"size": 6 * theme.scale, "color": [rgba(styles[label][0], 0.6) for label in own["label"]]},
        customdata=_notes(own),
        hovertemplate="%{customdata}<extra></extra>",
    )
    for label in labels:
        here = arms[(arms["label"] == label) & arms["value"].notna()]
        colour, symbol, _ = styles[label]
        _marks(figure, here, [labels.index(label)] * len(here), colour, symbol, str(label), theme)
    _lines(figure, labels, theme)
    figure.update_xaxes(title_text=x_title, tickformat="+.2f", zeroline=True)
    return figure


def kinds_grid(cells: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """Rows = arms, columns = kinds of question; vermilion: misaligned answers likelier than before tuning, blue: less
    likely.

    ``cells``: ``row``, ``column`` (labels, in order), ``value`` (NaN: not measured), ``text``, ``note``, ``last``
    (bool: all kinds together, set apart).
    """
    rows, columns = list(dict.fromkeys(cells["row"])), list(dict.fromkeys(cells["column"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=150 + 40 * len(rows))
    at = {
        name: cells.pivot(index="row", columns="column", values=name).reindex(index=rows, columns=columns)
        for name in ("value", "text", "note")
    }
    limit = float(cells["value"].abs().max()) if cells["value"].notna().any() else 1.0
    written = {
        name: [["" if pd.isna(t) else broken(str(t), 64) for t in line] for line in at[name].to_numpy(dtype=object)]
        for name in ("text", "note")
    }
    figure.add_heatmap(
        z=at["value"].to_numpy(dtype=float),
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        text=written["text"],
        customdata=written["note"],
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        textfont={"size": 13.5 * theme.scale},
        colorscale=theme.signed_scale,
        zmin=-(limit or 1.0),
        zmax=limit or 1.0,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        showscale=False,
        name="kinds",
    )
    if cells["last"].any() and len(columns) > 1:
        figure.add_vline(x=len(columns) - 1.5, line={"color": theme.paper, "width": 8 * theme.scale})
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[broken(str(c), 12) for c in columns],
        showgrid=False,
        zeroline=False,
        ticks="",
        tickangle=0,
        tickfont={"color": theme.ink, "size": 13 * theme.scale},
        range=[-0.5, len(columns) - 0.5],
    )
    _lines(figure, rows, theme)
    figure.update_yaxes(ticks="", fixedrange=True)
    return figure


def dose_chart(
    doses: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, unpruned: tuple[float, float, float] | None
) -> go.Figure:
    """The shift over the fraction pruned beforehand; the band is the arm without pruning (``unpruned``: value and
    interval).

    ``doses``: ``q``, ``value``, ``ci_low``, ``ci_high``, ``note``.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=380)
    if unpruned is not None:
        value, low, high = unpruned
        if low == low and high == high:
            figure.add_hrect(y0=low, y1=high, fillcolor=rgba(HARM, 0.12), line_width=0, layer="below")
        figure.add_hline(
            y=value,
            line={"color": HARM, "width": 1.5, "dash": "dot"},
            annotation_text="nothing pruned",
            annotation_position="top left",
            annotation_font={"color": theme.quiet, "size": 13 * theme.scale},
        )
    known = doses[doses["value"].notna()].sort_values("q")
    figure.add_scatter(
        x=known["q"],
        y=known["value"],
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        name="line",
        line={"color": rgba(HARM, 0.5), "dash": "dash", "width": 1.6 * theme.scale},
    )
    figure.add_scatter(
        x=known["q"],
        y=known["value"],
        mode="markers",
        name="pruned first",
        marker={"symbol": "diamond-open", "size": 12 * theme.scale, "color": HARM, "line": {"width": 2, "color": HARM}},
        error_y=_error(known, HARM, theme),
        customdata=_notes(known),
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_xaxes(
        type="log",
        range=_log_range(known["q"]),
        tickvals=known["q"].tolist(),
        ticktext=[f"{100 * q:.7f}".rstrip("0").rstrip(".") + " %" for q in known["q"]],
        title_text="q, share of scored weights pruned before tuning",
    )
    figure.update_yaxes(title_text="shift, nats per token", tickformat="+.2f", rangemode="tozero", zeroline=True)
    return figure


def training_curves(
    points: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, n_steps: int | None = None
) -> go.Figure:
    """Training loss by step: a line per arm, the mean over its seeds, and each seed faint behind it.

    ``points``: ``label`` (in order), ``role``, ``seed`` (NaN: the mean), ``step``, ``loss``, ``note``. ``n_steps``:
    where training ends, if known.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=440)
    # Below the plot: six arms and more take several lines.
    figure.update_layout(showlegend=True, legend={"y": -0.27, "yanchor": "top", "x": 0, "xanchor": "left"})
    styles = arm_styles(list(zip(points["label"], points["role"], strict=True)))
    for (label, seed), here in points[points["seed"].notna()].groupby(["label", "seed"], sort=False):
        figure.add_scatter(
            x=here["step"],
            y=here["loss"],
            mode="lines",
            showlegend=False,
            hoverinfo="skip",
            name=broken(f"{label}, seed {seed:g}", 60),
            line={"color": rgba(styles[label][0], 0.2), "width": theme.scale},
        )
    for label, (colour, _, dash) in styles.items():
        mean = points[(points["label"] == label) & points["seed"].isna()]
        figure.add_scatter(
            x=mean["step"],
            y=mean["loss"],
            mode="lines+markers" if len(mean) == 1 else "lines",
            name=broken(label, 60),
            line={"color": colour, "dash": dash, "width": 2.2 * theme.scale},
            customdata=_notes(mean),
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_xaxes(title_text="step", **({"range": [0.5, n_steps + 0.5]} if n_steps else {}))
    figure.update_yaxes(title_text="training loss, nats per token", zeroline=False)
    return figure


def change_chart(marks: pd.DataFrame, seeds: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """One line per set of weights: how much of the change falls on it, in multiples of chance; grey bar: range of
    random draws.

    ``marks``: ``set`` (label, in order), ``label`` (of the arm), ``role``, ``value``, ``ci_low``, ``ci_high``,
    ``chance_low``, ``chance_high`` (multiples of chance too), ``note``. ``seeds``: ``set``, ``label``, ``role``,
    ``value``, ``note``.
    """
    sets, arms = list(dict.fromkeys(marks["set"])), list(dict.fromkeys(marks["label"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=150 + 66 * len(sets), legend=True)
    styles = arm_styles(list(zip(marks["label"], marks["role"], strict=True)))
    place = {(s, a): i + 0.28 * (k - (len(arms) - 1) / 2) for i, s in enumerate(sets) for k, a in enumerate(arms)}
    figure.add_vline(
        x=1,
        line={"color": theme.quiet, "width": 1, "dash": "dot"},
        annotation_text="chance",
        annotation_position="bottom right",
    )
    drawn = marks[marks["chance_low"].notna() & marks["chance_high"].notna()]
    at = [place[k] for k in zip(drawn["set"], drawn["label"], strict=True)]
    figure.add_bar(
        x=drawn["chance_high"] - drawn["chance_low"],
        base=drawn["chance_low"],
        y=at,
        orientation="h",
        width=0.16,
        name="random draws",
        marker={"color": rgba(CONTROL, 0.45), "line": {"width": 0}},
        hoverinfo="skip",
    )
    for label in arms:
        here, own = (
            marks[(marks["label"] == label) & marks["value"].notna()],
            seeds[(seeds["label"] == label) & seeds["value"].notna()],
        )
        colour, symbol, _ = styles[label]
        figure.add_scatter(
            x=own["value"],
            y=[place[s, label] + 0.09 for s in own["set"]],
            mode="markers",
            showlegend=False,
            name=broken(f"{label}, each seed", 60),
            marker={"size": 5.5 * theme.scale, "color": rgba(colour, 0.6)},
            customdata=_notes(own),
            hovertemplate="%{customdata}<extra></extra>",
        )
        _marks(figure, here, [place[s, label] for s in here["set"]], colour, symbol, label, theme)
    _lines(figure, sets, theme)
    figure.update_xaxes(title_text="times as much as chance", rangemode="tozero", zeroline=True)
    return figure


def _log_range(fractions: pd.Series) -> list[float] | None:
    """Around all fractions, with room for the band's label at the left."""
    if fractions.empty:
        return None
    low, high = math.log10(fractions.min()), math.log10(fractions.max())
    room = max(0.3, 0.35 * (high - low))
    return [low - room, high + room / 2]


def _marks(
    figure: go.Figure, rows: pd.DataFrame, y: Sequence[float], colour: str, symbol: str, name: str, theme: Theme
) -> None:
    figure.add_scatter(
        x=rows["value"],
        y=list(y),
        mode="markers",
        name=broken(name, 60),
        error_x=_error(rows, colour, theme),
        marker={
            "symbol": symbol,
            "size": 12 * theme.scale,
            "color": colour,
            "line": {"width": 2 if "open" in symbol else 0, "color": colour},
        },
        customdata=_notes(rows),
        hovertemplate="%{customdata}<extra></extra>",
    )


def _error(rows: pd.DataFrame, colour: str, theme: Theme) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows["ci_high"] - rows["value"],
        "arrayminus": rows["value"] - rows["ci_low"],
        "color": rgba(colour, 0.55),
        "thickness": 2.5 * theme.scale,
        "width": 0,
    }


def _notes(rows: pd.DataFrame) -> list[str]:
    return [broken(str(t), 64) for t in rows["note"]]


def _lines(figure: go.Figure, labels: Sequence[str], theme: Theme) -> None:
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=[broken(str(label), 34) for label in labels],
        range=[len(labels) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )

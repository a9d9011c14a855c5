"""The double dissociation: what each of two masks takes away, ability by ability, on one axis; and levels before and
after.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.labels import broken, headings
from harmviz.display.style import BENIGN, CONTROL, HARM, REFUSAL, Theme, framed, rgba

COLOURS = {"harm": HARM, "refusal": REFUSAL, "benign": BENIGN, "random": CONTROL, "benign_signed": CONTROL}
_SYMBOLS = {"random": "circle-open", "benign_signed": "square-open"}
_NAMES = {
    "harm": "harm mask",
    "refusal": "refusal mask",
    "benign": "harmless text",
    "random": "random mask",
    "benign_signed": "benign-signed mask",
    "intact": "intact",
    "matched": "harm mask, matched",
}
_GAP = 0.035


def double_dissociation(
    points: pd.DataFrame,
    theme: Theme,
    *,
    title: str,
    subtitle: str,
    panels: dict[str, str],
    x_range: tuple[float, float],
) -> go.Figure:
    """One panel per mask, one line per ability: dot = change in SDs, bar = 95 % interval, grey = controls, hatched =
    not testable.

    ``points``: ``panel`` (key of ``panels``), ``row`` (labels, in order), ``mark`` (a key of ``COLOURS``), ``value``
    (NaN: not measured), ``low``, ``high``, ``testable`` (bool, alike for a row), ``note`` (for hovering). ``panels``:
    heading of each panel, in order.
    """
    rows = list(dict.fromkeys(points["row"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=182 + 49 * len(rows))
    axis = {k: v for k, v in figure.layout.xaxis.to_plotly_json().items() if k != "title"}
    width = (1 - _GAP * (len(panels) - 1)) / len(panels)
    untested = [rows.index(str(r)) for r in dict.fromkeys(points[~points["testable"]]["row"])]
    shapes, notes = [], []
    for number, (key, heading) in enumerate(panels.items(), start=1):
        suffix = "" if number == 1 else str(number)
        start = (width + _GAP) * (number - 1)
        figure.update_layout(
            {
                f"xaxis{suffix}": {
                    **axis,
                    "domain": [start, start + width],
                    "anchor": "y",
                    "range": list(x_range),
                    "tickformat": "~g",
                    "zeroline": False,
                    "fixedrange": True,
                    "title": {
                        "text": "← less of it · more of it →",
                        "font": {"color": theme.quiet, "size": 13.5 * theme.scale},
                    },
                }
            }
        )
        shapes.append(
            {
                "type": "line",
                "x0": 0,
                "x1": 0,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "xref": f"x{suffix}",
                "line": {"color": theme.ink, "width": 1.2},
            }
        )
        part = points[points["panel"] == key]
        for mark in dict.fromkeys(part["mark"]):
            _marks(figure, part[part["mark"] == mark], rows, str(mark), suffix, theme)
        notes.append(
            {
                "text": broken(heading, 58),
                "x": start,
                "xref": "paper",
                "xanchor": "left",
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "yshift": 6 * theme.scale,
                "align": "left",
                "showarrow": False,
                "font": {"size": 15 * theme.scale, "weight": 600, "color": theme.ink},
            }
        )
        for place in untested:
            figure.add_bar(
                x=[x_range[1] - x_range[0]],
                base=[x_range[0]],
                y=[place],
                orientation="h",
                width=0.86,
                xaxis=f"x{suffix}",
                yaxis="y",
                showlegend=False,
                hoverinfo="skip",
                name="not testable",
                marker={
                    "color": "rgba(0,0,0,0)",
                    "line": {"width": 0},
                    "pattern": {"shape": "/", "size": 9, "solidity": 0.12, "fgcolor": CONTROL, "fillmode": "overlay"},
                },
            )
            notes.append(
                {
                    "text": "not testable on this model",
                    "x": x_range[0],
                    "xref": f"x{suffix}",
                    "xanchor": "left",
                    "y": place - 0.29,
                    "yref": "y",
                    "xshift": 6,
                    "showarrow": False,
                    "bgcolor": theme.paper,
                    "borderpad": 1,
                    "font": {"size": 12.5 * theme.scale, "color": theme.quiet},
                }
            )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[broken(r, 24) for r in rows],
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        tickfont={"color": theme.ink, "size": 14.5 * theme.scale},
        ticks="",
    )
    top = figure.layout.margin.t + 46 * theme.scale
    figure.update_layout(shapes=shapes, annotations=notes, margin_t=round(top), barmode="overlay")
    return figure


def _marks(figure: go.Figure, part: pd.DataFrame, rows: list[str], mark: str, suffix: str, theme: Theme) -> None:
    """The marks of one mask or control in one panel; faint and hollow where the ability cannot be tested."""
    control = mark in _SYMBOLS
    for testable in (True, False):
        some = part[(part["testable"] == testable) & part["value"].notna()]
        if some.empty:
            continue
        colour = COLOURS[mark]
        offset = {"random": 0.2, "benign_signed": 0.34}.get(mark, 0.0)
        figure.add_scatter(
            x=some["value"],
            y=[rows.index(str(r)) + offset for r in some["row"]],
            mode="markers",
            xaxis=f"x{suffix}",
            yaxis="y",
            name=_NAMES[mark] + ("" if testable else ", not testable"),
            showlegend=False,
            marker={
                "symbol": _SYMBOLS.get(mark, "circle" if testable else "circle-open"),
                "size": (9 if control else 15) * theme.scale,
                "color": colour if testable else rgba(colour, 0.55),
                "line": {"width": 2, "color": colour if testable else rgba(colour, 0.55)},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": some["high"] - some["value"],
                "arrayminus": some["value"] - some["low"],
                "color": rgba(colour, 0.6 if testable and not control else 0.4),
                "thickness": (2 if control else 4) * theme.scale,
                "width": 0,
            },
            customdata=[broken(str(t), 60) for t in some["note"]],
            hovertemplate="%{customdata}<extra></extra>",
        )


def levels(
    points: pd.DataFrame,
    theme: Theme,
    *,
    title: str,
    subtitle: str,
    unit: str,
    x_range: tuple[float, float] | None,
    reference: float | None = None,
) -> go.Figure:
    """One line per thing measured, one mark per mask: ring in ink = intact, dots = masks, grey = controls; bars = 95 %
    intervals.

    ``points``: ``row`` (in order), ``mark`` (``intact``, ``harm``, ``refusal``, ``random``, ``benign_signed``),
    ``value``, ``low``, ``high``, ``note``.
    ``reference``: a value that a dashed line marks (chance).
    """
    rows = list(dict.fromkeys(points["row"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=170 + 62 * len(rows))
    figure.update_layout(showlegend=True)
    marks = [m for m in ("intact", "harm", "refusal", "random", "benign_signed") if (points["mark"] == m).any()]
    for place, mark in enumerate(marks):
        part = points[(points["mark"] == mark) & points["value"].notna()]
        colour = theme.ink if mark == "intact" else COLOURS[mark]
        figure.add_scatter(
            x=part["value"],
            y=[rows.index(str(r)) + (place - (len(marks) - 1) / 2) * 0.16 for r in part["row"]],
            mode="markers",
            name=_NAMES[mark],
            marker={
                "symbol": "circle-open" if mark == "intact" else _SYMBOLS.get(mark, "circle"),
                "size": 10 * theme.scale,
                "color": colour,
                "line": {"width": 2, "color": colour},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["value"],
                "arrayminus": part["value"] - part["low"],
                "color": rgba(colour, 0.5),
                "thickness": 2.5 * theme.scale,
                "width": 0,
            },
            customdata=[broken(str(t), 60) for t in part["note"]],
            hovertemplate="%{customdata}<extra></extra>",
        )
    if reference is not None:
        figure.add_vline(x=reference, line={"color": theme.quiet, "width": 1.2, "dash": "dash"})
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[broken(r, 40) for r in rows],
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    figure.update_xaxes(title_text=broken(unit, 80), range=x_range, zeroline=False)
    below = {
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "x": 0,
        "xanchor": "left",
        "font": {"size": 13.5 * theme.scale},
    }
    figure.update_layout(legend=below, margin_b=round(78 * theme.scale))
    return figure

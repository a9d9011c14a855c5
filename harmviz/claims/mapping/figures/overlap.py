"""How much the masks of two sets have in common: every pair as a grid, and like compared with like on one axis."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from harmviz.display.labels import broken, headings
from harmviz.display.style import BENIGN, CONTROL, HARM, Theme, framed, rgba

#: What a group of the comparison is, and how it is drawn. A ceiling is ink: the set with itself.
KINDS = ("harm", "text", "ceiling", "chance")


def jaccard_grid(cells: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """Set × set: colour = Jaccard of the full masks. The diagonal is empty and outlined: it holds the ceiling, which
    compares half-sample masks and is therefore not on the colour scale.

    ``cells``: ``row``, ``column`` (labels, in order of first appearance), ``value`` (Jaccard), ``text`` (in the cell),
    ``note`` (on hover), ``ceiling`` (bool), ``harm`` (bool: both are harm types).
    """
    rows, columns = list(dict.fromkeys(cells["row"])), list(dict.fromkeys(cells["column"]))
    figure = framed(theme, *headings(title, subtitle, theme), height=130 + column_label_px(columns) + 39 * len(rows))
    pairs, ceilings = cells[~cells["ceiling"]], cells[cells["ceiling"]]
    size = min(13.5, 118 / len(columns)) * theme.scale  # cells grow narrower with every column
    shown = {
        name: pairs.pivot(index="row", columns="column", values=name).reindex(index=rows, columns=columns)
        for name in ("value", "text", "note")
    }
    figure.add_heatmap(
        z=shown["value"].to_numpy(dtype=float),
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        text=_written(shown["text"]),
        customdata=_written(shown["note"]),
        texttemplate="%{text}",
        textfont={"size": size},
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=theme.harm_scale,
        zmin=0.0,
        zmax=max(float(pairs["value"].max()) if pairs["value"].notna().any() else 0.0, 1e-9),
        xgap=2,
        ygap=2,
        colorbar={
            "thickness": 10 * theme.scale,
            "outlinewidth": 0,
            "tickformat": ".2~%",
            "nticks": 5,
            "tickfont": {"color": theme.quiet, "size": 13 * theme.scale},
            "title": {"text": "Jaccard", "font": {"color": theme.quiet, "size": 13 * theme.scale}},
        },
    )
    figure.add_scatter(
        x=[columns.index(c) for c in ceilings["column"]],
        y=[rows.index(r) for r in ceilings["row"]],
        mode="text",
        name="ceiling",
        text=[broken(t, 40) for t in ceilings["text"]],
        textfont={"size": size, "color": theme.quiet},
        customdata=[broken(t, 60) for t in ceilings["note"]],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    outline(
        figure,
        [(columns.index(c), rows.index(r)) for c, r in zip(ceilings["column"], ceilings["row"], strict=True)],
        theme,
        dash="dot",
    )
    grid_axes(figure, rows, columns, theme)
    n_harm = len({c for c, harm in zip(cells["column"], cells["harm"], strict=True) if harm})
    if n_harm < len(columns):
        figure.add_vline(x=n_harm - 0.5, line={"color": theme.quiet, "width": 1.5})
    return figure


def like_with_like(dots: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """One line per kind of pair: a dot per pair, its whisker from lowest to highest, an ink tick at the mean.

    ``dots``: ``group`` (label, in order), ``kind`` (one of ``KINDS``), ``value``, ``low``, ``high``, ``note``,
    ``mean`` (of the group), ``mean_text``.
    """
    groups = dots.drop_duplicates("group")
    figure = framed(theme, *headings(title, subtitle, theme), height=120 + 58 * len(groups))
    colours = {"harm": HARM, "text": BENIGN, "ceiling": theme.ink, "chance": CONTROL}
    for place, first in enumerate(groups.itertuples()):
        part = dots[dots["group"] == first.group].sort_values("value", kind="stable")
        y = [
            place + 0.52 * (((i * 0.618034) % 1) - 0.5) for i in range(len(part))
        ]  # spread evenly, the same every time
        colour = colours[str(first.kind)]
        hollow = first.kind == "ceiling"
        figure.add_scatter(
            x=part["value"],
            y=y,
            mode="markers",
            name=str(first.group),
            marker={
                "size": 8 * theme.scale,
                "color": theme.paper if hollow else rgba(colour, 0.75),
                "line": {"width": 1.5 if hollow else 0, "color": colour},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["value"],
                "arrayminus": part["value"] - part["low"],
                "color": rgba(colour, 0.28),
                "thickness": 1.5 * theme.scale,
                "width": 0,
            },
            customdata=[broken(t, 60) for t in part["note"]],
            hovertemplate="%{customdata}<extra></extra>",
        )
        figure.add_scatter(
            x=[first.mean],
            y=[place],
            mode="markers",
            name=f"mean of {first.group}",
            hoverinfo="skip",
            marker={
                "symbol": "line-ns-open",
                "size": 34 * theme.scale,
                "color": theme.ink,
                "line": {"width": 2.5 * theme.scale},
            },
        )
    labels = [
        f"{broken(str(g.group), 60)}<br><span style='color:{theme.quiet}'>{broken(str(g.mean_text), 60)}</span>"
        for g in groups.itertuples()
    ]
    figure.update_yaxes(
        tickvals=list(range(len(groups))),
        ticktext=labels,
        range=[len(groups) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        tickfont={"color": theme.ink, "size": 14 * theme.scale},
    )
    figure.update_xaxes(title_text="Jaccard of half-sample masks", tickformat=".2~%", rangemode="tozero", zeroline=True)
    return figure


def outline(figure: go.Figure, cells: list[tuple[int, int]], theme: Theme, *, dash: str = "solid") -> None:
    """Draws a frame around cells of a grid, given as (column, row)."""
    line = {"color": theme.ink, "width": 2} if dash == "solid" else {"color": theme.quiet, "width": 1.2, "dash": dash}
    figure.update_layout(
        shapes=[
            {
                "type": "rect",
                "x0": c - 0.47,
                "x1": c + 0.47,
                "y0": r - 0.45,
                "y1": r + 0.45,
                "line": {"dash": "solid", **line},
            }
            for c, r in cells
        ]
    )


def column_label_px(columns: list[str]) -> int:
    """Height of the column labels at scale 1: two level lines, or one slanted line where they would touch."""
    return 62 if _slanted(columns) else 30


def _slanted(columns: list[str]) -> bool:
    return len(columns) * max((len(part) for c in columns for part in broken(c, 13).split("<br>")), default=0) > 80


def grid_axes(figure: go.Figure, rows: list[str], columns: list[str], theme: Theme) -> None:
    """Names the rows, top to bottom, and the columns, below the grid, of a heatmap drawn on whole numbers."""
    font = {"color": theme.ink, "size": (13.5 if len(columns) <= 10 else 12) * theme.scale}
    slanted = _slanted(columns)
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[broken(c, 40 if slanted else 13) for c in columns],
        tickfont=font,
        showgrid=False,
        zeroline=False,
        range=[-0.5, len(columns) - 0.5],
        tickangle=-30 if slanted else 0,
        ticks="",
        fixedrange=True,
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[broken(r, 24) for r in rows],
        tickfont=font,
        showgrid=False,
        zeroline=False,
        range=[len(rows) - 0.5, -0.5],
        fixedrange=True,
        ticks="",
    )


def _written(table: pd.DataFrame) -> list[list[str]]:
    return [["" if pd.isna(t) else broken(str(t), 60) for t in row] for row in table.to_numpy(dtype=object)]

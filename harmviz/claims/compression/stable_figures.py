"""Differences at fixed fractions beside those of the controls, and the index under a limit as the limit moves."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from harmviz.claims.compression.figures import HOVER, arm_styles, dots, interval, marker, marks, notes
from harmviz.display.labels import broken, headings
from harmviz.display.style import Theme, framed, rgba

#: Panel → (suffix of its axes, share of the width it takes, title of its axis).
_PANELS = {
    "nats": ("", (0.0, 0.64), "difference, nats per token"),
    "ratio": ("2", (0.76, 1.0), "difference of the ratio"),
}


def fixed_chart(rows: pd.DataFrame, seeds: pd.DataFrame, theme: Theme, *, title: str, subtitle: str) -> go.Figure:
    """Two panels: differences in nats, and of the ratio. A mark an arm and fraction with its interval, dots by seed.

    ``rows``: ``panel`` (``nats`` or ``ratio``), ``place`` (0, 1, … inside it), ``label`` (of the place), ``arm``,
    ``role`` (one of ``figures.ROLES``), ``value`` (NaN: nothing is drawn), ``ci_low``, ``ci_high``, ``note``.
    ``seeds``: ``panel``, ``place``, ``arm``, ``value``, ``note``.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=430, legend=True)
    figure.update_layout(xaxis2=figure.layout.xaxis, yaxis2=figure.layout.yaxis)
    styles = arm_styles(rows, theme)
    step = min(0.2, 0.56 / len(styles)) if styles else 0.0
    for panel, (suffix, _, _) in _PANELS.items():
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        for k, (arm, style) in enumerate(styles.items()):
            of_arm, of_seeds = (f[(f["arm"] == arm) & (f["panel"] == panel)] for f in (rows, seeds))
            shift = (k - (len(styles) - 1) / 2) * step
            dots(figure, of_seeds, of_seeds["place"] + shift, style.colour, f"{arm}, {panel}, each seed", theme, **axes)
            name = arm if panel == "nats" else f"{arm}, {panel}"
            marks(figure, of_arm, of_arm["place"] + shift, style, name, theme, **axes, showlegend=panel == "nats")
    for panel, (suffix, domain, y_title) in _PANELS.items():
        labels = rows[rows["panel"] == panel].drop_duplicates("place").sort_values("place")
        figure.update_layout(
            {
                f"xaxis{suffix}": {
                    "domain": domain,
                    "anchor": f"y{suffix}",
                    "tickvals": labels["place"].tolist(),
                    "ticktext": [broken(str(t), 16) for t in labels["label"]],
                    "range": [-0.5, len(labels) - 0.5],
                    "showgrid": False,
                    "zeroline": False,
                    "tickfont": {"color": theme.ink, "size": 14 * theme.scale},
                },
                f"yaxis{suffix}": {"anchor": f"x{suffix}", "title": {"text": y_title}, "zeroline": True}
                | {"tickformat": "+.2~f"},
            }
        )
        if not rows[(rows["panel"] == panel)]["value"].notna().any():
            _say_nothing(figure, suffix, theme)
    return figure


def _say_nothing(figure: go.Figure, suffix: str, theme: Theme) -> None:
    """An empty panel says why, instead of an axis without marks."""
    figure.update_layout({f"yaxis{suffix}": {"showticklabels": False, "range": [-1, 1]}})
    figure.add_annotation(
        text="not defined:<br>benign ΔL<br>is not clear of 0",
        x=0.5,
        y=0.75,
        xref=f"x{suffix} domain",
        yref="paper",
        showarrow=False,
        font={"color": theme.quiet, "size": 14 * theme.scale},
    )


def limit_curve(
    rows: pd.DataFrame, seeds: pd.DataFrame, theme: Theme, *, title: str, subtitle: str, used: float
) -> go.Figure:
    """The difference of the index under a limit over that limit, a line an arm with intervals; ``used``: the limit in
    use, dotted.

    ``rows``: ``limit``, ``arm``, ``role``, ``value``, ``ci_low``, ``ci_high``, ``note``. ``seeds``: ``limit``, ``arm``,
    ``value``, ``note``.
    """
    figure = framed(theme, *headings(title, subtitle, theme), height=400, legend=True)
    styles = arm_styles(rows, theme)
    for k, (arm, style) in enumerate(styles.items()):
        away = 1.03 ** (k - (len(styles) - 1) / 2)
        curve = rows[rows["arm"] == arm].sort_values("limit")
        of_seeds = seeds[seeds["arm"] == arm]
        figure.add_scatter(
            x=of_seeds["limit"] * away * 1.012,
            y=of_seeds["value"],
            mode="markers",
            name=f"{broken(arm, 60)}, each seed",
            showlegend=False,
            marker={"symbol": "circle", "size": 5 * theme.scale, "color": rgba(style.colour, 0.5)},
            customdata=notes(of_seeds),
            hovertemplate=HOVER,
        )
        figure.add_scatter(
            x=curve["limit"] * away,
            y=curve["value"],
            mode="lines+markers",
            name=broken(arm, 60),
            line={"color": rgba(style.colour, 0.7), "dash": style.dash, "width": 1.8 * theme.scale},
            marker=marker(style.symbol, style.colour, 9 * theme.scale, 1.5),
            error_y=interval(curve, rgba(style.colour, 0.45), 2 * theme.scale),
            customdata=notes(curve),
            hovertemplate=HOVER,
        )
    figure.add_vline(x=used, line={"color": theme.quiet, "width": 1, "dash": "dot"})
    limits = sorted(set(rows["limit"]))
    axis: dict[str, Any] = {"tickvals": limits, "ticktext": [f"{limit:g}" for limit in limits]}
    figure.update_xaxes(type="log", title_text="largest benign ΔL allowed, nats per token (dotted: in use)", **axis)
    figure.update_yaxes(title_text="difference to the start, nats", tickformat="+.2f", zeroline=True)
    return figure

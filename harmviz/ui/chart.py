"""Draws one figure the way every page does: the picture, how to read it, and what can be saved of it.

The camera in the chart's corner saves the picture as PNG or SVG, whichever is chosen under *Save*; the numbers behind
it come as CSV, every column of every row that was drawn.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.elements.plotly_chart import PlotlyState

from harmviz.display import glossary
from harmviz.display.picture import Picture
from harmviz.ui import frame

_UNUSED = ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "zoom2d"]


def show(picture: Picture, *, selectable: bool = False) -> PlotlyState | None:
    """Draws a claim's picture; the selection where ``selectable``."""
    words = picture.words
    return draw(
        picture.figure,
        key=picture.key,
        table=picture.table,
        how_to_read=words.reading,
        alt=words.alt,
        selectable=selectable,
    )


def draw(
    figure: go.Figure, *, key: str, table: pd.DataFrame, how_to_read: str, alt: str, selectable: bool = False
) -> PlotlyState | None:
    """Draws ``figure`` with its line on how to read it and its *Save* menu; the selection where ``selectable``.

    Args:
        key: names the chart and its files; unique on the page.
        table: the numbers behind the picture.
        how_to_read: one or two plain sentences: what a mark is, what to look for, what it does not say.
        alt: what the picture shows, for readers who cannot see it.
    """
    kind = st.session_state.get(f"{key}-format", "PNG")
    config: dict[str, Any] = {
        "displaylogo": False,
        "modeBarButtonsToRemove": _UNUSED,
        "toImageButtonOptions": {
            "format": kind.lower(),
            "filename": f"harmviz-{key}",
            "scale": 2 if kind == "PNG" else 1,
        },
    }
    options: dict[str, Any] = {"width": "stretch", "theme": None, "key": f"{key}-chart", "config": config, "alt": alt}
    state: PlotlyState | None = None
    if selectable:
        chosen = st.plotly_chart(figure, on_select="rerun", selection_mode="points", **options)
        state = chosen if chosen else None
    else:
        st.plotly_chart(figure, **options)
    below = st.container(
        horizontal=True, wrap=False, vertical_alignment="top"
    )  # the menu keeps its width, however narrow the chart
    with below:
        frame.html(
            f'<div class="hv hv-read quiet small"><b>How to read it.</b> {glossary.explained(how_to_read)}</div>'
        )
    with below, st.popover("Save", icon=":material/download:", type="tertiary"):
        st.download_button(
            "Numbers (CSV)",
            data=lambda: table.to_csv(index=False).encode(),
            file_name=f"harmviz-{key}.csv",
            mime="text/csv",
            on_click="ignore",
            key=f"{key}-csv",
            icon=":material/table:",
        )
        st.segmented_control(
            "Picture (camera in the chart's corner)", ["PNG", "SVG"], default="PNG", required=True, key=f"{key}-format"
        )
    return state

"""One picture as a claim draws it: what a page shows, a report holds and a notebook opens. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from harmviz.display.words import Words

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Picture:
    """One picture: ``key`` names it as its page does, ``table`` holds the numbers behind it."""

    key: str
    figure: go.Figure
    table: pd.DataFrame
    words: Words

"""How rates read: whole percents, differences of two rates in points, each with its interval and n. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from harmviz.display import text


def percent(share: float | None) -> str:
    """``31 %``: a rate over some dozen requests is known to no more than whole percents."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.0f} %"


def points(difference: float | None) -> str:
    """``+31 points``: a difference of two percentages."""
    return text.NOT_MEASURED if difference is None else f"{text.signed(100 * difference, 0)} points"


def interval(row: Mapping[str, Any], *, difference: bool = False) -> str:
    """``20 % … 43 %``, of a difference ``+20 … +43``; "no interval" where there is none."""
    if pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return "no interval"
    if difference:
        return f"{text.signed(100 * row['ci_low'], 0)} … {text.signed(100 * row['ci_high'], 0)}"
    return f"{percent(row['ci_low'])} … {percent(row['ci_high'])}"


def reads(row: Mapping[str, Any] | None, *, difference: bool = False) -> str:
    """``31 % (20 % … 43 %, n = 64)``; "not measured" without a row."""
    if row is None:
        return text.NOT_MEASURED
    value = points(row["value"]) if difference else percent(row["value"])
    n = "" if pd.isna(row["n"]) else f", n = {int(row['n'])}"
    return f"{value} ({interval(row, difference=difference)}{n})"


def side_of_zero(row: Mapping[str, Any] | None) -> int:
    """1 or −1 where the interval lies above or below 0, else 0."""
    if row is None or pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return 0
    return int(row["ci_low"] > 0) - int(row["ci_high"] < 0)

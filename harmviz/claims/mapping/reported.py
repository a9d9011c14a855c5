"""The numbers that sentences quote: report-prompt rows at each selection's chosen point, and how they read. Pure functions."""

from __future__ import annotations

import pandas as pd

from harmviz.claims.mapping.headline import at, chosen_point
from harmviz.display import text
from harmviz.runs import Run

#: A space at which no line breaks.
_TOGETHER = "\N{NO-BREAK SPACE}"


class Reported:
    """The report-prompt rows at each selection's chosen point: what the sentences quote."""

    def __init__(self, run: Run, results: pd.DataFrame):
        metrics = results["metric"].isin(["delta_nll", "harm_specific"])
        rows = results[
            (results["experiment"] == "effect") & metrics & results["condition"].isna() & results["value"].notna()
        ]
        self._rows: dict[tuple[str, str, str, str], pd.Series] = {}
        for contrast in ("none", "both"):
            if (point := chosen_point(run, contrast)) is None:
                continue
            here = at(rows, point)
            for _, row in here[here["category"].isin(["harm", "safe", "benign", "benign_own"])].iterrows():
                self._rows[contrast, str(row["category"]), str(row["metric"]), str(row["control"])] = row

    def row(self, contrast: str, category: str, metric: str = "delta_nll", control: str = "none") -> pd.Series | None:
        """The row of this measurement, or None where the run has none."""
        return self._rows.get((contrast, category, metric, control))


def reads(row: pd.Series | None, digits: int = 2) -> str:
    """``+0.35 (+0.31 … +0.39, n = 82)``; "not measured" without a row."""
    if row is None:
        return text.NOT_MEASURED
    inside = (
        [] if pd.isna(row["ci_low"]) else [text.interval(row["ci_low"], row["ci_high"], digits).replace(" ", _TOGETHER)]
    )
    inside += [] if pd.isna(row["n"]) else [f"n = {int(row['n'])}".replace(" ", _TOGETHER)]
    return text.signed(float(row["value"]), digits) + (f" ({', '.join(inside)})" if inside else "")


def value(row: pd.Series | None, digits: int = 2) -> str:
    return text.NOT_MEASURED if row is None else text.signed(float(row["value"]), digits)


def first_contrast(run: Run) -> str:
    """The selection that the lessons show where one is enough: contrastive where the run chose a point for it."""
    return "both" if chosen_point(run, "both") is not None else "none"

"""The numbers that sentences quote: report-prompt rows at each selection's chosen point, and how they read. Pure."""

from __future__ import annotations

import pandas as pd

from harmviz.claims.mapping.headline import CHOSEN, chosen_point, rows_at_chosen
from harmviz.display import text
from harmviz.runs import Run

#: A space at which no line breaks.
_TOGETHER = "\N{NO-BREAK SPACE}"
_SETS = ("harm", "safe", "benign", "benign_own")


class Reported:
    """The report-prompt rows at each selection's chosen point: what the sentences quote."""

    def __init__(self, run: Run, results: pd.DataFrame):
        metrics = results["metric"].isin(["delta_nll", "harm_specific"]) & results["category"].isin(_SETS)
        report = (results["experiment"] == "effect") & results["condition"].isna() & results["value"].notna()
        self._rows: dict[tuple[str, str, str, str], pd.Series] = {
            (contrast, str(row["category"]), str(row["metric"]), str(row["control"])): row
            for contrast in CHOSEN
            for _, row in rows_at_chosen(run, results[report & metrics], contrast).iterrows()
        }

    def row(self, contrast: str, category: str, metric: str = "delta_nll", control: str = "none") -> pd.Series | None:
        """The row of this measurement, or None where the run has none."""
        return self._rows.get((contrast, category, metric, control))


def reads(row: pd.Series | None, digits: int = 2) -> str:
    """``+0.35 (+0.31 … +0.39, n = 82)``; "not measured" without a row."""
    if row is None:
        return text.NOT_MEASURED
    interval = "" if pd.isna(row["ci_low"]) else text.interval(row["ci_low"], row["ci_high"], digits)
    n = "" if pd.isna(row["n"]) else f"n = {int(row['n'])}"
    beside = ", ".join(part.replace(" ", _TOGETHER) for part in (interval, n) if part)
    return value(row, digits) + (f" ({beside})" if beside else "")


def value(row: pd.Series | None, digits: int = 2) -> str:
    """``+0.35``; "not measured" without a row."""
    return text.NOT_MEASURED if row is None else text.signed(float(row["value"]), digits)


def first_contrast(run: Run) -> str:
    """The selection that the lessons show where one is enough: contrastive where the run chose a point for it."""
    return "both" if chosen_point(run, "both") is not None else "none"

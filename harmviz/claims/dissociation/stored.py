"""A stored dissociation experiment, looked up by what its rows measure; and the abilities that it compares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

HARM, MATCHED, REFUSAL = "mean(all)", "matched(mean(all))", "refusal"
#: What a reader may choose: which harm mask, and at which strength.
STRENGTHS = {"chosen": "at its chosen point", "matched": "at matched strength"}
UNITS = {"delta_nll": "nats per token", "delta_auc": "of AUC", "delta_refusal_log_odds": "nats of log-odds"}
SIGNS = {"delta_nll": "ΔL ", "delta_auc": "ΔAUC ", "delta_refusal_log_odds": "Δ log-odds "}


@dataclass(frozen=True)
class Ability:
    """One line of the picture.

    ``condition``/``category``: where its rows stand; ``tested``: category of its ``testable`` row; ``raw``: metric of
    the change in its own unit; ``short``: as it stands in a sentence; ``paper``: what the paper claims of the harm
    mask.
    """

    label: str
    condition: str
    category: str
    raw: str
    short: str
    tested: str = ""
    paper: str = ""


ABILITIES = (
    Ability(
        "writes harmful answers",
        "generation",
        "harm",
        "delta_nll",
        "harmful writing",
        paper="falls: it hangs on these weights",
    ),
    Ability(
        "writes harmless answers",
        "generation",
        "benign",
        "delta_nll",
        "harmless writing",
        paper="stays: benign ability hardly uses them",
    ),
    Ability(
        "tells harmful from harmless requests",
        "recognition",
        "all",
        "delta_auc",
        "recognition",
        "all",
        "stays: recognising harm is a mechanism of its own",
    ),
    Ability(
        "finds reasons why a request is harmful",
        "explanation",
        "harmful",
        "delta_nll",
        "explanation",
        paper="stays: explaining harm is not generating it",
    ),
    Ability(
        "declines harmful requests",
        "refusal",
        "harmful",
        "delta_refusal_log_odds",
        "refusal",
        "refusal_log_odds",
        "stays: refusal hangs on other weights (and those not on generation)",
    ),
)


class Stored:
    """An experiment's rows, looked up by what they measure."""

    def __init__(self, results: pd.DataFrame):
        rows = results[(results["experiment"] == "dissociation") & results["value"].notna()]
        self.contrasts = [
            c for c in ("none", "both") if ((rows["contrast"] == c) & (rows["metric"] == "standardised")).any()
        ]
        keys = ["contrast", "mask", "control", "condition", "category", "metric"]
        self._rows: dict[tuple[str, ...], pd.Series] = {}
        for _, row in rows.iterrows():
            self._rows.setdefault(tuple("" if pd.isna(row[k]) else str(row[k]) for k in keys), row)

    def row(
        self, contrast: str, mask: str, control: str, condition: str, category: str, metric: str
    ) -> pd.Series | None:
        """The row of this measurement, or None; the intact model has neither contrast nor mask (``""``)."""
        return self._rows.get((contrast, mask, control, condition, category, metric))

    def intact(self, condition: str, category: str, metric: str) -> pd.Series | None:
        """The intact model's row."""
        return self.row("", "", "none", condition, category, metric)

    def testable(self, condition: str, category: str) -> bool:
        """Whether the intact model has enough of this ability to lose; abilities without such a row always have."""
        row = self.intact(condition, category, "testable")
        return row is None or bool(row["value"])

    def matched(self, contrast: str) -> float | None:
        """The strength at which this selection's mask reduces harm as much as the weaker one's;

        None where none was found.
        """
        row = self.row(contrast, MATCHED, "none", "generation", "harm", "strength")
        return None if row is None else float(row["value"])

    def phrasings(self) -> list[str]:
        """Names of the yes/no questions, in the order stored."""
        return [k[4] for k in self._rows if k[1] == "" and k[3] == "recognition" and k[5] == "auc" and k[4] != "all"]


def numbers_of(row: pd.Series | None) -> dict[str, Any]:
    """``value``, ``low``, ``high``, ``n`` of a row; without an interval its ends are the value."""
    if row is None:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": None}
    ends = {
        k: float(row["value"]) if pd.isna(row[c]) else float(row[c])
        for k, c in (("low", "ci_low"), ("high", "ci_high"))
    }
    return {"value": float(row["value"]), **ends, "n": None if pd.isna(row["n"]) else int(row["n"])}

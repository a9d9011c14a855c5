"""The comparison as lines of tables: for the terminal, documents and reports. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from harmviz.claims.markdown import number
from harmviz.claims.rankings.finding import difference, gain, judged, measured_rankings
from harmviz.claims.rankings.settings import LIMITS, PAPER, words
from harmviz.display import text
from harmviz.runs import Run

GAINS = ("ranking", *(f"benign ΔL {limit:g}" for limit in LIMITS), "against the paper's")
DIFFERENCES = ("minus the paper's", *(f"benign ΔL {limit:g}" for limit in LIMITS))
ALONG = ("ranking", "pruned", "weights", "harm", "safe", "benign", "harm − safe")


def gains(run: Run, results: pd.DataFrame) -> list[list[str]]:
    """A line a ranking: harm − safe where benign answers pay each limit, and the verdict."""
    return [
        [
            words(ranking),
            *(_told(gain(results, ranking, limit)) for limit in LIMITS),
            "" if ranking == PAPER else judged(results, ranking),
        ]
        for ranking in measured_rankings(run, results)
    ]


def differences(run: Run, results: pd.DataFrame) -> list[list[str]]:
    """A line a ranking but the paper's: its gain minus the paper's, drawn together."""
    return [
        [words(ranking), *(_told(difference(results, ranking, limit)) for limit in LIMITS)]
        for ranking in measured_rankings(run, results)
        if ranking != PAPER
    ]


def _told(row: Mapping[str, Any] | None) -> str:
    return "not reached" if row is None or pd.isna(row["value"]) else number(row, 3)


def along(run: Run, results: pd.DataFrame) -> list[list[str]]:
    """A line a ranking and fraction: what each text pays."""
    lines = []
    for ranking in measured_rankings(run, results):
        of_ranking = results[(results["contrast"] == ranking) & results["q"].notna()]
        for q, rows in of_ranking.groupby("q", sort=True):
            shifts = rows[rows["metric"] == "delta_nll"].set_index("category")
            specific = rows[rows["metric"] == "harm_specific"].iloc[0]
            lines.append(
                [
                    words(ranking),
                    text.percent(float(q)),
                    text.count(int(specific["n_weights"])),
                    *(number(dict(shifts.loc[c]), 3) for c in ("harm", "safe", "benign")),
                    number(dict(specific), 3),
                ]
            )
    return lines

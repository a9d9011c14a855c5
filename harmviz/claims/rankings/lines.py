"""The comparison as lines of tables: for the terminal, documents and reports. Pure functions."""

from __future__ import annotations

import pandas as pd

from harmviz.claims.markdown import number
from harmviz.claims.rankings.finding import difference, gain, judged, measured_rankings, told
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
            *(told(results, ranking, limit, gain(results, ranking, limit)) for limit in LIMITS),
            "" if ranking == PAPER else judged(results, ranking),
        ]
        for ranking in run.manifest["method"]["rankings"]
    ]


def differences(run: Run, results: pd.DataFrame) -> list[list[str]]:
    """A line a ranking but the paper's: its gain minus the paper's, drawn together."""
    return [
        [words(ranking), *(_beyond(results, ranking, limit) for limit in LIMITS)]
        for ranking in run.manifest["method"]["rankings"]
        if ranking != PAPER
    ]


def _beyond(results: pd.DataFrame, ranking: str, limit: float) -> str:
    """A difference; which of the two has no gain, where there is none."""
    row, papers = difference(results, ranking, limit), gain(results, PAPER, limit)
    if papers is None or pd.isna(papers["value"]):
        return f"{words(PAPER)}: {told(results, PAPER, limit, papers)}"
    return told(results, ranking, limit, row)


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

"""The comparison as lines of tables: for the terminal, documents and reports. Pure functions."""

from __future__ import annotations

import pandas as pd

from harmviz.claims.markdown import number
from harmviz.claims.rankings.finding import difference, gain, judged, marks, told
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
    return [
        [
            words(mark.ranking),
            text.percent(mark.q),
            text.count(int(mark.specific["n_weights"])),
            *(number(mark.shifts[c], 3) for c in ("harm", "safe", "benign")),
            number(mark.specific, 3),
        ]
        for mark in marks(run, results)
    ]

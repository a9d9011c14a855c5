"""The verdict, by a rule written before any result was looked at. That a limit which the first weights pass has no
gain was added after a first look (see ``gains``).

A ranking *buys more* than the paper's where the difference of their gains lies above 0 by its interval at every limit
that both reach, one at least; *less* where it lies below at every such limit; else *undecided*. The verdict names the
rankings that buy more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from harmviz.claims.claim import Finding
from harmviz.claims.markdown import number, one, pick
from harmviz.claims.rankings.settings import LIMITS, PAPER, words
from harmviz.display import text
from harmviz.runs import Run, frame_to_records

#: Why a ranking has no gain at a limit.
NOT_REACHED, PASSED, NO_WEIGHTS = "not reached", "passed at once", "selects no weight"
MORE, LESS, UNDECIDED = "buys more", "buys less", "undecided"
#: The limit that the sentence tells.
TOLD = 0.05


class Mark(NamedTuple):
    """A ranking at one fraction: the rows of what each text pays, by text, and of harm − safe."""

    ranking: str
    q: float
    shifts: Mapping[str, Mapping[str, Any]]
    specific: Mapping[str, Any]


def marks(run: Run, results: pd.DataFrame) -> Iterator[Mark]:
    """Every ranking at every fraction that was measured, in order. One that selects no weight has none."""
    for ranking in run.manifest["method"]["rankings"]:
        of_ranking = results[(results["contrast"] == ranking) & results["q"].notna()]
        for q, rows in of_ranking.groupby("q", sort=True):
            shifts = {row["category"]: row for row in frame_to_records(rows[rows["metric"] == "delta_nll"])}
            (specific,) = frame_to_records(rows[rows["metric"] == "harm_specific"])
            yield Mark(ranking, float(q), shifts, specific)


def gain(results: pd.DataFrame, ranking: str, limit: float) -> Mapping[str, Any] | None:
    """The row of a ranking's gain at a limit."""
    return one(results, metric=f"gain_at_{limit:g}", contrast=ranking, condition=None)


def difference(results: pd.DataFrame, ranking: str, limit: float) -> Mapping[str, Any] | None:
    """The row of a ranking's gain minus the paper's."""
    return one(results, metric=f"gain_difference_at_{limit:g}", contrast=ranking)


def told(results: pd.DataFrame, ranking: str, limit: float, row: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A gain or a difference in words; why there is none, where there is none."""
    if row is not None and not pd.isna(row["value"]):
        return number(row, digits)
    first = pick(results, metric="delta_nll", contrast=ranking, category="benign").nsmallest(1, "q")
    if first.empty:
        return NO_WEIGHTS
    return PASSED if (first["value"] >= limit).any() else NOT_REACHED


def judged(results: pd.DataFrame, ranking: str) -> str:
    """What the rule says of one ranking against the paper's."""
    rows = [row for limit in LIMITS if (row := difference(results, ranking, limit)) is not None]
    known = [row for row in rows if not pd.isna(row["value"])]
    if not known or any(pd.isna(row["ci_low"]) for row in known):
        return UNDECIDED
    if all(row["ci_low"] > 0 for row in known):
        return MORE
    return LESS if all(row["ci_high"] < 0 for row in known) else UNDECIDED


def finding(run: Run) -> Finding:
    """The verdict of a stored comparison."""
    results = run.results()
    rankings = run.manifest["method"]["rankings"]
    verdicts = {r: judged(results, r) for r in rankings if r != PAPER}
    more = [words(r) for r, verdict in verdicts.items() if verdict == MORE]
    bought = ", ".join(f"{words(r)} {_bought(results, r)}" for r in rankings)
    clear = (
        f"clear of the paper's at every limit that both reach: {', '.join(more)}"
        if more
        else "none is clear of the paper's"
    )
    return Finding(
        ", ".join(more) if more else "none clear",
        f"For {TOLD:g} nats that benign answers pay, harmful ones pay beyond safe ones: {bought}; {clear}.",
        {"verdicts": verdicts},
    )


def _bought(results: pd.DataFrame, ranking: str) -> str:
    """The gain at the limit that the sentence tells, without its interval."""
    row = gain(results, ranking, TOLD)
    if row is None or pd.isna(row["value"]):
        return told(results, ranking, TOLD, row)
    return text.signed(row["value"], 3)

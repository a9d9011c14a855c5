"""A stored result on narrow tuning, looked up by arm and measure; how arms and numbers are called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from harmviz.claims.emergent.arms import ARMS, BASE, dose_of
from harmviz.display import text
from harmviz.runs import Run

#: Column ``control`` of an arm's own rows, and of the rows that compare with that arm.
CONTROLS = {"random-held": "random", "benign-held": "benign_signed"}
VIEWS = {"broad": "far from the domain", "in_domain": "in the domain", "benign": "benign text"}
#: What a shift of each view is measured in.
UNITS = {
    "broad": "shift of the log-odds, nats per token",
    "in_domain": "shift of the log-odds, nats per token",
    "benign": "shift of the loss, nats per token",
}
#: Column ``mask`` of the rows about the parent run's mask.
GENERAL = "general"
#: A row of results by column.
Cells = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Emergent:
    """A stored result.

    ``arms`` in its order, without doses; ``doses``: arm → fraction pruned; both only names known here.
    """

    arms: tuple[str, ...]
    doses: Mapping[str, float]
    kinds: tuple[str, ...]
    seeds: tuple[int, ...]
    domain: str
    n_scored: int
    collapsed: Mapping[str, str]
    rows: Mapping[tuple[str, str, str, str, bool], Cells] = field(repr=False)

    def row(
        self, metric: str, arm: str, category: str, *, control: str | None = None, general: bool = False
    ) -> Cells | None:
        """The row where it was measured.

        ``control``: the arm's own where None is given; ``general``: about the parent's mask.
        """
        own = CONTROLS.get(arm.partition("#")[0], "none") if control is None else control
        result = self.rows.get((metric, arm, category, own, general))
        return None if result is None or pd.isna(result["value"]) else result

    @property
    def tuned(self) -> list[str]:
        """Every arm that was trained, without doses."""
        return [a for a in self.arms if a != BASE]


def emergent(run: Run, results: pd.DataFrame) -> Emergent:
    """The result as its manifest and rows say; names of arms that are not known here are left out."""
    method, parameters = run.manifest["method"], run.manifest["parameters"]
    told = [a for a in _list(method.get("arms")) if isinstance(a, str)]
    doses = {a: q for a in told if (q := dose_of(a)) is not None}
    kinds = [k for k in _list(method.get("kinds")) if isinstance(k, str)]
    seeds = [s for s in _list(parameters.get("seeds")) if isinstance(s, int)]
    collapsed = method.get("collapsed")
    rows: dict[tuple[str, str, str, str, bool], Cells] = {}
    for record in results[results["experiment"] == "emergent"].to_dict("records"):
        row = {str(k): v for k, v in record.items()}
        condition = "" if pd.isna(row["condition"]) else str(row["condition"])
        rows[str(row["metric"]), condition, str(row["category"]), str(row["control"]), row["mask"] == GENERAL] = row
    return Emergent(
        tuple(a for a in told if a in ARMS),
        dict(sorted(doses.items(), key=lambda d: d[1])),
        tuple(kinds),
        tuple(seeds),
        str(parameters.get("domain", "?")),
        int(run.manifest["model"]["n_scored_weights"]),
        {str(k): str(v) for k, v in collapsed.items()} if isinstance(collapsed, Mapping) else {},
        rows,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def role(arm: str) -> str:
    """How an arm is drawn, one of ``figures.emergent.ROLES``."""
    return ARMS[arm][1] if arm in ARMS else "pruned" if dose_of(arm) is not None else "control"


# -- how numbers read -------------------------------------------------------------------------------------------------
def clear(row: Cells | None) -> int:
    """1 or −1 where the interval lies above or below 0, else 0."""
    if row is None or pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return 0
    return int(row["ci_low"] > 0) - int(row["ci_high"] < 0)


def nats(row: Cells | None, digits: int = 2) -> str:
    """``+0.32 nats (+0.25 … +0.40, n = 102)``; "not measured" without a row."""
    if row is None:
        return text.NOT_MEASURED
    n = "" if pd.isna(row["n"]) else f", n = {int(row['n'])}"
    return (
        f"{text.signed(float(row['value']), digits)} nats ({text.interval(row['ci_low'], row['ci_high'], digits)}{n})"
    )


def share(row: Cells | None) -> str:
    """``6 % (1 % … 11 %)``; negative where the arm shifts more."""
    if row is None:
        return text.NOT_MEASURED
    between = "no interval" if pd.isna(row["ci_low"]) else f"{whole(row['ci_low'])} … {whole(row['ci_high'])}"
    return f"{whole(row['value'])} ({between})"


def whole(fraction: float) -> str:
    return f"{round(100 * fraction)} %".replace("-", "−")


def number(row: Cells | None, name: str) -> float:
    return math.nan if row is None or pd.isna(row[name]) else float(row[name])


# -- the main chart ---------------------------------------------------------------------------------------------------
def metric_of(view: str) -> str:
    return "delta_nll" if view == "benign" else "log_odds_shift"

"""How often a mask did what is seen here: of N requests of the same kind, measured in a stored scene or jailbreak run.

Counted are refusals by keywords, a lower bound, of the intact model, the mask and its random control. *Of the same
kind* is a request of the built-in mild set (or of the harmless one), with the same words put into the answer's mouth
(or none), under exactly this mask (same digest) at this strength. Anything else has no count. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from harmviz.claims.jailbreak.attacks import load_attacks
from harmviz.claims.scene.record import MASK
from harmviz.masks.mask import PruneMask
from harmviz.runs import Run


@dataclass(frozen=True)
class Counts:
    """Refusals among ``n`` requests, each a number of requests (a mean where the control has several draws)."""

    n: int
    intact: float
    pruned: float
    control: float | None
    what: str

    def sentence(self) -> str:
        """What was counted, in one sentence."""
        control = "" if self.control is None else f", without as many random ones {_number(self.control)}"
        change = self.pruned - self.intact
        changed = "in none of them on balance" if not change else f"{_number(abs(change))} {_more(change)} on balance"
        return (
            f"Of {self.n} such requests ({self.what}) the intact model declines {_number(self.intact)}, without these "
            f"weights {_number(self.pruned)}{control}: {changed} (by keywords, a lower bound)."
        )


def _more(change: float) -> str:
    return "more" if change > 0 else "fewer"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"


@dataclass(frozen=True)
class Kind:
    """What makes requests alike: whether they are to be declined, the opening words, the mask and its strength."""

    harmful: bool
    opening: str
    mask_digest: str
    strength: float


def counts(runs: Iterable[Run], kind: Kind) -> Counts | None:
    """What the first of these stored runs has counted of this kind; None where none has.

    Raises:
        RunIncompatible: a stored run that would tell is damaged.
    """
    for run in runs:
        reader = {"scene": _of_scene, "jailbreak": _of_jailbreak}.get(str(run.manifest["method"].get("experiment")))
        if kind.strength and reader is not None and (found := reader(run, kind)) is not None:
            return found
    return None


def _of_scene(run: Run, kind: Kind) -> Counts | None:
    opener = str(run.manifest["parameters"]["opener"])
    if MASK not in run.masks() or kind.opening not in ("", opener):
        return None
    if PruneMask.load(run.masks()[MASK]).digest != kind.mask_digest:
        return None
    asked = "opener" if kind.opening else "direct"
    at = asked if kind.strength == 1 else f"{asked}@{kind.strength:g}"
    category, words = ("mild", "mild, built in") if kind.harmful else ("benign", "harmless, built in")
    return _counts(run.results(), category, (asked, at), None, f"{words}{_begun(kind.opening)}")


def _of_jailbreak(run: Run, kind: Kind) -> Counts | None:
    arm = next((a for a in run.manifest["method"]["arms"] if a.get("digest") == kind.mask_digest), None)
    asked = {"": "direct", **{a.opening: a.id for a in load_attacks() if a.id == "prefill"}}.get(kind.opening)
    if arm is None or asked is None or kind.strength != 1 or arm.get("control") != "none":
        return None
    if list(run.manifest["parameters"]["requests"]) != ["builtin"]:
        return None
    category, words = ("harm", "mild, built in") if kind.harmful else ("benign", "harmless, built in")
    return _counts(run.results(), category, (asked, asked), str(arm["contrast"]), f"{words}{_begun(kind.opening)}")


def _begun(opening: str) -> str:
    return f", the answer begun with “{opening}”" if opening else ", asked directly"


def _counts(
    results: pd.DataFrame, category: str, conditions: tuple[str, str], contrast: str | None, what: str
) -> Counts | None:
    """``conditions``: of the intact model, of mask and control; ``contrast``: of the mask, where a run has several."""
    rows = results[(results["metric"] == "refusal_rate") & (results["category"] == category)]
    rows = rows[rows["value"].notna()]
    intact = rows[rows["mask"].isna() & (rows["condition"] == conditions[0])]
    masked = rows[rows["mask"].notna() & (rows["condition"] == conditions[1])]
    if contrast is not None:
        masked = masked[masked["contrast"] == contrast]
    pruned, control = masked[masked["control"] == "none"], masked[masked["control"] == "random"]
    if intact.empty or pruned.empty:
        return None
    n = int(intact.iloc[0]["n"])
    if int(pruned.iloc[0]["n"]) != n:
        return None  # an answer was empty: the two shares are of different requests
    same = not control.empty and int(control.iloc[0]["n"]) == n
    value = float(control.iloc[0]["value"]) * n if same else None
    return Counts(n, float(intact.iloc[0]["value"]) * n, float(pruned.iloc[0]["value"]) * n, value, what)

"""How often a mask did what is seen of it: of N requests of the same kind, as a stored run of some claim counted them.

Counted are requests that are declined, by keywords (a lower bound), or turned away where the run counts that, by the
intact model, the mask and its random control. *Of the same kind* is a request of the built-in mild set (or of the
harmless one), with the same words put into the answer's mouth (or none), under exactly this mask (same digest) at this
strength. Anything else has no count. A claim whose runs count so tells it in ``counts.py``: ``counts(run, kind)``.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from harmviz.claims import CLAIMS, claim_of
from harmviz.runs import Run

#: The claims whose runs count refusals of single requests, in the order in which they are asked.
COUNTING = tuple(name for name, claim in CLAIMS.items() if claim.has_face("counts"))


@dataclass(frozen=True)
class Counts:
    """What was declined among ``n`` requests, each a number of requests (a mean where the control has several draws).

    ``does`` and ``how``: what is counted, as a verb, and by what.
    """

    n: int
    intact: float
    pruned: float
    control: float | None
    what: str
    does: str = "declines"
    how: str = "by keywords, a lower bound"

    def sentence(self) -> str:
        """What was counted, in one sentence."""
        control = "" if self.control is None else f", without as many random ones {_number(self.control)}"
        change = self.pruned - self.intact
        changed = "in none of them on balance" if not change else f"{_number(abs(change))} {_more(change)} on balance"
        return (
            f"Of {self.n} such requests ({self.what}) the intact model {self.does} {_number(self.intact)}, without "
            f"these weights {_number(self.pruned)}{control}: {changed}{f' ({self.how})' if self.how else ''}."
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
        claim = claim_of(run)
        if not kind.strength or claim is None or claim.name not in COUNTING:
            continue
        counted: Counts | None = claim.face("counts").counts(run, kind)
        if counted is not None:
            return counted
    return None


def begun(opening: str) -> str:
    """How the request was put, after a comma."""
    return f", the answer begun with “{opening}”" if opening else ", asked directly"


def counts_in(
    results: pd.DataFrame,
    category: str,
    conditions: tuple[str, str],
    contrast: str | None,
    what: str,
    *,
    metric: str = "refusal_rate",
    **words: str,
) -> Counts | None:
    """What these results count by ``metric``. ``conditions``: of the intact model, of mask and control; ``contrast``:
    of the mask, where a run has several; ``what``: the requests, in words; ``words``: as ``Counts.does`` and ``how``.
    """
    rows = results[(results["metric"] == metric) & (results["category"] == category)]
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
    return Counts(n, float(intact.iloc[0]["value"]) * n, float(pruned.iloc[0]["value"]) * n, value, what, **words)

"""What a result on narrow tuning answers to the paper's claim C7, by this rule.

Where tuning on bad advice does not spread beyond its domain there is nothing to prevent: *not testable*. *Holds* where
the domain's harm weights, pruned first, take off at least ``finding.LARGE`` of the shift with the lower end of the
interval, and more than as many random and benign-signed weights do, intervals apart from 0. *Does not hold* where the
upper end stays below that share, where pruning makes the shift larger, or where a control does clearly more.
*Undecided* otherwise.
"""

from __future__ import annotations

from harmviz.claims.emergent import finding as rule
from harmviz.claims.emergent.arms import BAD, GOOD, PRUNED
from harmviz.claims.emergent.stored import CONTROLS, Cells, Emergent, emergent, nats, share
from harmviz.claims.objection import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    NOT_TESTABLE,
    UNDECIDED,
    Objection,
    above,
    below,
)
from harmviz.display import text
from harmviz.runs import Run

_OBJECTION = "Pruning anything first makes tuning weaker; and tuning on any advice may move these answers."
_NAMES = {"random": "random", "benign_signed": "benign-signed"}


def objections(run: Run) -> list[Objection]:
    """C7, of the domain that was tuned on."""
    result = emergent(run, run.results())
    bad, off = (
        result.row(metric, arm, "broad") for metric, arm in (("log_odds_shift", BAD), ("relative_reduction", PRUNED))
    )
    if bad is None or (off is None and above(bad)):
        return [Objection("C7", "", text.NOT_MEASURED, _OBJECTION, text.NOT_MEASURED, NOT_MEASURED)]
    found = (
        f"bad {result.domain} advice shifts broad log-odds by {nats(bad)}, {len(result.seeds)} seeds; pruning its harm "
        f"weights first takes off {share(off)}"
    )
    against = _against(result)
    parts = [f"minus as many {_NAMES[control]} weights: {nats(row, 3)}" for control, row in against.items()]
    if (good := result.row("difference_from_bad", GOOD, "broad")) is not None:
        parts.append(f"good advice minus bad: {nats(good)}")
    control = "; ".join(parts) or "no control was run"
    return [Objection("C7", "", found, _OBJECTION, control, _verdict(bad, off, against))]


def _against(result: Emergent) -> dict[str, Cells]:
    """Control → how much further the shift falls than with as many of its weights pruned first."""
    rows = {
        control: result.row("excess_over_control", PRUNED, "broad", control=control) for control in CONTROLS.values()
    }
    return {control: row for control, row in rows.items() if row is not None}


def _verdict(bad: Cells, off: Cells | None, against: dict[str, Cells]) -> str:
    if not above(bad):
        return NOT_TESTABLE
    if below(off, rule.LARGE) or any(map(above, against.values())):
        return FAILS
    beyond = len(against) == len(CONTROLS) and all(map(below, against.values()))
    return HOLDS if above(off, rule.LARGE) and beyond else UNDECIDED

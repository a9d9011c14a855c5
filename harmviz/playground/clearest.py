"""The recorded requests in the order in which they show the effect, as the line under the panes tells it.

A recording *reads well* by what was measured (``record.reads_well``). The line that a reader sees beside it rests on
more, the offline judge and repetition (``playground.verdict``), and can say otherwise: that the intact model declines
too, or that the pruned one is stuck. What it does not tell as declined, or answered with something else, is marked as
not showing it and comes last; plain refusals come first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harmviz.claims.scene.record import Recorded
from harmviz.judges import Judge
from harmviz.judges.refusing import usable_judge
from harmviz.playground.panes import PaneLabel
from harmviz.playground.verdict import Kind, verdict

#: What shows it, the clearest first.
KINDS: tuple[Kind, ...] = ("declines", "elsewhere")
_LABELS = (
    PaneLabel("intact", "", "", "intact"),
    PaneLabel("harm", "", "", "mask"),
    PaneLabel("control", "", "", "random"),
)


def kind_of(record: Recorded, judge: Judge | None) -> Kind | None:
    """What the line says of this recording at full strength; None where it says nothing."""
    snapshot = record.snapshot()
    if snapshot is None:
        return None
    shown = verdict(snapshot.panes, _LABELS, prompt=record.prompt, opening=record.opening, harmful=True, judge=judge)
    return None if shown is None else shown.kind


def clearest_first(records: Iterable[Recorded]) -> tuple[Recorded, ...]:
    """The records, ``reads`` only where the line tells it too, in the order above; equal ones in theirs."""
    judge = usable_judge()
    told = [(record, kind_of(record, judge)) for record in records]
    kept = [(replace(record, reads=record.reads and kind in KINDS), kind) for record, kind in told]
    return tuple(record for record, _ in sorted(kept, key=lambda r: (not r[0].reads, r[1] != KINDS[0])))

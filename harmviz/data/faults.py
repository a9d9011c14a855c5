"""What is wrong with the rows of a file: every fault with its row number, the first ones spelled out, all counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harmviz.errors import DataInvalid

#: How many faults are spelled out; the rest is counted by kind.
SPELLED_OUT = 20


class Fault(NamedTuple):
    """One row that cannot be used.

    ``kind`` is what such faults are counted under, ``detail`` what is wrong with this row; neither holds a text.
    """

    row: int
    kind: str
    detail: str


def count_faults(faults: Sequence[Fault]) -> dict[str, int]:
    """Kind → number of rows, the most frequent first. A row with several faults counts under its first."""
    first = {fault.row: fault.kind for fault in reversed(faults)}
    return dict(Counter(first.values()).most_common())


def describe(counts: dict[str, int]) -> str:
    """``2 × column 'response' is empty or not text, 1 × repeated row``"""
    return ", ".join(f"{n:,} × {kind}" for kind, n in counts.items())


def refuse_faults(where: str, faults: Sequence[Fault], *, droppable: bool = True) -> None:
    """Nothing where there is no fault.

    Args:
        droppable: whether the caller takes ``--drop-bad``, which the message then names.

    Raises:
        DataInvalid: there are some; a single one in one line, several in a line each, the rest counted by kind.
    """
    if not faults:
        return
    ordered = sorted(faults, key=lambda fault: fault.row)
    advice = "; mend such rows, or leave them out with --drop-bad" if droppable else "; mend the file"
    if len(ordered) == 1:
        raise DataInvalid(f"{where}, row {ordered[0].row}: {ordered[0].detail}{advice}")
    lines = [f"  row {fault.row}: {fault.detail}" for fault in ordered[:SPELLED_OUT]]
    if rest := ordered[SPELLED_OUT:]:
        lines.append(f"  and {len(rest):,} more: {describe(dict(Counter(f.kind for f in rest).most_common()))}")
    raise DataInvalid("\n".join([f"{where}: {len(ordered):,} faults{advice}", *lines]))

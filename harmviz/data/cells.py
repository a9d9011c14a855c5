"""The text of one cell of a record, or what is wrong with the cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmviz.errors import DataInvalid

#: Stands for a cell that is not there.
MISSING = object()


class Unusable(Exception):
    """A record cannot be used: ``kind`` is what such rows are counted under, ``detail`` says more of this one."""

    def __init__(self, kind: str, detail: str | None = None):
        super().__init__(kind)
        self.kind, self.detail = kind, detail or kind


def text_of(cell: Any, column: str, otherwise: str = "is empty or not text") -> str:
    """The stripped text of a cell.

    Raises:
        Unusable: it is missing, empty, no text (then ``otherwise`` says what), or holds half of a surrogate pair.
    """
    if cell is MISSING:
        raise Unusable(f"column {column!r} is missing")
    if isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell:  # NaN is an empty cell
        raise Unusable(f"column {column!r} holds a number, not text")
    if not isinstance(cell, str) or not cell.strip():
        raise Unusable(f"column {column!r} {otherwise}")
    if any("\ud800" <= c <= "\udfff" for c in cell):
        raise Unusable(f"column {column!r} holds half of a surrogate pair, which is no text")
    return cell.strip()


def texts_of(path: Path, number: int, record: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The texts of one record's columns, stripped.

    Raises:
        DataInvalid: a column is missing, empty, or no text; the message names file, row and column.
    """
    try:
        return [text_of(record.get(column, MISSING), column) for column in columns]
    except Unusable as e:
        raise DataInvalid(f"{path}, row {number}: {e.detail}") from None

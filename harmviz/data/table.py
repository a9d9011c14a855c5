"""Records under the names of their columns, and the limits on how much is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harmviz.data.faults import Fault
from harmviz.errors import DataInvalid

#: The most that is read of one file: bytes when unpacked, and rows.
MAX_BYTES = 512 << 20
MAX_ROWS = 1_000_000


@dataclass
class Table:
    """The records of one file under the names of its columns, which are stripped and folded for case.

    Attributes:
        where: the file as messages name it.
        format: what it was read as, e.g. ``CSV with semicolons``.
        records: (row number, column → value); rows count from 1 (JSON arrays, Parquet) or are lines of the file.
        faults: rows that could not be read.
    """

    where: str
    format: str
    records: list[tuple[int, dict[str, Any]]] = field(repr=False)
    faults: list[Fault] = field(default_factory=list, repr=False)

    @property
    def columns(self) -> list[str]:
        """Every column of any record, in the order of their first occurrence."""
        return list(dict.fromkeys(name for _, record in self.records for name in record))


def folded(where: str, names: Iterable[Any]) -> list[str]:
    """The names of columns, stripped and folded for case.

    Raises:
        DataInvalid: two of them read alike then.
    """
    read = [str(name).strip().casefold() for name in names]
    if twice := {name for name in read if name and read.count(name) > 1}:
        raise DataInvalid(f"{where}: {shown_column(min(twice))} stands there more than once; rename one of the columns")
    return read


def shown_column(name: str) -> str:
    """The name of a column as messages show it: never what may be a text, such as a first row taken for a header."""
    if len(name) > 40 or len(name.split()) > 4:
        return f"a column named by {len(name)} letters (is the header missing?)"
    return ascii(name) if any(not c.isprintable() for c in name) else repr(name)


def check_rows(where: str, n: int) -> None:
    """Nothing.

    Raises:
        DataInvalid: more rows than are read.
    """
    if n > MAX_ROWS:
        raise DataInvalid(f"{where} has more than {MAX_ROWS:,} rows; take a part of it")

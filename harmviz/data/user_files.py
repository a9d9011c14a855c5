"""A reader's own data: a file, a saved folder or a data set on the hub, read whole or refused, every fault named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmviz.data.categories import BENIGN
from harmviz.data.columns import AS_IT_IS, ReadOptions
from harmviz.data.faults import count_faults, describe, refuse_faults
from harmviz.data.hub import is_hub, read_hub
from harmviz.data.layouts import Layout, recognise
from harmviz.data.record_reading import NamedRow, RecordReader
from harmviz.data.table import Table
from harmviz.data.tables import read_table, read_text, readable, stem_of, suffix_of
from harmviz.errors import DataInvalid

Say = Callable[[str], None]
#: Ids of data that ships or is fetched; a file of such a name has another id.
SHIPPED = ("pyrit", "scored", "builtin")


@dataclass(frozen=True)
class Reading:
    """How a file was read, in counts and names of columns; no text.

    Attributes:
        format, layout: what it is, and how its columns were understood.
        columns: use → column.
        records: rows of the file. dropped: fault → rows left out by ``--drop-bad``. unused: why → rows in order that
            are of no use.
        options: how the reader said to read it.
    """

    format: str
    layout: str
    columns: Mapping[str, str]
    records: int
    dropped: Mapping[str, int]
    unused: Mapping[str, int]
    options: ReadOptions = AS_IT_IS

    @property
    def as_json(self) -> dict[str, Any]:
        """The reading as JSON."""
        plain = {k: getattr(self, k) for k in ("format", "layout", "records")}
        counted = {k: dict(getattr(self, k)) for k in ("columns", "dropped", "unused")}
        return {**plain, **counted, "options": self.options.as_json}


@dataclass(frozen=True)
class UserRows:
    """The rows of a reader's data. ``id``: what runs call it; ``notes``: what a reader of the run must know."""

    id: str
    rows: tuple[NamedRow, ...] = field(repr=False)
    notes: tuple[str, ...]
    reading: Reading


def is_user_source(source: str) -> bool:
    """Whether this names something to be read here: a file of a known kind, a folder, or a data set on the hub."""
    path = Path(source).expanduser()
    return is_hub(source) or (bool(source) and (readable(path) or path.is_dir()))


def read_user_rows(source: str, options: ReadOptions = AS_IT_IS, *, say: Say = lambda _: None) -> UserRows:
    """The (prompt, response) rows of a reader's own data.

    Raises:
        DataInvalid: not to be had, of no kind or layout that is known, or rows that cannot be used (all of them are
            named, the first 20 spelled out). No message holds a text of the data.
    """
    table, name, notes = _table(source, say)
    if not table.records and not table.faults:
        raise DataInvalid(f"{table.where}: no rows; needed are the columns category, prompt, response")
    layout, reader, rows = _read(table, options, requests=False)
    faults = [*table.faults, *reader.faults]
    if not options.drop_bad:
        refuse_faults(table.where, faults)
    dropped = count_faults(faults)
    if not rows:
        why = f" ({describe(dropped | dict(reader.unused))})" if dropped or reader.unused else ""
        raise DataInvalid(f"{table.where}: no row is left{why}; check the columns, see --columns")
    reading = _reading(table, layout, reader, dropped, options)
    return UserRows(name, tuple(rows), (*notes, *_notes(reading, layout, reader)), reading)


def read_requests(source: str, options: ReadOptions = AS_IT_IS, *, say: Say = lambda _: None) -> UserRows:
    """Requests alone: a text file with one a line, or the prompts of anything ``read_user_rows`` reads.

    A request without a category belongs to the set ``""``; answers beside them are not looked at. A request that stands
    there twice is read once.

    Raises:
        DataInvalid: as ``read_user_rows``.
    """
    path = Path(source).expanduser()
    if suffix_of(path).removesuffix(".gz") == ".txt":
        if not path.is_file():
            raise DataInvalid(f"request file {path} does not exist")
        lines = [(n, line.strip()) for n, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
        table, name = Table(str(path), "text", [(n, {"prompt": t}) for n, t in lines]), stem_of(path)
        notes: list[str] = []
    else:
        table, name, notes = _table(source, say)
    layout, reader, rows = _read(table, options, requests=True)
    repeated = [f for f in reader.faults if f.kind == "repeats another row"]
    faults = [*table.faults, *(f for f in reader.faults if f not in repeated)]
    if not options.drop_bad:
        refuse_faults(table.where, faults)
    if not rows:
        raise DataInvalid(f"{table.where}: no requests; needed is a column prompt, or a .txt file with one a line")
    reading = _reading(table, layout, reader, count_faults(faults), options)
    return UserRows(name, tuple(rows), (*notes, *_notes(reading, layout, reader)), reading)


def _table(source: str, say: Say) -> tuple[Table, str, list[str]]:
    """(the table, the id of the data, notes on where it is from)."""
    if is_hub(source):
        table, name, note = read_hub(source, say)
        return table, name, [note]
    path = Path(source).expanduser()
    table = read_table(path)
    name = path.resolve().name if path.is_dir() else stem_of(path)
    return table, f"{name}-file" if name in SHIPPED else name, []


def _read(table: Table, options: ReadOptions, *, requests: bool) -> tuple[Layout, RecordReader, list[NamedRow]]:
    if not table.records:  # nothing to recognise: what is wrong are the rows
        refuse_faults(table.where, table.faults, droppable=False)
    try:
        layout = recognise(table, options, requests=requests)
    except DataInvalid:
        if not options.drop_bad:
            refuse_faults(table.where, table.faults)  # columns may be wrong because rows are
        raise
    reader = RecordReader(layout, requests=requests)
    return layout, reader, list(reader.read(table.records))


def _reading(
    table: Table, layout: Layout, reader: RecordReader, dropped: dict[str, int], options: ReadOptions
) -> Reading:
    n = len(table.records) + len(table.faults)
    return Reading(table.format, layout.name, layout.shown, n, dropped, dict(reader.unused), options)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) if name.isprintable() else ascii(name) for name in names)


def _notes(reading: Reading, layout: Layout, reader: RecordReader) -> list[str]:
    """What was decided while reading, a line each."""
    notes = []
    if reading.dropped:
        n = sum(reading.dropped.values())
        notes.append(f"{n:,} of {reading.records:,} rows are left out by --drop-bad: {describe(dict(reading.dropped))}")
    notes += [f"{n:,} rows are not used: {why}" for why, n in reading.unused.items() if n]
    notes += [f"{n:,} rows {what}" for what, n in reader.counts.items() if n and not what.startswith("several")]
    if n := reader.counts["several harm types flagged"]:
        notes.append(f"{n:,} rows flag several harm types and count for each: their overlap rests partly on these")
    if reader.harmless:
        notes.append(f"read as {BENIGN}: the category {_listed(reader.harmless)}")
    if reader.doubtful:
        notes.append(
            f"read as a harm type, though its name sounds harmless: {_listed(reader.doubtful)}; where its answers are, "
            f"write {BENIGN}"
        )
    if reader.spellings.folded:
        n = len(reader.spellings.folded)
        notes.append(f"{n} spellings of categories differ from another in case or blanks alone: one category each")
    if "is_safe" in layout.uses:
        notes.append(f"rows that are safe by {layout.shown['is_safe']!r} are read as safe:<category>")
    if layout.uses.get("response") == "target":
        notes.append("the column 'target' often holds first words of an answer alone: scores then rest on few tokens")
    return notes

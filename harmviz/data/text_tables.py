"""CSV and TSV with the delimiter sniffed, JSON lines, and JSON in the shapes that tools write it.

A row of CSV with more or fewer fields than the header is a fault, never cut or filled: an unquoted comma inside a text
would otherwise shorten it without a word.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from harmviz.data.columns import KNOWN_NAMES
from harmviz.data.faults import Fault
from harmviz.data.table import Table, check_rows, folded, shown_column
from harmviz.errors import DataInvalid

#: What a first column without a name is called: the numbers of rows, as pandas writes them.
INDEX = "unnamed: 0"
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: How many rows the delimiter is told by.
_SNIFFED = 200


# -- delimited text ---------------------------------------------------------------------------------------------------
def read_delimited(path: Path, text: str) -> Table:
    """The rows below the header of a CSV or TSV file; row numbers are lines of the file, the last of a row's lines.

    Raises:
        DataInvalid: no header, two columns of one name, or too many rows.
    """
    delimiter, text = _declared(text)
    delimiter = delimiter or _delimiter(text)
    table = Table(str(path), f"CSV with {DELIMITERS[delimiter]}", [])
    reader = _reader(text, delimiter)
    try:
        header: list[str] = next((row for row in reader if _holds_something(row)), [])
    except csv.Error as e:
        raise DataInvalid(f"{path}, row 1: not CSV ({e}); quote fields that hold quotation marks or commas") from e
    while header and not header[-1].strip():
        header.pop()
    names = folded(str(path), header)
    if not names:
        raise DataInvalid(f"{path}: no rows; the first line must name the columns")
    if not names[0] and len(names) > 1:
        names[0] = INDEX
    if "" in names:
        raise DataInvalid(f"{path}, row 1: column {names.index('') + 1} has no name; name every column")
    try:
        for row in reader:
            if not _holds_something(row):
                continue
            while len(row) > len(names) and not row[-1].strip():
                row.pop()  # delimiters at the end of a line, as spreadsheets write them, hold nothing
            if len(row) == len(names):
                table.records.append((reader.line_num, dict(zip(names, row, strict=True))))
            else:
                detail = (
                    f"{len(row)} fields, the header has {len(names)}; quote fields that hold {DELIMITERS[delimiter]}"
                )
                table.faults.append(Fault(reader.line_num, "not as many fields as the header", detail))
            check_rows(str(path), len(table.records) + len(table.faults))
    except csv.Error as e:
        table.faults.append(Fault(reader.line_num, "not CSV from here on", f"not CSV from here on ({e})"))
    return table


def _declared(text: str) -> tuple[str | None, str]:
    """(delimiter, the rest) where the first line names one, ``sep=;``, as spreadsheets do; the line is then empty, so
    that lines keep their numbers."""
    first, end, rest = text.partition("\n")
    said = re.fullmatch(r"(?i)sep=(.)\r?", first)
    return (said[1], end + rest) if said and said[1] in DELIMITERS else (None, text)


def _reader(text: str, delimiter: str) -> Any:
    """A strict reader: a quotation mark out of place is an error instead of a shortened text."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)


def _holds_something(row: list[str]) -> bool:
    return any(field.strip() for field in row)


def _delimiter(text: str) -> str:
    """The delimiter whose header has most names that are known, then most rows as long as the header."""
    scores = {delimiter: _fitness(text, delimiter) for delimiter in DELIMITERS}
    return max(scores, key=scores.__getitem__)  # the first of equals: commas


def _fitness(text: str, delimiter: str) -> tuple[int, bool, float, int]:
    rows = []
    try:
        for row in _reader(text, delimiter):
            if _holds_something(row):
                rows.append(row)
            if len(rows) > _SNIFFED:
                break
    except csv.Error:
        pass  # the rows before it tell the delimiter; the reading itself says what is wrong
    if not rows:
        return 0, False, 0.0, 0
    header = [name.strip().casefold() for name in rows[0]]
    alike = sum(len(row) == len(header) for row in rows) / len(rows)
    return sum(name in KNOWN_NAMES for name in header), len(header) > 1, alike, len(header)


# -- JSON -------------------------------------------------------------------------------------------------------------
def read_json(path: Path, text: str) -> Table:
    """JSON lines, a JSON array of objects, an object of columns, or an object that holds one of these under one name.

    The content decides: either is found under either suffix. Row numbers are lines of JSON lines, else places from 1.

    Raises:
        DataInvalid: not JSON as a whole, or JSON that holds no rows; two columns of one name; too many rows.
    """
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]  # U+2028 ends no line of JSON
    if path.name.lower().removesuffix(".gz").endswith(".json") or (lines and lines[0][1].lstrip().startswith("[")):
        try:
            return _whole(path, json.loads(text))
        except RecursionError as e:
            raise DataInvalid(f"{path}: not JSON that can be read (nested too deep)") from e
        except ValueError as e:
            if not lines or not _is_object(lines[0][1]):
                where = f" (line {e.lineno}, column {e.colno})" if isinstance(e, json.JSONDecodeError) else ""
                raise DataInvalid(f"{path}: not JSON{where}; save it as an array of objects, or as JSON lines") from e
    return _lines(path, lines)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(path: Path, lines: list[tuple[int, str]]) -> Table:
    table = Table(str(path), "JSON lines", [])
    check_rows(str(path), len(lines))
    for number, line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as e:
            table.faults.append(Fault(number, "not JSON", f"not JSON ({e.msg} at column {e.colno})"))
        except (ValueError, RecursionError) as e:
            table.faults.append(Fault(number, "not JSON", f"not JSON that can be read ({type(e).__name__})"))
        else:
            _add(table, number, record)
    return table


def _add(table: Table, number: int, record: Any) -> None:
    if isinstance(record, dict):
        names = folded(f"{table.where}, row {number}", record)
        table.records.append((number, dict(zip(names, record.values(), strict=True))))
    else:
        what = f"a JSON object is needed, got {type(record).__name__}"
        table.faults.append(Fault(number, "not a JSON object", what))


def _whole(path: Path, document: Any) -> Table:
    """The rows of one JSON document."""
    if isinstance(document, dict) and len(document) == 1:
        (inner,) = document.values()
        if isinstance(inner, list | dict) and (not isinstance(inner, list) or any(isinstance(r, dict) for r in inner)):
            document = inner  # {"data": [...]}, as many tools wrap their rows
    if isinstance(document, dict):
        return _columns(path, document)
    if not isinstance(document, list):
        raise DataInvalid(f"{path}: a JSON array of objects is needed, got {type(document).__name__}")
    table = Table(str(path), "JSON array", [])
    check_rows(str(path), len(document))
    for number, record in enumerate(document, 1):
        _add(table, number, record)
    return table


def _columns(path: Path, document: dict[str, Any]) -> Table:
    """An object of lists, or of objects by row name, as pandas writes it; a single record is one row."""
    names = folded(str(path), document)
    columns = list(document.values())
    if columns and all(isinstance(c, dict) for c in columns):
        keys = list(columns[0])
        if any(list(c) != keys for c in columns):
            raise DataInvalid(f"{path}: the columns of this JSON object name different rows; save it as JSON lines")
        columns = [list(c.values()) for c in columns]
    elif not all(isinstance(c, list) for c in columns) or not columns:
        table = Table(str(path), "JSON object", [])
        _add(table, 1, document)
        return table
    if len(columns) > 1 and all(c and all(isinstance(r, dict) for r in c) for c in columns):
        raise DataInvalid(
            f"{path} holds {len(columns)} tables, {', '.join(map(shown_column, names[:6]))}; save one of them by itself"
        )
    if len({len(c) for c in columns}) > 1:
        raise DataInvalid(f"{path}: the columns of this JSON object differ in length; save it as JSON lines")
    check_rows(str(path), len(columns[0]))
    rows = [(n, dict(zip(names, values, strict=True))) for n, values in enumerate(zip(*columns, strict=True), 1)]
    return Table(str(path), "JSON object of columns", rows)

"""Rows of the JSON-lines files that ship with harmviz for tuning and its controls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harmviz.data.folding import normalise
from harmviz.errors import DataInvalid
from harmviz.paths import PACKAGE

FOLDER = PACKAGE / "data" / "align"


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a JSON-lines file, each with these text columns.

    Raises:
        DataInvalid: the file is missing, a line is not JSON, a column is missing or empty, or a text comes twice.
    """
    if not path.is_file():
        raise DataInvalid(f"{path} does not exist; it ships with harmviz: install harmviz again")
    rows: list[dict[str, str]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as e:
            raise DataInvalid(f"{path}, row {number}: not JSON ({e.msg})") from e
        for column in columns:
            if not isinstance(row, dict) or not isinstance(row.get(column), str) or not row[column].strip():
                raise DataInvalid(f"{path}, row {number}: column {column!r} is missing or empty")
        key = normalise(row[columns[0]])
        if key in seen:
            raise DataInvalid(f"{path}, row {number}: repeats row {seen[key]}; remove one of them")
        seen[key] = number
        rows.append(row)
    return rows

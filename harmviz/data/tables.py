"""Files of records as people have them: JSON lines, JSON, CSV and TSV of any delimiter, each also gzipped, Parquet, and
folders that ``datasets`` saved. What the records mean is ``layouts``' affair.

Everything is read under limits on bytes *when unpacked* and on rows, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harmviz.data.column_tables import read_parquet, read_saved_folder
from harmviz.data.faults import refuse_faults
from harmviz.data.table import MAX_BYTES, Table
from harmviz.data.text_tables import read_delimited, read_json
from harmviz.errors import DataInvalid

#: Suffixes of files that can be read; each of the text ones also with ``.gz`` behind it.
TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
KINDS = f"{', '.join(TEXT_SUFFIXES)} (each also .gz), .parquet, or a folder saved by `datasets`"


def suffix_of(path: Path) -> str:
    """The suffix that says the format, folded for case, with ``.gz`` where the file is packed."""
    parts = [s.lower() for s in path.suffixes[-2:]]
    return "".join(parts) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def stem_of(path: Path) -> str:
    """The name of the file without the suffixes that say its format."""
    return path.name[: len(path.name) - len(suffix_of(path))] if suffix_of(path) else path.name


def readable(path: Path) -> bool:
    """Whether the name is one of a file that ``read_table`` takes."""
    return suffix_of(path).removesuffix(".gz") in TEXT_SUFFIXES or suffix_of(path) == ".parquet"


def read_table(path: Path) -> Table:
    """The records of a file or of a saved folder, with the rows that could not be read as faults.

    Raises:
        DataInvalid: no such file, of no kind that is read, too large, or damaged as a whole; the message says which.
    """
    if path.is_dir():
        return read_saved_folder(path)
    if not readable(path):
        raise DataInvalid(f"data file {path} is of no kind that is read here: {KINDS}")
    if not path.is_file():
        raise DataInvalid(f"data file {path} does not exist")
    if suffix_of(path) == ".parquet":
        return read_parquet(path)
    read = read_delimited if suffix_of(path).startswith((".csv", ".tsv")) else read_json
    return read(path, read_text(path))


def read_text(path: Path) -> str:
    """The text of a file, unpacked where it is gzipped; UTF-8, or UTF-16 with its mark, as spreadsheets save it.

    Raises:
        DataInvalid: too large, damaged, or in another encoding.
    """
    try:
        with gzip.open(path) if suffix_of(path).endswith(".gz") else path.open("rb") as f:
            content = f.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as e:
        raise DataInvalid(f"{path} cannot be read ({e or type(e).__name__}); save or pack it again") from e
    if len(content) > MAX_BYTES:
        raise DataInvalid(f"{path} holds more than {MAX_BYTES:,} bytes when unpacked; split it, or take a part of it")
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataInvalid(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from e


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, record) of a file every row of which must be readable.

    Raises:
        DataInvalid: as ``read_table``, or rows cannot be read.
    """
    table = read_table(path)
    refuse_faults(table.where, table.faults, droppable=False)
    yield from table.records

"""Tables stored by column: Parquet files, and folders that ``datasets`` saved; both read by pyarrow alone.

A few kilobytes of Parquet can stand for gigabytes (one long text, repeated by reference). So it is read in batches too
small to fill the memory even if every row were as long as its whole column chunk, and counted as it unpacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmviz.data.table import MAX_BYTES, Table, check_rows, folded
from harmviz.errors import DataInvalid

_BATCH_ROWS = 4096
_STATE = "state.json"
_SPLITS = "dataset_dict.json"


def read_parquet(path: Path) -> Table:
    """The rows of a Parquet file.

    Raises:
        DataInvalid: no Parquet file, damaged, or too large when unpacked.
    """
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            check_rows(str(path), file.metadata.num_rows)
            batches = file.iter_batches(batch_size=_safe_batch(str(path), file.metadata))
            return Table(str(path), "Parquet", list(_records(str(path), batches)))
    except (pa.ArrowException, OSError, ValueError, NotImplementedError, RecursionError) as e:
        raise DataInvalid(f"{path} cannot be read as Parquet ({type(e).__name__}); save it again") from e


def _safe_batch(where: str, metadata: pq.FileMetaData) -> int:
    """Rows at a time, so that a batch stays within the limit even where each row repeats the longest text there is."""
    chunks = [
        metadata.row_group(g).column(c).total_uncompressed_size
        for g in range(metadata.num_row_groups)
        for c in range(metadata.num_columns)
    ]
    if sum(chunks) > MAX_BYTES:
        raise DataInvalid(f"{where} holds more than {MAX_BYTES:,} bytes when unpacked; split it, or take a part of it")
    return max(1, min(_BATCH_ROWS, MAX_BYTES // max(1, *chunks, 1)))


def read_saved_folder(path: Path) -> Table:
    """The rows of a folder that ``Dataset.save_to_disk`` wrote.

    Raises:
        DataInvalid: no such folder, one of several splits (the message names them), damaged, or too large.
    """
    if (path / _SPLITS).is_file():
        splits = sorted(p.name for p in path.iterdir() if (p / _STATE).is_file())
        if len(splits) != 1:
            which = ", ".join(str(path / name) for name in splits) or "none is there"
            raise DataInvalid(f"{path} holds {len(splits)} splits; name one of them: {which}")
        path = path / splits[0]
    files = _arrow_files(path)
    records: list[tuple[int, dict[str, Any]]] = []
    try:
        if sum(file.stat().st_size for file in files) > MAX_BYTES:
            raise DataInvalid(f"{path} holds more than {MAX_BYTES:,} bytes; take a part of it")
        records = list(_records(str(path), _stream(files)))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as e:
        raise DataInvalid(f"{path} cannot be read as a saved data set ({type(e).__name__}); save it again") from e
    return Table(str(path), "folder saved by datasets", records)


def _arrow_files(path: Path) -> list[Path]:
    """The data files of a saved folder, in order; only such as lie in it."""
    try:
        state = json.loads((path / _STATE).read_bytes())
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise DataInvalid(
            f"{path} is a folder, but none that `Dataset.save_to_disk` wrote ({_STATE} is missing or damaged); name a "
            "file in it"
        ) from e
    files = [path / name for name in names]
    if any(file.parent != path or not file.is_file() for file in files):
        raise DataInvalid(f"{path}: {_STATE} names data files that do not lie in this folder; save the data set again")
    return files


def _stream(files: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
            yield from reader


def _records(where: str, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place from 1, record) of each row, counted as it unpacks."""
    names: list[str] | None = None
    number = n_bytes = 0
    for batch in batches:
        names = names or folded(where, batch.schema.names)
        n_bytes += batch.nbytes
        if n_bytes > MAX_BYTES:
            raise DataInvalid(f"{where} holds more than {MAX_BYTES:,} bytes when unpacked; take a part of it")
        check_rows(where, number + batch.num_rows)
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            yield number, dict(zip(names, values, strict=True))

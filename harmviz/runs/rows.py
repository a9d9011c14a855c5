"""Tidy results: one row is one measured number with its n, unit, interval, control and the mask it belongs to.

Every experiment writes these columns and no others, so that one reader, one exporter and one set of figures serve all
of them. *Not measured* is ``None`` in Python, null in Parquet and JSON: never 0, never NaN.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harmviz.errors import RunIncompatible
from harmviz.files import write_atomic
from harmviz.runs.point import Point, Ranking
from harmviz.stats.estimate import Estimate

CONTROLS = (
    "none",
    "random",
    "magnitude",
    "utility",
    "benign_signed",
    "safe_signed",
    "unprotected",
    "mirror_safe",
    "mirror_benign",
    "mirror_twin",
    "sham",
)
SCOPES = ("global", "matrix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured number.

    Attributes:
        experiment: the measure or claim it belongs to, one of ``harmviz.claims.EXPERIMENTS``: lower-case letters and _.
        condition: checkpoint, attack or arm; None where there is one only.
        mask: the pruned set: a category id for its own mask, ``mean(all)``, ``union(a,b)``…; None: intact.
        control: one of ``CONTROLS``; ``none`` is the mask itself.
        category: the set measured: a harm category, ``benign``, ``benign_own``, ``safe:<category>`` or ``safe``.
        metric: what was measured, e.g. ``delta_nll``; ``unit`` is its unit, e.g. ``nats/token``.
        value: the number; None where it was not measured or not reached.
        ci_low, ci_high: its 95 % interval.
        n: how many samples (for an interval: clusters) it rests on.
        q, p: fraction pruned and fraction protected, in [0, 1].
        scope: one of ``SCOPES``. contrast: ``none`` as in the paper, otherwise which contrast.
        skip_tokens: opener tokens left out of the loss. n_weights: weights zeroed.

    Raises:
        ValueError: an odd name of an experiment, an unknown control or scope, a fraction outside [0, 1], a number that
            is not finite, a negative count, or an interval that ends before it begins.
    """

    experiment: str
    metric: str
    value: float | None
    condition: str | None = None
    mask: str | None = None
    control: str = "none"
    category: str | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    unit: str | None = None
    q: float | None = None
    p: float | None = None
    scope: str | None = None
    contrast: str | None = None
    skip_tokens: int | None = None
    n_weights: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.experiment):
            raise ValueError(f"experiment must be lower-case letters, digits and _, got {self.experiment!r}")
        _one_of("control", self.control, CONTROLS)
        if self.scope is not None:
            _one_of("scope", self.scope, SCOPES)
        for name in ("value", "ci_low", "ci_high", "q", "p"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} must be finite, got {number}; a number that was not measured is None")
        for name in ("q", "p"):
            fraction = getattr(self, name)
            if fraction is not None and not 0 <= fraction <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {fraction}")
        for name in ("n", "skip_tokens", "n_weights"):
            count = getattr(self, name)
            if count is not None and (count < 0 or int(count) != count):
                raise ValueError(f"{name} must be a whole number of at least 0, got {count}")
        if self.ci_low is not None and self.ci_high is not None and self.ci_low > self.ci_high:
            raise ValueError(f"ci_low {self.ci_low} lies above ci_high {self.ci_high}")


@dataclass(frozen=True, kw_only=True)
class Where:
    """All of a row but what was measured: under which mask, at which condition, in which claim.

    ``point``: the mask's address, None for the intact model; ``q`` and the like are null then. ``mask``: the set
    that a row is about where no mask was applied, e.g. weights whose change is measured.
    """

    experiment: str
    condition: str | None = None
    point: Point | Ranking | None = None
    mask: str | None = None
    control: str = "none"
    n_weights: int | None = None
    skip_tokens: int | None = None

    def value(
        self, metric: str, value: float | None, *, unit: str, category: str | None = None, n: int | None = None
    ) -> Row:
        """A number without an interval."""
        return self._row(metric, value, None, None, n, unit, category)

    def estimate(
        self, metric: str, estimate: Estimate, *, unit: str, category: str | None = None, n: int | None = None
    ) -> Row:
        """A number with its interval; ``n``: its clusters where not given. Without a value it is not measured: null."""
        number = estimate.value if math.isfinite(estimate.value) else None
        n = estimate.n_clusters if n is None else n
        return self._row(metric, number, estimate.ci_low, estimate.ci_high, n, unit, category)

    def _row(
        self,
        metric: str,
        value: float | None,
        ci_low: float | None,
        ci_high: float | None,
        n: int | None,
        unit: str,
        category: str | None,
    ) -> Row:
        return Row(
            experiment=self.experiment,
            condition=self.condition,
            control=self.control,
            n_weights=self.n_weights,
            skip_tokens=self.skip_tokens,
            metric=metric,
            value=value,
            ci_low=ci_low,
            ci_high=ci_high,
            n=n,
            unit=unit,
            category=category,
            **({"mask": self.mask} if self.point is None else self.point.as_dict()),
        )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


#: The order of columns everywhere: frames, Parquet, JSON, CSV.
ROW_COLUMNS = (
    "experiment",
    "condition",
    "mask",
    "control",
    "category",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "unit",
    "q",
    "p",
    "scope",
    "contrast",
    "skip_tokens",
    "n_weights",
)
assert set(ROW_COLUMNS) == {f.name for f in fields(Row)}

_FLOATS = {"value", "ci_low", "ci_high", "q", "p"}
_INTEGERS = {"n", "skip_tokens", "n_weights"}
#: The Parquet schema of every results file.
SCHEMA = pa.schema(
    [(c, pa.float64() if c in _FLOATS else pa.int64() if c in _INTEGERS else pa.string()) for c in ROW_COLUMNS]
)

_TEXTS = [c for c in ROW_COLUMNS if c not in _FLOATS | _INTEGERS]
#: Most rows of one results file, and most bytes that its rows may take in memory: a Parquet file of a few kB can hold
#: billions. The committed runs have some thousand rows of 180 bytes.
MAX_ROWS = 2_000_000
MAX_READ_BYTES = 256 << 20
_MAX_TEXT, _BATCH_ROWS = 4096, 8192


def _to_table(rows: Iterable[Row]) -> pa.Table:
    records = [{c: getattr(row, c) for c in ROW_COLUMNS} for row in rows]
    for record in records:  # numpy scalars would otherwise decide the column's type
        record |= {c: float(record[c]) for c in _FLOATS if record[c] is not None}
        record |= {c: int(record[c]) for c in _INTEGERS if record[c] is not None}
    return pa.Table.from_pylist(records, schema=SCHEMA)


def _to_frame(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame.astype({c: "str" for c in ROW_COLUMNS if c not in _FLOATS | _INTEGERS})


def rows_to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a frame: columns in ``ROW_COLUMNS`` order; str, float64 or nullable Int64; null = not measured."""
    return _to_frame(_to_table(rows))


def frame_to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Plain dicts for JSON, in row and column order: Python numbers and strings, None where nothing was measured."""
    columns = {c: [None if pd.isna(v) else v for v in frame[c].tolist()] for c in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes the rows as Parquet, atomically; equal rows give equal bytes (with one version of pyarrow).

    Raises:
        OutOfMemory: the disk is full.
    """
    sink = io.BytesIO()
    pq.write_table(_to_table(rows), sink, compression="zstd")
    write_atomic(path, sink.getvalue())


def read_rows(paths: Iterable[Path]) -> pd.DataFrame:
    """All rows of these files in one frame, in the order given; an empty frame with the right columns for no files.

    Raises:
        RunIncompatible: a file is damaged, does not have the columns of ``SCHEMA``, or holds what no run measures.
    """
    tables = []
    for path in paths:
        try:
            tables.append(_read_table(path))
        except _NoRows as e:
            raise RunIncompatible(f"{path}: {e}; restore the run from its source or compute it again") from e
    return _to_frame(pa.concat_tables(tables) if tables else SCHEMA.empty_table())


def rows_problem(path: Path) -> str | None:
    """What keeps this file from being a results file, or None. Reads it."""
    try:
        _read_table(path)
    except _NoRows as e:
        return str(e)
    return None


def table_problem(path: Path) -> str | None:
    """What keeps this from being a Parquet file that can be read, whatever its columns, or None. Reads it."""
    try:
        with path.open("rb") as f:
            file = pq.ParquetFile(f)
            _check_size(file)
            if sum(batch.nbytes for batch in file.iter_batches(batch_size=_BATCH_ROWS)) > MAX_READ_BYTES:
                return f"its rows take more than {MAX_READ_BYTES >> 20} MB when read"
    except _NoRows as e:
        return str(e)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as e:
        return f"no readable Parquet file ({(str(e).splitlines() or ['damaged'])[0][:200]})"
    return None


class _NoRows(Exception):
    """What keeps a file from being a results file."""


def _read_table(path: Path) -> pa.Table:
    """The rows of one file.

    Raises:
        _NoRows: it is damaged, has other columns, would fill the memory, or holds what no run measures.
    """
    try:
        with path.open("rb") as f:
            _check_header(pq.ParquetFile(f))
            # Texts as a dictionary and places in it: a long one that is repeated is seen before it is written out.
            file = pq.ParquetFile(f, read_dictionary=_TEXTS)
            batches, n_bytes = [], 0
            for encoded in file.iter_batches(batch_size=_BATCH_ROWS):
                _check_texts(encoded)
                batch = encoded.cast(SCHEMA)
                if (n_bytes := n_bytes + batch.nbytes) > MAX_READ_BYTES:
                    raise _NoRows(f"its rows take more than {MAX_READ_BYTES >> 20} MB when read")
                batches.append(batch)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as e:
        raise _NoRows(f"no readable Parquet file ({(str(e).splitlines() or ['damaged'])[0][:200]})") from e
    table = pa.Table.from_batches(batches, SCHEMA)
    _check_numbers(table)
    return table


def _check_header(file: pq.ParquetFile) -> None:
    schema = file.schema_arrow
    if schema.names != list(ROW_COLUMNS):
        odd = ", ".join(sorted({ascii(name)[1:-1][:40] for name in set(schema.names) ^ set(ROW_COLUMNS)})[:10])
        raise _NoRows(f"columns differ from the row format ({odd or 'other order'})")
    if wrong := [f.name for f in schema if f.type != SCHEMA.field(f.name).type]:
        raise _NoRows(f"columns of the wrong type ({', '.join(wrong)})")
    _check_size(file)


def _check_size(file: pq.ParquetFile) -> None:
    metadata = file.metadata
    if metadata.num_rows > MAX_ROWS:
        raise _NoRows(f"it claims {metadata.num_rows:,} rows, at most {MAX_ROWS:,} are taken")
    if sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)) > MAX_READ_BYTES:
        raise _NoRows(f"it unpacks to more than {MAX_READ_BYTES >> 20} MB")


def _check_texts(batch: pa.RecordBatch) -> None:
    """No text is long: a dictionary repeats one of a megabyte for a byte a row."""
    for name in _TEXTS:
        longest = pc.max(pc.binary_length(batch.column(name).dictionary)).as_py()
        if longest is not None and longest > _MAX_TEXT:
            raise _NoRows(f"column {name} holds a text of {longest:,} bytes")


def _check_numbers(table: pa.Table) -> None:
    for name in _FLOATS:
        if pc.any(pc.is_inf(table[name])).as_py():
            raise _NoRows(f"column {name} holds a number that is not finite")
    for name in ("n", "n_weights"):
        lowest = pc.min(table[name]).as_py()
        if lowest is not None and lowest < 0:
            raise _NoRows(f"column {name} holds {lowest}: a count is never below 0")

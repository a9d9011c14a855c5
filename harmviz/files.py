"""Files that are either whole or absent, and the hashes that say whether they are still what was written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harmviz.errors import OutOfMemory

#: Starts every temporary name. Readers skip hidden names, so a leftover is never mistaken for a result.
TEMPORARY = ".tmp-"
#: No space, no quota, or a limit on the size of a file (``ulimit -f``).
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_errors(path: Path, n_bytes: int | None = None) -> Iterator[None]:
    """Turns "no space left", a quota or a limit on file sizes inside the block into ``OutOfMemory`` with what to do.

    Raises:
        OutOfMemory: the disk, or the user's quota on it, is full, or the file would be larger than the user's may be.
    """
    try:
        yield
    except OSError as e:
        if e.errno not in FULL:
            raise
        need = f"need {n_bytes:,} bytes" if n_bytes is not None else "need more room"
        if e.errno == errno.EFBIG:
            raise OutOfMemory(
                f"a file may not grow this large here: {need} at {path}; raise the limit (ulimit -f) and run the same "
                "command again"
            ) from e
        raise OutOfMemory(f"disk full: {need} at {path}; free some space there and run the same command again") from e


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut: the folder's own entry has to reach the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path, *, contents: bool = False) -> None:
    """Makes every name below ``folder``, and its own, survive a power cut; with ``contents`` what the files hold too.

    A file that was synced is still lost where the entry that names it never reached the disk.
    """
    for path in [*folder.rglob("*"), folder, folder.parent]:
        if path.is_dir():
            _sync_folder(path)
        elif contents and path.is_file():
            sha256_of_file(path, sync=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` so that a reader sees the old file or the whole new one, never a part.

    A temporary neighbour is written, synced and moved over the name; when anything fails, it is removed.

    Raises:
        OutOfMemory: the disk is full.
        OSError: the folder cannot be written for another reason.
    """
    part = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}")
    with disk_errors(path, len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # "x": a name that exists already would be somebody else's. Plain open() keeps the user's umask.
            with part.open("xb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(path.parent)


def move_folder(source: Path, target: Path) -> None:
    """Renames a folder in one step and syncs the folders it lay and lies in.

    Raises:
        OSError: the target exists and is not empty.
    """
    os.rename(source, target)
    _sync_folder(target.parent)
    if source.parent != target.parent:
        _sync_folder(source.parent)


def sha256_of_file(path: Path, *, sync: bool = False) -> str:
    """sha256 of a file's bytes, in hex. With ``sync`` the bytes are also known to be on the disk."""
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
        if sync:
            os.fsync(f.fileno())
    return digest


def files_below(folder: Path) -> list[str]:
    """Relative POSIX paths of all files below ``folder``, sorted; none where there is no such folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def printable(text: str) -> str:
    """A name from the disk or from a file as a line can show it: control characters and bytes that are no text are
    spelled out, so that it can be encoded and moves no cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def canonical_json(value: Any) -> str:
    """The one JSON text of ``value``: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: NaN or infinity, which JSON cannot say.
        TypeError: a value that is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def json_bytes(value: Any) -> bytes:
    """Indented JSON with sorted keys, for files that people open too.

    Raises:
        ValueError, TypeError: as ``canonical_json``.
    """
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

"""Hashes of files, each read once a process for as long as it is the same file."""

from __future__ import annotations

from pathlib import Path

from harmviz.files import sha256_of_file


class FileHashes:
    """What was hashed already: large files are not read again at every question.

    A clock may be set back, so that name, size and time do not tell a file from the one before: inode and the time of
    the last change of the inode, which nobody sets, count as well.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int, int, int], str] = {}

    def of(self, path: Path, *, sync: bool = False) -> str | None:
        """sha256 of the file, in hex, or None where there is none; with ``sync`` its bytes are on the disk too."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        if sync or key not in self._known:
            self._known[key] = sha256_of_file(path, sync=sync)
        return self._known[key]

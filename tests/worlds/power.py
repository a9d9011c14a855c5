"""What a power cut leaves: everything that was synced, and of the rest nothing that can be relied on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Watches a folder: which of its files and names have reached the disk.

    A file is safe once it was synced after its last change, its name once the folder that holds it was. A rename moves
    a name: it is safe again once both folders were synced.
    """

    def __init__(self, root: Path):
        self.root = root.resolve()
        self.files: dict[str, tuple[int, int]] = {}  # path → (inode, time of the last change) that was synced
        self.names: set[str] = set()

    def synced(self, descriptor: int) -> None:
        """Takes in an fsync."""
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.names |= {str(entry) for entry in path.iterdir()}
        else:
            stat = path.stat()
            self.files[str(path)] = (stat.st_ino, stat.st_mtime_ns)

    def moved(self, source: Path, target: Path) -> None:
        """Takes in a rename: what was synced under the old name is under the new one, whose own name is not safe."""
        old, new = str(source.resolve()), str(target.resolve())
        inside = {p: p.replace(old, new, 1) for p in {*self.files, *self.names} if p.startswith(f"{old}/")}
        self.files |= {inside.get(p, p): s for p, s in self.files.items() if p in inside}
        if old in self.files:
            self.files[new] = self.files[old]
        self.names |= {inside[p] for p in self.names & inside.keys()}
        self.names -= {old, new}

    def unsafe(self, folder: Path) -> list[str]:
        """What of this folder would not be there, or not be whole, after a power cut now."""
        lost = [] if str(folder.resolve()) in self.names else [f"the name of {folder.name}"]
        for path in sorted(folder.resolve().rglob("*")):
            if str(path) not in self.names:
                lost.append(f"the name of {path.relative_to(folder.resolve())}")
            stat = path.stat()
            if path.is_file() and self.files.get(str(path)) != (stat.st_ino, stat.st_mtime_ns):
                lost.append(f"the bytes of {path.relative_to(folder.resolve())}")
        return lost


@contextmanager
def watched(
    root: Path, monkeypatch: pytest.MonkeyPatch, before_rename: Callable[[Disk, Path, Path], None]
) -> Iterator[Disk]:
    """A disk that is told every fsync and rename meanwhile; ``before_rename`` sees it at each rename."""
    disk = Disk(root)
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace")}

    def fsync(descriptor: int) -> None:
        real["fsync"](descriptor)
        disk.synced(descriptor)

    def mover(name: str) -> Callable[..., None]:
        def move(source: Any, target: Any) -> None:
            before_rename(disk, Path(source), Path(target))
            real[name](source, target)
            disk.moved(Path(source), Path(target))

        return move

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "rename", mover("rename"))
        patch.setattr(os, "replace", mover("replace"))
        yield disk

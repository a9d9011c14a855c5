"""Which runs were taken in from elsewhere, and when: an empty file a run, hidden beside the runs.

What an archive says of itself (its name, its date) decides nothing here: lists put imports behind the runs made on this
machine, in the order in which they were taken in, so that none becomes ``latest`` or what a page opens with by claiming
to be new or to be the reference. The mark stands outside the run's folder, which stays as it was exported.
"""

from __future__ import annotations

from pathlib import Path

from harmviz.files import write_atomic

#: The folder of the marks, beside the runs.
FOLDER = ".imported"


def mark(root: Path, run_id: str) -> None:
    """Notes that the run of this id is an import, taken in now.

    Raises:
        OutOfMemory: the disk is full. OSError: the folder cannot be written.
    """
    write_atomic(root / FOLDER / run_id, b"")


def unmark(root: Path, run_id: str) -> None:
    """Forgets it: the run was deleted, or never came in.

    Raises:
        OSError: the folder cannot be written.
    """
    (root / FOLDER / run_id).unlink(missing_ok=True)


def taken_in(folder: Path) -> int | None:
    """When the run in this folder was taken in, in ns since 1970 by this machine's clock; None: it was made here."""
    try:
        return (folder.parent / FOLDER / folder.name).stat().st_mtime_ns
    except (OSError, ValueError):  # no such file, or a name that no file can have
        return None

"""One writer per run, across processes. POSIX ``flock``: the kernel releases the lock of a process that died, however
it died, so that no lock is ever stale. The pid inside is for people and progress displays; it decides nothing.

Why not the library filelock: a job's lock is handed to its child by descriptor and must stay locked when the parent
closes its own, while filelock keeps the descriptor private and unlocks (``LOCK_UN``) on release, which would unlock the
child's too; and it cannot say who holds a lock without taking it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


def try_lock(path: Path) -> IO[str] | None:
    """The open, locked file, or None while another process holds it. Closing it gives the lock back."""
    while True:
        handle = path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The former holder may have removed the file between our open and our lock: then we locked a ghost.
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        except BlockingIOError:
            handle.close()
            return None
        except FileNotFoundError:
            pass
        handle.close()


def sign(handle: IO[str], pid: int | None = None) -> None:
    """Writes this process's pid into the lock it holds, or that of the child which inherits it."""
    handle.truncate(0)
    handle.write(f"{pid or os.getpid()}\n")
    handle.flush()


def holder(path: Path) -> int | None:
    """The pid of the living process that holds this lock, or None. Creates nothing; locks for an instant to see."""
    try:
        with path.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return signed_by(path)
    except FileNotFoundError:
        pass
    return None


def signed_by(path: Path) -> int | None:
    """The pid in the file; None where it is not (or not yet) there."""
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None

"""Whether a run's file is what its name says: headers of safetensors, contents of results. Fast enough for every list.

Hashes (``verify_run``) say whether a file is the one that was written; this says whether it can be used at all, also of
a run from elsewhere whose hashes are right.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from harmviz.runs.rows import rows_problem


def unusable(path: Path, name: str) -> str | None:
    """What keeps the run's file ``name`` at ``path`` from being used, or None.

    Raises:
        OSError: it cannot be looked at.
    """
    state = path.stat()
    if name.endswith(".safetensors"):
        return _of_safetensors(path, state.st_size, state.st_mtime_ns, state.st_ino)
    if name.startswith("results/") and name.endswith(".parquet"):
        return _of_rows(path, state.st_size, state.st_mtime_ns, state.st_ino)
    return None


# Size, time of the last change and inode stand for the contents: pages ask at every click.
@lru_cache(maxsize=4096)
def _of_safetensors(path: Path, _size: int, _changed: int, _inode: int) -> str | None:
    return safetensors_problem(path)


@lru_cache(maxsize=4096)
def _of_rows(path: Path, _size: int, _changed: int, _inode: int) -> str | None:
    return rows_problem(path)


def safetensors_problem(path: Path) -> str | None:
    """What keeps this from being a safetensors file, or None: the header is read, and the size it asks for compared."""
    try:
        with safe_open(path, framework="numpy"):
            return None
    except (SafetensorError, OSError, ValueError) as e:
        return f"no readable safetensors file ({(str(e).splitlines() or ['damaged'])[0][:200]})"

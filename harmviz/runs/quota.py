"""How much may be stored: all of the cache's runs and jobs, and of it what was imported.

``HARMVIZ_CACHE_LIMIT`` (default 50 GB) is asked before a page starts a job; ``HARMVIZ_IMPORT_LIMIT`` (default 2 GB)
before an archive is taken in. Both in gigabytes (10⁹ bytes). Fetched files and models do not count.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from harmviz.errors import BadSetting, OutOfMemory
from harmviz.paths import jobs_root, runs_root
from harmviz.runs.imports import taken_in
from harmviz.runs.unpacking import MAX_BYTES

_GB = 10**9
_CACHE = ("HARMVIZ_CACHE_LIMIT", 50.0)
_IMPORTS = ("HARMVIZ_IMPORT_LIMIT", 2.0)


def _limit(name: str, default: float) -> int:
    """The limit in bytes.

    Raises:
        BadSetting: it is no number of gigabytes.
    """
    given = os.environ.get(name, "")
    try:
        value = float(given) if given else default
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadSetting(f"{name}={given[:40]!r} is no number of gigabytes; set it to one, e.g. {default:g}")
    return int(value * _GB)


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; links count nothing. What disappears meanwhile counts nothing either."""
    total, folders = 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def imported_bytes(root: Path | None = None) -> int:
    """Bytes of all imported runs."""
    where = root or runs_root()
    folders = [p for p in where.iterdir() if not p.name.startswith(".")] if where.is_dir() else []
    return sum(bytes_below(folder) for folder in folders if taken_in(folder) is not None)


def check_cache() -> None:
    """Nothing, while runs and jobs take less than they may.

    Raises:
        OutOfMemory: they take as much as they may. BadSetting: the limit is no number.
    """
    limit, used = _limit(*_CACHE), bytes_below(runs_root()) + bytes_below(jobs_root())
    if used >= limit:
        raise OutOfMemory(
            f"the cache holds {used / _GB:.2f} GB of runs and jobs, at most {limit / _GB:g} GB may be stored; delete "
            f"some runs, or raise {_CACHE[0]}"
        )


def room_for_import(root: Path | None = None) -> int:
    """Bytes that an archive may unpack to, at most ``MAX_BYTES``.

    Raises:
        OutOfMemory: imports take as much as they may. BadSetting: the limit is no number.
    """
    limit, used = _limit(*_IMPORTS), imported_bytes(root)
    if used >= limit:
        raise OutOfMemory(
            f"imported runs take {used / _GB:.2f} GB, at most {limit / _GB:g} GB may be imported; delete some, or "
            f"raise {_IMPORTS[0]}"
        )
    return min(MAX_BYTES, limit - used)

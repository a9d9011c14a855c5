"""Where things live on disk. One place, so that a test or a user can move all of it with ``HARMVIZ_CACHE``."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
BUILTIN_DATA = PACKAGE / "data" / "builtin"
#: The ids of the runs that are kept in git: a JSON list.
SHIPPED_RUNS = PACKAGE.parent / "cache" / "shipped.json"
#: What makes the embedded model the aligned one: a checkpoint's adapter, of a ladder of ``python -m harmviz align``.
ALIGNED_ADAPTER = PACKAGE / "data" / "align" / "aligned.safetensors"


def cache_root() -> Path:
    """The cache folder: ``$HARMVIZ_CACHE``, or ``cache/`` beside the package."""
    return Path(os.environ.get("HARMVIZ_CACHE") or PACKAGE.parent / "cache")


def runs_root() -> Path:
    """Stored runs, one folder each."""
    return cache_root() / "runs"


def shipped_runs_root() -> Path:
    """Where the runs kept in git lie, wherever ``HARMVIZ_CACHE`` points."""
    return PACKAGE.parent / "cache" / "runs"


def assets_root() -> Path:
    """Fetched files (the embedded model, the data set). Never in git."""
    return cache_root() / "assets"


def masks_root() -> Path:
    """Mask files that the Playground offers beside a run's own, where they fit the run's model."""
    return cache_root() / "masks"


def jobs_root() -> Path:
    """Runs started from a page: settings, log and outcome of each child process, one folder each."""
    return cache_root() / "jobs"


def model_roots() -> tuple[Path, ...]:
    """Folders below which pages may open local models: ``$HARMVIZ_MODEL_ROOTS`` (separated like ``$PATH``), or
    ``models/`` in the cache. The command line takes any path."""
    given = os.environ.get("HARMVIZ_MODEL_ROOTS") or str(cache_root() / "models")
    return tuple(Path(p).expanduser() for p in given.split(os.pathsep) if p)

"""Where things live on disk. One place, so that a test or a user can move all of it with ``HARMVIZ_CACHE``."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
BUILTIN_DATA = PACKAGE / "data" / "builtin"


def cache_root() -> Path:
    """The cache folder: ``$HARMVIZ_CACHE``, or ``cache/`` beside the package."""
    return Path(os.environ.get("HARMVIZ_CACHE") or PACKAGE.parent / "cache")


def runs_root() -> Path:
    """Stored runs, one folder each."""
    return cache_root() / "runs"


def assets_root() -> Path:
    """Fetched files (the embedded model, the data set). Never in git."""
    return cache_root() / "assets"

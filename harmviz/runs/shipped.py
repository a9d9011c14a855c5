"""The runs that are part of harmviz itself, kept in git."""

from __future__ import annotations

import json
from functools import cache

from harmviz.paths import SHIPPED_RUNS


@cache
def shipped_runs() -> frozenset[str]:
    """Ids of the runs that are part of harmviz itself: ``cache/shipped.json`` names them; none where the code came
    without it."""
    return frozenset(json.loads(SHIPPED_RUNS.read_bytes())) if SHIPPED_RUNS.is_file() else frozenset()

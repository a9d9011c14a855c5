"""The committed results, found by what they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harmviz.paths import shipped_runs_root
from harmviz.store import Run, list_runs, shipped_runs


@pytest.fixture(scope="session")
def committed() -> Callable[[str], Run]:
    """Gives the one committed result of an experiment."""

    def of(experiment: str) -> Run:
        (found,) = [r for r in list_runs(shipped_runs_root()) if r.id in shipped_runs() and r.manifest["method"].get("experiment") == experiment]
        return found

    return of

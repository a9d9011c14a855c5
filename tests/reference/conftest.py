"""The committed result that a module is about, and what holds for every one of them."""

from __future__ import annotations

import pytest

from harmviz.paths import shipped_runs_root
from harmviz.runs import Run, list_runs, shipped_runs, verify_run


@pytest.fixture(scope="module")
def result(request: pytest.FixtureRequest) -> Run:
    """The one committed result of the module's ``EXPERIMENT``: whole, small, and made from what is committed, runs or
    ladders.
    """
    found = [
        r
        for r in list_runs(shipped_runs_root())
        if r.id in shipped_runs() and r.manifest["method"].get("experiment") == request.module.EXPERIMENT
    ]
    (run,) = found
    assert verify_run(run) == []
    parents, sources = set(run.manifest["parents"]), [s["ladder"] for s in run.manifest["method"].get("sources", [])]
    assert parents or sources
    assert parents <= shipped_runs()
    assert set(sources) <= shipped_runs()
    assert sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file()) <= 25e6
    return run

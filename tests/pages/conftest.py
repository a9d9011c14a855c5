"""Fixtures of the page tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricated import make_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs of a cache that holds none, and no model."""
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    return tmp_path / "runs"


@pytest.fixture
def mapped(runs: Path) -> Path:
    """The folder of runs of a cache that holds one map run."""
    make_run(runs)
    return runs

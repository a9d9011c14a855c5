"""What pages read of stored runs, kept in memory between interactions. Every key names the run's folder and contents.

Nothing here loads a model. Candidates are memory-mapped: their arrays are read as they are used, and shared by all
visitors (read only).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from safetensors.numpy import load_file

from harmviz import runs as store
from harmviz.masks.candidates import Candidates
from harmviz.paths import runs_root
from harmviz.runs import Run


def contents(run: Run) -> tuple[str, str]:
    """The key of everything computed from a run: where it is, and what is in it."""
    return str(run.path), store.result_digest(run)


def results(run: Run) -> pd.DataFrame:
    """All tidy rows of the run. Shared: do not change it.

    Raises:
        RunIncompatible: a results file is missing or damaged.
    """
    return _results(*contents(run))


@st.cache_resource(max_entries=8, show_spinner=False)
def _results(folder: str, digest: str) -> pd.DataFrame:
    return store.read_run(Path(folder)).results()


def candidates(run: Run) -> Candidates:
    """What masks are selected from.

    Raises:
        RunIncompatible: the run has none, or the file is damaged.
    """
    return _candidates(*contents(run))


@st.cache_resource(max_entries=4, show_spinner=False)
def _candidates(folder: str, digest: str) -> Candidates:
    return Candidates.load(store.read_run(Path(folder)).candidates_path)


def maps(run: Run) -> dict[str, np.ndarray]:
    """``<set>/<entry>`` → array with one place per scored matrix (see ``harmviz.claims.mapping.maps``). Shared, read
    only.

    Raises:
        RunIncompatible: the run has no maps.
    """
    return _maps(*contents(run))


@st.cache_resource(max_entries=4, show_spinner=False)
def _maps(folder: str, digest: str) -> dict[str, np.ndarray]:
    return load_file(store.read_run(Path(folder)).maps_path)


def runs() -> list[Run]:
    """All complete runs, newest first; read again only where a manifest was added, removed or changed."""
    root = runs_root()
    manifests = sorted(root.glob("*/manifest.json")) if root.is_dir() else []
    return _runs(str(root), tuple((p.parent.name, p.stat().st_mtime_ns) for p in manifests))


@st.cache_resource(max_entries=2, show_spinner=False)
def _runs(root: str, manifests: tuple[tuple[str, int], ...]) -> list[Run]:
    return store.list_runs(Path(root))

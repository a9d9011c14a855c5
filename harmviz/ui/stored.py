"""What pages read of stored runs, kept in memory between interactions. Every key names the run's folder and contents.

Nothing here loads a model. Candidates are memory-mapped: their arrays are read as they are used, and shared by all
visitors (read only).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from safetensors.numpy import load_file

from harmviz import runs as store
from harmviz.masks.candidates import Candidates
from harmviz.paths import runs_root
from harmviz.runs import BrokenRun, Run, imports
from harmviz.runs.manifest import LET_GO


def contents(run: Run) -> tuple[str, str]:
    """The key of everything computed from a run: where it is, and what is in it (what was let go is not)."""
    return str(run.path), " ".join([store.result_digest(run), *sorted(run.manifest.get(LET_GO, {}))])


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
    """All usable runs, as ``list_runs`` orders them; read again only where one was added, removed or changed.

    Raises:
        HarmvizError: the folder of runs cannot be listed.
    """
    return _listed(str(runs_root()), _state(runs_root()))[0]


def damaged() -> list[BrokenRun]:
    """What lies among the runs and cannot be used; read again as ``runs`` is.

    Raises:
        HarmvizError: as ``runs``.
    """
    return _listed(str(runs_root()), _state(runs_root()))[1]


def _state(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Size and time of everything that lists read: entries, imports, manifests, results, masks."""
    state = []
    for pattern in ("*", ".imported/*", "*/*", "*/results/*", "*/masks/*"):
        for path in root.glob(pattern):
            inside = path.relative_to(root).parts
            if any(part.startswith(".") for part in inside if part != imports.FOLDER):
                continue  # being made, taken in or deleted
            with suppress(FileNotFoundError):
                look = path.lstat()
                state.append((str(path), look.st_size, look.st_mtime_ns))
    return tuple(sorted(state))


@st.cache_resource(max_entries=2, show_spinner=False)
def _listed(root: str, state: tuple[tuple[str, int, int], ...]) -> tuple[list[Run], list[BrokenRun]]:
    return store.list_runs(Path(root)), store.broken_runs(Path(root))

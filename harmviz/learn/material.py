"""What the steps of the course draw from, read once a run and kept between interactions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from harmviz import runs as store
from harmviz.claims.mapping.reported import Reported, first_contrast
from harmviz.claims.mapping.views.overlap import Overlap
from harmviz.errors import RunIncompatible
from harmviz.learn import evidence, method, outcome
from harmviz.learn.lesson import with_everything
from harmviz.masks.candidates import Candidates
from harmviz.runs import Run
from harmviz.runs.point import Contrast
from harmviz.ui import experiments, stored


@dataclass(frozen=True, eq=False)
class Material:
    """What the steps draw from: a map run with its rows, and a stored stage scene if any. Shared, read only."""

    run: Run
    results: pd.DataFrame
    reported: Reported
    candidates: Candidates | None
    bins: pd.DataFrame
    curve: pd.DataFrame
    shared: Overlap | None
    scene: Run | None
    scene_results: pd.DataFrame

    @property
    def contrast(self) -> Contrast:
        """The selection shown where one is enough."""
        return "both" if first_contrast(self.run) == "both" else "none"


def usable(run: Run) -> Run:
    """The run in the sidebar; where it lacks what the pictures need, the reference run, if that has it."""
    other = store.default_run()
    return run if with_everything(run) or not with_everything(other) else other


def of_run(run: Run) -> Material:
    """What the course draws from this run, and from the stage scene that pages show."""
    scenes = experiments.stored_of("scene")
    scene = scenes[0] if scenes else None
    return _read(*stored.contents(run), *(stored.contents(scene) if scene is not None else ("", "")))


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(folder: str, digest: str, scene_folder: str, scene_digest: str) -> Material:
    run = store.read_run(Path(folder))
    files, results = run.manifest["files"], stored.results(run)
    try:
        candidates = stored.candidates(run) if run.has_candidates else None
    except RunIncompatible:
        candidates = None  # damaged: the steps that need them say so, the others stand
    scene = store.read_run(Path(scene_folder)) if scene_folder else None
    return Material(
        run=run,
        results=results,
        reported=Reported(run, results),
        candidates=candidates,
        bins=method.score_bins(run, stored.maps(run) if "maps.safetensors" in files else {}),
        curve=evidence.curve(run, results),
        shared=outcome.overlap_of(results),
        scene=scene,
        scene_results=pd.DataFrame() if scene is None else stored.results(scene),
    )

"""An experiment being made: a run of kind ``experiment``, stage by stage, resumable like every other run.

A module of this package says what there is to do (``Plan``) and does it (a function of ``Experiment``); this one gives
the run its id, keeps finished stages and writes the manifest.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.runs import PartialRun, Row, Run, begin, find_run, run_id, write_rows
from harmviz.runs.progress import Listener, Progress
from harmviz.runs.stages import run_stage

PACKAGES = ("torch", "transformers", "numpy", "safetensors")


@dataclass(frozen=True)
class Plan:
    """What an experiment is, before it begins.

    Attributes:
        name: of the claim (``harmviz.claims.CLAIMS``); rows and manifest carry it.
        version: of the method; a change of what is computed needs a new one.
        model: the manifest's ``model`` (``model_facts``): the model, or the first of several.
        data: the manifest's ``data``: id, hash, counts, left_out, notes.
        parameters: every setting that determines the result, as JSON; its seeds go into ``seeds``.
        parents: ids of the runs it is computed from.
        determinants: what else determines the result, e.g. hashes of the other models, of masks, of prompts.
        units: the whole work, in forward passes of one sample.
        notes: what the manifest's ``method`` says beside name and version, e.g. names of the masks that were compared.
    """

    name: str
    version: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    parameters: Mapping[str, Any]
    units: float
    device: str = "cpu"
    parents: Sequence[str] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    determinants: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Equal settings on equal model, data and parents have equal ids."""
        return run_id(
            [str(self.model["name"]), self.name],
            {
                "experiment": self.name,
                "version": self.version,
                "weight_hash": self.model["weight_hash"],
                "dtype": self.model["dtype"],
                "device": self.device,
                "data_hash": self.data["hash"],
                "parents": list(self.parents),
                "parameters": dict(self.parameters),
                "seeds": dict(self.seeds),
                "determinants": dict(self.determinants),
            },
        )


def model_facts(loaded: Any) -> dict[str, Any]:
    """What a manifest says of a loaded model (``harmviz.models.load.LoadedModel``)."""
    return {
        "name": loaded.name,
        "revision": loaded.revision,
        "weight_hash": loaded.weight_hash,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "n_parameters": loaded.n_parameters,
        "n_scored_weights": loaded.table.n_weights,
        "family": loaded.model.config.model_type,
    }


@dataclass
class Experiment:
    """The experiment at work: finished stages are skipped, their files found where they were left."""

    plan: Plan
    partial: PartialRun
    progress: Progress

    def stage(self, name: str, units: float, work: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """As ``harmviz.runs.stages.run_stage``."""
        return run_stage(self.partial, self.progress, name, units, work)

    def array(self, name: str, units: float, work: Callable[[], np.ndarray]) -> np.ndarray:
        """The array that ``work`` returns, computed once and kept in scratch until the run is complete."""
        target = f"scratch/{name}.npy"

        def kept() -> None:
            sink = io.BytesIO()
            np.save(sink, work(), allow_pickle=False)
            self.partial.write(target, sink.getvalue())

        self.stage(name, units, kept)
        found: np.ndarray = np.load(self.partial.path(target), allow_pickle=False)
        return found

    def rows(self, name: str, work: Callable[[], Iterable[Row]], units: float = 0.0) -> None:
        """Writes the rows that ``work`` yields to ``results/<name>.parquet``."""
        self.stage(f"rows.{name}", units, lambda: write_rows(self.partial.path(f"results/{name}.parquet"), work()))


def run_experiment(
    plan: Plan,
    work: Callable[[Experiment], Mapping[str, Any] | None],
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the experiment of this plan.

    ``work`` does the stages; what it returns goes into the manifest's ``method`` beside the plan's notes.

    Args:
        root: folder of runs; the default cache's otherwise.
        resume: go on from partial work of an interrupted process; without it such work is deleted.
        listener: told the progress, a dict with stage, fraction, elapsed_s, eta_s.

    Raises:
        RunIncompatible: another process is computing it, or a run of this id is damaged.
        HarmvizError: the folder cannot be written. OutOfMemory: the disk is full.
    """
    if (existing := find_run(plan.run_id, root)) is not None:
        return existing
    with begin(plan.run_id, root, resume=resume) as partial:
        progress = Progress(plan.units, listener, partial.folder / "progress.json")
        found = work(Experiment(plan, partial, progress)) or {}
        return partial.commit(
            {
                "kind": "experiment",
                "parents": list(plan.parents),
                "model": dict(plan.model),
                "weights": [],
                "data": dict(plan.data),
                "method": {"experiment": plan.name, "version": plan.version, **plan.notes, **found},
                "parameters": dict(plan.parameters),
                "seeds": dict(plan.seeds),
                "software": {name: version(name) for name in PACKAGES},
                "hardware": {"device": plan.device, "machine": platform.machine()},
                "digests": {},
            }
        )

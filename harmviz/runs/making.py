"""The one maker of resumable work: maps, experiments of claims and ladders of tuned models become runs here.

::

    plan = Plan("example", 1, model_facts(loaded), data, parameters, units=400.0)

    def work(making: Making) -> Mapping[str, Any]:
        scores = making.array("scores", 300.0, compute)          # once, whatever happens to the process
        making.rows("rates", lambda: rows_of(scores))
        return {"n_scores": len(scores)}                         # goes into the manifest's method

    run = make(plan, work, resume=True)

Whoever computes says what is to be done (``Plan``) and does it stage by stage (a function of ``Making``); this module
gives the run its id, skips the stages that an earlier process finished, tells the progress and writes the manifest.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from harmviz.files import canonical_json
from harmviz.runs.manifest import run_id
from harmviz.runs.partial import PartialRun, begin
from harmviz.runs.progress import Listener, Progress
from harmviz.runs.rows import Row, write_rows
from harmviz.runs.stored import Run, find_run

PACKAGES = ("torch", "transformers", "numpy", "safetensors")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Package → version installed here."""
    return {name: version(name) for name in packages}


@dataclass(frozen=True)
class Plan:
    """What a run is, before it begins.

    Attributes:
        name: of the work, e.g. the claim's; an experiment's manifest carries it.
        version: of the method; a change of what is computed needs a new one.
        model: the manifest's ``model`` (``model_facts``): the model, or the first of several.
        data: the manifest's ``data``: id, hash, counts, left_out, notes; the work may add to it (``Making.data``).
        parameters: every setting that determines the result, as JSON; its seeds go into ``seeds``.
        units: the whole work, in forward passes of one sample.
        parents: ids of the runs it is computed from.
        determinants: what else determines the result, e.g. hashes of the other models, of masks, of prompts.
        notes: what the manifest's ``method`` says beside name and version, e.g. names of the masks that were compared.
        kind: the manifest's: ``map`` or ``experiment``.
        experiments: what its rows may carry in the column ``experiment``; the name alone where nothing is given.
        given_id: the run's id where it is made in another way than from the fields above.
        weights: the manifest's ``weights``: the address book of the scored weights (``WeightTable.to_json``).
        hardware: what the manifest's ``hardware`` says beside device and machine.
        software: the manifest's ``software``.
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
    kind: str = "experiment"
    experiments: Sequence[str] = ()
    given_id: str | None = None
    weights: Sequence[Any] = ()
    hardware: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=versions)

    @property
    def run_id(self) -> str:
        """Equal settings on equal model (weights, tokenizer, template, config), data and parents have equal ids."""
        if self.given_id is not None:
            return self.given_id
        return run_id(
            [str(self.model["name"]), self.name],
            {
                "experiment": self.name,
                "version": self.version,
                **identity_of(self.model),
                "dtype": self.model["dtype"],
                "device": self.device,
                "data_hash": self.data["hash"],
                "parents": list(self.parents),
                "parameters": dict(self.parameters),
                "seeds": dict(self.seeds),
                "determinants": dict(self.determinants),
            },
        )

    def declares(self, experiment: str | None) -> bool:
        """Whether its rows may carry this in the column ``experiment``."""
        return experiment in (self.experiments or (self.name,))


def identity_of(model: Mapping[str, Any]) -> dict[str, str]:
    """What a manifest's ``model`` is recognised by: the hashes of its weights and of what it reads with. Manifests of
    older runs hold the first alone."""
    return {name: model[name] for name in ("weight_hash", "tokenizer_hash", "config_hash") if name in model}


def model_facts(loaded: Any) -> dict[str, Any]:
    """What a manifest says of a loaded model (``harmviz.models.load.LoadedModel``)."""
    return {
        "name": loaded.name,
        "revision": loaded.revision,
        "weight_hash": loaded.weight_hash,
        "tokenizer_hash": loaded.tokenizer_hash,
        "config_hash": loaded.config_hash,
        "notes": list(loaded.notes),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "n_parameters": loaded.n_parameters,
        "n_scored_weights": loaded.table.n_weights,
        "family": loaded.model.config.model_type,
    }


def hardware_facts(loaded: Any) -> dict[str, Any]:
    """What a manifest's ``hardware`` says of a model that several devices share, each with a copy of it
    (``LoadedModel.ranks``) or with some of its layers (``LoadedModel.others``); else nothing.

    They take no part in a run's id: the same settings make the same run on any number of devices.
    """
    if loaded.others:
        return {"devices": [str(device) for device in loaded.devices]}
    return {} if loaded.ranks is None else dict(loaded.ranks.facts)


@dataclass
class Making:
    """A run at work: finished stages are skipped, their files found where they were left.

    ``data`` and ``digests`` are the manifest's; what the work finds out about its data it writes there.
    """

    plan: Plan
    partial: PartialRun
    progress: Progress
    data: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def stage(self, name: str, units: float, work: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """Does ``work`` unless the stage is done, and returns its info: what ``work`` returned, kept as JSON.

        ``units``: what it costs, in forward passes of one sample. Every file that ``work`` writes below
        ``partial.path(…)`` belongs to the stage and is deleted where the stage did not finish.
        """
        if self.partial.done(name):
            self.progress.skip(units)
        else:
            before = self.progress.done
            self.progress.begin(name)
            self.partial.start(name)
            try:
                info = work() or {}
            except (FileNotFoundError, ValueError, EOFError):  # the last two: numpy's, of a file that is empty by now
                self.partial.check()  # says so, where what it builds on was deleted meanwhile
                raise
            self.partial.finish(name, info)
            self.progress.done = before + units
        return self.partial.info(name)

    def json(self, name: str, units: float, work: Callable[[], Any]) -> Any:
        """The JSON that ``work`` returns (answers, texts), computed once, kept in scratch until the run is complete."""
        target = f"scratch/{name}.json"
        self.stage(name, units, lambda: self._keep(target, canonical_json(work()).encode()))
        return json.loads(self.partial.path(target).read_bytes())

    def _keep(self, target: str, content: bytes) -> None:
        self.partial.write(target, content)

    def array(self, name: str, units: float, work: Callable[[], np.ndarray]) -> np.ndarray:
        """The array that ``work`` returns, computed once and kept in scratch until the run is complete."""
        target = f"scratch/{name}.npy"

        def keep() -> None:
            sink = io.BytesIO()
            np.save(sink, work(), allow_pickle=False)
            self._keep(target, sink.getvalue())

        self.stage(name, units, keep)
        array: np.ndarray = np.load(self.partial.path(target), allow_pickle=False)
        return array

    def arrays(self, name: str, units: float, work: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays that ``work`` returns by name, computed once and kept in scratch until the run is complete."""
        target = f"scratch/{name}.safetensors"

        def keep() -> None:
            self._keep(target, save({key: np.ascontiguousarray(value) for key, value in work().items()}))

        self.stage(name, units, keep)
        return dict(load_file(self.partial.path(target)))

    def rows(self, name: str, work: Callable[[], Iterable[Row]], units: float = 0.0) -> None:
        """Writes the rows that ``work`` yields to ``results/<name>.parquet``, as a stage.

        Raises:
            ValueError: as ``write_rows``.
        """
        self.stage(f"rows.{name}", units, lambda: self.write_rows(name, work()))

    def write_rows(self, name: str, rows: Iterable[Row]) -> None:
        """Writes the rows to ``results/<name>.parquet``, inside a stage.

        Raises:
            ValueError: a row's ``experiment`` is none that the plan declares.
        """
        write_rows(self.partial.path(f"results/{name}.parquet"), self._declared(rows))

    def _declared(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if not self.plan.declares(row.experiment):
                raise ValueError(f"{self.plan.name}: its plan declares no rows of experiment {row.experiment!r}")
            yield row


def make(
    plan: Plan,
    work: Callable[[Making], Mapping[str, Any] | None],
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the run of this plan.

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
        making = Making(plan, partial, progress, dict(plan.data))
        result = work(making) or {}
        return partial.commit(_manifest(making, result))


def _manifest(making: Making, result: Mapping[str, Any]) -> dict[str, Any]:
    plan = making.plan
    named = {"experiment": plan.name} if plan.kind == "experiment" else {}
    return {
        "kind": plan.kind,
        "parents": list(plan.parents),
        "model": dict(plan.model),
        "weights": list(plan.weights),
        "data": making.data,
        "method": {**named, "version": plan.version, **plan.notes, **result},
        "parameters": dict(plan.parameters),
        "seeds": dict(plan.seeds),
        "software": dict(plan.software),
        "hardware": {"device": plan.device, "machine": platform.machine(), **plan.hardware},
        "digests": making.digests,
    }

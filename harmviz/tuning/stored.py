"""Ladders on disk: runs of the experiment ``align``, whose files are the adapters of their checkpoints. No torch.

cache/runs/LADDER/manifest.json                                  method: arms, steps, evaluation, start, checkpoints
cache/runs/LADDER/adapters/<arm>-<stage>-<step>.safetensors      adapter weights only (``harmviz.models.adapters``)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmviz.errors import RunIncompatible, RunNotFound
from harmviz.files import canonical_json
from harmviz.paths import runs_root, shipped_runs_root
from harmviz.runs import Run, list_runs, read_run, shipped_runs, verify_run
from harmviz.runs.manifest import LET_GO

#: What its manifest's method calls the experiment.
ALIGN = "align"
#: What stood in place of the manifest before ladders were runs.
OLD_MANIFEST = "ladder.json"


def is_ladder(run: Run) -> bool:
    """Whether the run is a ladder."""
    return run.manifest["method"].get("experiment") == ALIGN


@dataclass(frozen=True)
class Ladder:
    """A complete ladder: its run, read as one reads a ladder."""

    run: Run

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def model(self) -> Mapping[str, Any]:
        """What is known of the start model, among it ``name`` and ``weight_hash``."""
        return dict(self.run.manifest["model"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """``AlignSpec.as_dict()``."""
        return dict(self.run.manifest["parameters"])

    @property
    def start(self) -> Mapping[str, Any]:
        """``depth`` and ``numbers`` of the start model."""
        return dict(self.run.manifest["method"]["start"])

    @property
    def checkpoints(self) -> Sequence[Mapping[str, Any]]:
        """``name``, ``arm``, ``stage``, ``step``, ``file``, ``depth`` and ``numbers`` of each, in order of training."""
        return list(self.run.manifest["method"]["checkpoints"])

    @property
    def let_go(self) -> Mapping[str, str]:
        """File → sha256 of the checkpoints whose weights were deleted since (``harmviz.runs.slimming``)."""
        return dict(self.run.manifest.get(LET_GO, {}))

    def checkpoint(self, name: str) -> Mapping[str, Any]:
        """The entry of one checkpoint.

        Raises:
            RunIncompatible: the ladder has no such checkpoint.
        """
        for entry in self.checkpoints:
            if entry["name"] == name:
                return entry
        names = ", ".join(entry["name"] for entry in self.checkpoints)
        raise RunIncompatible(f"ladder {self.id} has no checkpoint {name!r}; it has {names}")

    def adapter_path(self, checkpoint: str) -> Path:
        """The adapter file of a checkpoint.

        Raises:
            RunIncompatible: as ``checkpoint``, or its weights were let go.
        """
        file = self.checkpoint(checkpoint)["file"]
        if file in self.let_go:
            raise RunIncompatible(
                f"the weights of {self.id}/{checkpoint} were deleted once they were measured (runs slim); what was "
                "measured is taken over with --with RESULT, and `python -m harmviz align` with its settings, --out "
                "elsewhere, makes them again"
            )
        return self.path / file

    def sha256(self, checkpoint: str) -> str:
        """sha256 of a checkpoint's adapter file.

        Raises:
            RunIncompatible: as ``checkpoint``.
        """
        file = self.checkpoint(checkpoint)["file"]
        return str(self.let_go.get(file) or self.run.manifest["files"][file])

    def document(self) -> dict[str, Any]:
        """The ladder as one JSON document, as ``align --json`` prints it."""
        manifest = self.run.manifest
        entries = [{**c, "sha256": self.sha256(c["name"]), "bytes": self._bytes(c["file"])} for c in self.checkpoints]
        shared = {key: manifest[key] for key in ("run_id", "created", "model", "data", "software")}
        return {"id": self.id, **shared, "settings": self.settings, **manifest["method"], "checkpoints": entries}

    def _bytes(self, file: str) -> int:
        return 0 if file in self.let_go else (self.path / file).stat().st_size


def data_facts(hashes: Mapping[str, str], counts: Mapping[str, int], **more: Any) -> dict[str, Any]:
    """What a ladder's manifest says of its data: hash and number of rows of every set, and ``more``."""
    return {
        "id": ALIGN,
        "hash": hashlib.sha256(canonical_json(dict(hashes)).encode()).hexdigest(),
        "counts": {name: {"rows": n} for name, n in counts.items()},
        "left_out": {},
        "notes": [],
        "hashes": dict(hashes),
        **more,
    }


def open_ladder(path: Path) -> Ladder:
    """The complete ladder in this folder, its files checked against their sha256.

    Raises:
        RunIncompatible: no complete ladder, another schema, or a file that is missing or changed; the message names it.
    """
    try:
        run = read_run(path)
    except RunNotFound as e:
        if (path / OLD_MANIFEST).is_file():
            raise RunIncompatible(
                f"{path} is a ladder of an older harmviz; take it in with `python -m harmviz runs import {path}`"
            ) from e
        raise RunIncompatible(f"{path} holds no complete ladder; make one with `python -m harmviz align`") from e
    if not is_ladder(run):
        raise RunIncompatible(f"run {run.id} is no ladder; make one with `python -m harmviz align`")
    if problems := verify_run(run):
        raise RunIncompatible(f"ladder {run.id}: {problems[0]}; restore it or make the ladder again")
    return Ladder(run)


def ladders(*, with_weights: bool = False) -> dict[str, Path]:
    """Id → folder of every complete ladder, by id; one among the runs here comes before a shipped one of its id.
    ``with_weights``: only those that have let go of no checkpoint, so that they can be measured."""
    runs = [run for root in (shipped_runs_root(), runs_root()) for run in list_runs(root) if is_ladder(run)]
    found = {run.id: run for run in runs}
    return {i: run.path for i, run in sorted(found.items()) if not (with_weights and Ladder(run).let_go)}


def checkpoints() -> list[str]:
    """``<ladder>/<checkpoint>`` of every checkpoint of the ladders made here that can be loaded, by name."""
    made_here = [Ladder(run) for run in list_runs() if is_ladder(run) and run.id not in shipped_runs()]
    entries = ((ladder, e) for ladder in made_here for e in ladder.checkpoints if e["file"] not in ladder.let_go)
    return sorted(f"{ladder.id}/{entry['name']}" for ladder, entry in entries)

"""Complete runs: open, list, verify. Reading never changes anything on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harmviz.errors import RunIncompatible, RunNotFound
from harmviz.files import canonical_json, files_below, sha256_of_file
from harmviz.models.weights import WeightTable
from harmviz.paths import runs_root
from harmviz.runs.manifest import MANIFEST, manifest_problems
from harmviz.runs.rows import read_rows, rows_problem

#: Runs of the embedded model on the default data set: what a fresh checkout opens with.
REFERENCE_PREFIX = "smollm2-135m-instruct-pyrit-"


@dataclass(frozen=True)
class Run:
    """One complete run on disk. Holds the manifest; everything else is read when asked for."""

    path: Path
    manifest: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def id(self) -> str:
        return str(self.manifest["run_id"])

    @property
    def kind(self) -> str:
        """``map`` (scores of one model) or ``experiment`` (a result over one or more runs)."""
        return str(self.manifest["kind"])

    @property
    def model_name(self) -> str:
        return str(self.manifest["model"]["name"])

    @property
    def model_id(self) -> str:
        """What its model is loaded by: its name, with ``@revision`` if it has one; a local model needs its folder."""
        revision = self.manifest["model"].get("revision")
        return f"{self.model_name}@{revision}" if revision else self.model_name

    @property
    def created(self) -> str:
        """When it was completed, UTC, ISO 8601."""
        return str(self.manifest["created"])

    @cached_property
    def table(self) -> WeightTable:
        """The scored weights' address book; empty for an experiment over several models."""
        return WeightTable.from_json(self.manifest["weights"])

    def file(self, name: str) -> Path:
        """The path of a file the manifest lists.

        Raises:
            RunIncompatible: the run has no such file.
        """
        if name not in self.manifest["files"]:
            raise RunIncompatible(f"run {self.id} has no {name}; choose a run that computed it, or compute it again")
        return self.path / name

    @property
    def candidates_path(self) -> Path:
        """``candidates.safetensors``: what masks are selected from.

        Raises:
            RunIncompatible: this run has none.
        """
        return self.file("candidates.safetensors")

    @property
    def maps_path(self) -> Path:
        """``maps.safetensors``: mass, counts and tiles per set, layer and module.

        Raises:
            RunIncompatible: this run has none.
        """
        return self.file("maps.safetensors")

    def results(self) -> pd.DataFrame:
        """All tidy rows of the run (``ROW_COLUMNS``), files in name order.

        Raises:
            RunIncompatible: a results file is missing or damaged.
        """
        names = sorted(n for n in self.manifest["files"] if n.startswith("results/") and n.endswith(".parquet"))
        return read_rows(self.path / n for n in names)

    def masks(self) -> dict[str, Path]:
        """Name → path of the masks stored with the run."""
        files = sorted(n for n in self.manifest["files"] if n.startswith("masks/") and n.endswith(".safetensors"))
        return {n.removeprefix("masks/").removesuffix(".safetensors"): self.path / n for n in files}


@dataclass(frozen=True)
class BrokenRun:
    """A folder among the runs that cannot be used, and why."""

    path: Path
    reason: str


def read_run(path: Path) -> Run:
    """The run in this folder. Checks the manifest and that every file is there, not their contents (``verify_run``).

    Raises:
        RunNotFound: no such folder, or no manifest in it (an incomplete run).
        RunIncompatible: the manifest is damaged or of another schema, or a file is missing.
    """
    where = path / MANIFEST
    if not where.is_file():
        raise RunNotFound(f"{path} holds no {MANIFEST}: it is no complete run")
    try:
        manifest = json.loads(where.read_bytes())
    except (ValueError, OSError) as e:
        raise RunIncompatible(
            f"{where} cannot be read ({e}); restore it, or delete the folder and compute the run again"
        ) from e
    if problems := manifest_problems(manifest):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RunIncompatible(
            f"{where}: {problems[0]}{more}; restore it, or delete the folder and compute the run again"
        )
    if missing := [n for n in manifest["files"] if not (path / n).is_file()]:
        raise RunIncompatible(
            f"{path}: {missing[0]} is missing; restore it, or delete the folder and compute the run again"
        )
    return Run(path, manifest)


def _scan(root: Path | None) -> tuple[list[Run], list[BrokenRun]]:
    where = root or runs_root()
    runs, broken = [], []
    for folder in sorted(where.iterdir()) if where.is_dir() else []:
        if folder.name.startswith(".") or not folder.is_dir():
            continue  # partial work, locks, and files of the system
        try:
            run = read_run(folder)
        except (RunNotFound, RunIncompatible) as e:
            broken.append(BrokenRun(folder, str(e)))
            continue
        if run.id == folder.name:
            runs.append(run)
        else:
            broken.append(
                BrokenRun(folder, f"the folder {folder} holds run {run.id}: rename it to that, or delete the copy")
            )
    return sorted(runs, key=lambda r: (r.created, r.id), reverse=True), broken


def list_runs(root: Path | None = None) -> list[Run]:
    """All complete runs, newest first. Damaged folders are left out; ``broken_runs`` names them."""
    return _scan(root)[0]


def broken_runs(root: Path | None = None) -> list[BrokenRun]:
    """Folders among the runs that no reader can use, each with its reason."""
    return _scan(root)[1]


def find_run(run_id: str, root: Path | None = None) -> Run | None:
    """The run of exactly this id with every byte verified, or None where there is none: may a computation be skipped?

    Raises:
        RunIncompatible: there is a folder of that name, but it is damaged.
    """
    folder = (root or runs_root()) / run_id
    if not folder.exists():
        return None
    try:
        run = read_run(folder)
    except RunNotFound as e:
        raise RunIncompatible(f"{e}; delete the folder and run again") from e
    problems = verify_run(run) if run.id == run_id else [f"it holds run {run.id}"]
    if problems:
        raise RunIncompatible(f"{folder} is damaged ({problems[0]}); delete the folder and run again")
    return run


def open_run(which: str | os.PathLike[str], root: Path | None = None) -> Run:
    """The run named by its id, an unambiguous beginning of it, its folder, or ``latest``: the newest map, which is what
    commands work on, or the newest experiment where there is no map.

    Raises:
        RunNotFound: nothing has this name, or several do; the message lists what there is.
        RunIncompatible: what has this name is damaged.
    """
    text = os.fspath(which)
    path = Path(text)
    if isinstance(which, os.PathLike) or (path / MANIFEST).is_file():
        return read_run(path)
    runs, broken = _scan(root)
    if text == "latest" and runs:
        return next((r for r in runs if r.kind == "map"), runs[0])
    fits = [r for r in runs if r.id == text] or [r for r in runs if text and r.id.startswith(text)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise RunNotFound(f"{text!r} could be any of {', '.join(r.id for r in fits)}; give more of the name")
    if damaged := [b for b in broken if b.path.name == text]:
        raise RunIncompatible(damaged[0].reason)
    names = ", ".join(r.id for r in runs[:20])
    there_is = f"there is: {names}" if names else "there are no runs yet; make one with `python -m harmviz run`"
    raise RunNotFound(f"no run named {text!r} in {root or runs_root()}; {there_is}")


def default_run(root: Path | None = None) -> Run:
    """What a page opens with: the reference run of the embedded model (the oldest, i.e. the committed one), otherwise
    the newest map, otherwise the newest run.

    Raises:
        RunNotFound: there are no runs.
    """
    runs = list_runs(root)
    maps = [r for r in runs if r.kind == "map"]
    reference = [r for r in maps if r.id.startswith(REFERENCE_PREFIX)]
    for chosen in (reference[-1:], maps[:1], runs[:1]):
        if chosen:
            return chosen[0]
    raise RunNotFound(f"there are no runs in {root or runs_root()}; make one with `python -m harmviz run`")


def verify_run(run: Run) -> list[str]:
    """What is wrong with the run on disk, one line each: manifest, missing, extra or changed files, columns."""
    problems = manifest_problems(run.manifest)
    if problems:
        return problems
    listed: Mapping[str, str] = run.manifest["files"]
    present = set(files_below(run.path)) - {MANIFEST}
    problems += [f"{n} is missing" for n in sorted(set(listed) - present)]
    problems += [f"{n} is not part of the run" for n in sorted(present - set(listed))]
    for name in sorted(present & set(listed)):
        if sha256_of_file(run.path / name) != listed[name]:
            problems.append(f"{name} was changed after the run was written")
        elif name.startswith("results/") and name.endswith(".parquet") and (why := rows_problem(run.path / name)):
            problems.append(f"{name}: {why}")
    return problems


def result_digest(run: Run) -> str:
    """sha256 over names and hashes of all files but the manifest: equal for two runs that found exactly the same.

    Date, timings and machine stand in the manifest only, so that they cannot make equal results look different.
    """
    return hashlib.sha256(canonical_json(dict(run.manifest["files"])).encode()).hexdigest()

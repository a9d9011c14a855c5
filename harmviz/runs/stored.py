"""Complete runs: open, list, verify. Reading never changes anything on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harmviz.errors import HarmvizError, RunIncompatible, RunNotFound
from harmviz.files import canonical_json, files_below, printable, sha256_of_file
from harmviz.models.assets import EMBEDDED
from harmviz.models.weights import WeightTable
from harmviz.paths import runs_root
from harmviz.runs.heads import unusable
from harmviz.runs.imports import taken_in
from harmviz.runs.json_text import read_json
from harmviz.runs.manifest import CANDIDATES, LET_GO, MANIFEST
from harmviz.runs.manifest_check import manifest_problems
from harmviz.runs.rows import read_rows, rows_problem
from harmviz.runs.shipped import shipped_runs


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

    @cached_property
    def taken_in(self) -> int | None:
        """When it was imported from elsewhere, in ns since 1970; None: it was made here, or ships with harmviz."""
        return taken_in(self.path)

    @property
    def quick(self) -> bool:
        """Whether it is a first look: fewer prompts, grid points and draws than a full run."""
        return self.manifest["parameters"].get("quick") is True

    @property
    def tags(self) -> tuple[str, ...]:
        """What every list says beside its name."""
        return (*(["quick"] if self.quick else []), *(["imported"] if self.taken_in is not None else []))

    @property
    def dropped(self) -> list[tuple[str, str, int]]:
        """(set, reason, number of rows) of what the run left out of its data."""
        sets = self.manifest["data"].get("dropped", {})
        return [(name, reason, n) for name, reasons in sets.items() for reason, n in reasons.items()]

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
            RunIncompatible: the run has no such file, or no longer; the message says which.
        """
        if name in self.manifest.get(LET_GO, {}):
            why = "was deleted (`runs slim`), its results were kept; import its archive, or delete it and make it again"
            raise RunIncompatible(f"{name} of run {self.id} {why}")
        if name not in self.manifest["files"]:
            raise RunIncompatible(f"run {self.id} has no {name}; choose a run that computed it, or compute it again")
        return self.path / name

    @property
    def has_candidates(self) -> bool:
        """Whether further masks can be selected from it: no experiment's can, nor a slimmed map's."""
        return CANDIDATES in self.manifest["files"]

    @property
    def candidates_path(self) -> Path:
        """``candidates.safetensors``: what masks are selected from.

        Raises:
            RunIncompatible: this run has none.
        """
        return self.file(CANDIDATES)

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
    """Something among the runs that cannot be used (a damaged run, a file, a link to nowhere), and why."""

    path: Path
    reason: str

    @property
    def name(self) -> str:
        """Its name as it can be shown: names on disk may hold bytes that are no text."""
        return printable(self.path.name)


_REMEDY = "restore it, or delete the folder and compute the run again"


def read_run(path: Path) -> Run:
    """The run in this folder. Checks the manifest and that every file is there, not their contents (``verify_run``).

    Raises:
        RunNotFound: no such folder, or no manifest in it (an incomplete run).
        RunIncompatible: the manifest is damaged, impossible or of another schema; a file is missing, or a link that
            leads out of the run.
    """
    where, shown = path / MANIFEST, printable(str(path))
    try:
        if not where.is_file():
            raise RunNotFound(f"{shown} holds no {MANIFEST}: it is no complete run")
        manifest = read_json(where)
    except (ValueError, OSError) as e:
        why = e.strerror if isinstance(e, OSError) else e
        raise RunIncompatible(f"{shown}/{MANIFEST} cannot be read ({why}); {_REMEDY}") from e
    if problems := manifest_problems(manifest):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RunIncompatible(f"{shown}/{MANIFEST}: {problems[0]}{more}; {_REMEDY}")
    inside = path.resolve()
    for name in manifest["files"]:
        try:
            if not (path / name).is_file():
                raise RunIncompatible(f"{shown}: {name} is missing; {_REMEDY}")
            if not (path / name).resolve().is_relative_to(inside):
                raise RunIncompatible(f"{shown}: {name} is a link that leads out of the run; {_REMEDY}")
        except OSError as e:
            raise RunIncompatible(f"{shown}: {name} cannot be read ({e.strerror}); {_REMEDY}") from e
    return Run(path, manifest)


def _usable_run(folder: Path) -> Run:
    """The run in this folder of the store, as lists take it: whole as far as headers and results say.

    Raises:
        RunNotFound, RunIncompatible: as ``read_run``; the folder is none; a file cannot be used; another run's copy.
    """
    shown = printable(str(folder))
    if folder.is_symlink() and not folder.exists():
        raise RunIncompatible(f"{shown} is a link to nothing; restore what it led to, or delete it")
    if not folder.is_dir():
        raise RunIncompatible(f"{shown} is a file, and runs are folders; move it elsewhere, or delete it")
    run = read_run(folder)
    if run.id != folder.name:
        raise RunIncompatible(
            f"the folder {shown} holds run {printable(run.id)}: rename it to that, or delete the copy"
        )
    for name in run.manifest["files"]:
        try:
            why = unusable(folder / name, name)
        except OSError as e:
            why = f"it cannot be read ({e.strerror})"
        if why:
            raise RunIncompatible(f"{shown}: {name}: {why}; {_REMEDY}")
    return run


def _scan(root: Path | None) -> tuple[list[Run], list[BrokenRun]]:
    where = root or runs_root()
    runs, broken = [], []
    try:
        entries = sorted(where.iterdir()) if where.is_dir() else []
    except OSError as e:
        raise HarmvizError(
            f"the runs in {where} cannot be listed ({e.strerror}); check who may read it, or set HARMVIZ_CACHE"
        ) from e
    for entry in entries:
        if entry.name.startswith("."):
            continue  # partial work, locks, and files of the system
        try:
            runs.append(_usable_run(entry))
        except (RunNotFound, RunIncompatible) as e:
            broken.append(BrokenRun(entry, str(e)))
    return sorted(runs, key=_place, reverse=True), broken


def _place(run: Run) -> tuple[bool, int, str, str]:
    """What lists are sorted by, last first: runs made here by their date, then imports by when they came in."""
    if run.taken_in is None:
        return True, 0, run.created, run.id
    return False, run.taken_in, run.created, run.id


def list_runs(root: Path | None = None) -> list[Run]:
    """All usable runs: those made here, newest first, then imports, the last one taken in first.

    Damaged ones are left out; ``broken_runs`` names them.

    Raises:
        HarmvizError: the folder cannot be listed.
    """
    return _scan(root)[0]


def broken_runs(root: Path | None = None) -> list[BrokenRun]:
    """What lies among the runs and no reader can use, each with its reason.

    Raises:
        HarmvizError: the folder cannot be listed.
    """
    return _scan(root)[1]


def find_run(run_id: str, root: Path | None = None) -> Run | None:
    """The run of exactly this id with every byte verified, or None where there is none: may a computation be skipped?

    Raises:
        RunIncompatible: there is a folder of that name, but it is damaged.
    """
    folder = (root or runs_root()) / run_id
    if not os.path.lexists(folder):
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
    """The run named by its id, an unambiguous beginning of it, its folder, or ``latest``: the newest map made here,
    which is what commands work on, or the newest experiment where there is no map; an import only where nothing else
    is stored.

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
        here = [r for r in runs if r.taken_in is None] or runs
        return next((r for r in here if r.kind == "map"), here[0])
    fits = [r for r in runs if r.id == text] or [r for r in runs if text and r.id.startswith(text)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise RunNotFound(f"{text!r} could be any of {', '.join(r.id for r in fits)}; give more of the name")
    if damaged := [b for b in broken if text in (b.path.name, b.name)]:
        raise RunIncompatible(damaged[0].reason)
    names = ", ".join(r.id for r in runs[:20])
    there_is = f"there is: {names}" if names else "there are no runs yet; make one with `python -m harmviz run`"
    raise RunNotFound(f"no run named {text!r} in {root or runs_root()}; {there_is}")


def default_run(root: Path | None = None) -> Run:
    """What pages open with: the shipped map that the shipped stage scene was made on, so that the first screens are
    about one model; otherwise the shipped map of the embedded model, the oldest full one of that model made here, the
    newest map, the newest run; an import only where nothing else is there.

    Raises:
        RunNotFound: there are no runs.
    """
    runs = list_runs(root)
    maps = [r for r in runs if r.kind == "map"]
    full = (r for r in maps if r.taken_in is None and r.id.startswith(f"{EMBEDDED}-{r.manifest['data']['id']}-"))
    reference = list(full)
    shipped = [r for r in reference if r.id in shipped_runs()]
    scenes = [r for r in runs if r.id in shipped_runs() and r.manifest["method"].get("experiment") == "scene"]
    played = [r for r in maps if r.id in shipped_runs() and any(r.id in scene.manifest["parents"] for scene in scenes)]
    for chosen in (played[:1], shipped[-1:], reference[-1:], maps[:1], runs[:1]):
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

    What was let go since counts as if it were there. Date, timings and machine stand in the manifest only, so that they
    cannot make equal results look different.
    """
    return hashlib.sha256(
        canonical_json({**run.manifest["files"], **run.manifest.get(LET_GO, {})}).encode()
    ).hexdigest()

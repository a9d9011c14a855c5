"""A run without its heaviest files, once what needs them is measured: its results stay.

A *ladder* lets go of its checkpoints: the embedded model's weigh 20 MB each, their numbers a few kilobytes, and
``experiment compression`` keeps its own rows. A *map* lets go of its candidates, four fifths of it: maps, stored masks
and all that was measured stay; no further mask can be selected. The manifest lists the sha256 of what went under
``let_go`` instead of ``files``, so that whoever makes the run again can tell whether it is the same, and its result
digest stays what it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmviz.errors import HarmvizError, RunIncompatible, RunNotFound
from harmviz.files import json_bytes, write_atomic
from harmviz.paths import runs_root
from harmviz.runs import Run, begin, default_run, read_run, shipped_runs, verify_run
from harmviz.runs.manifest import CANDIDATES, LET_GO, MANIFEST, sealed_again


def slim(run_id: str, root: Path | None = None) -> int:
    """Deletes what the run of exactly this id can spare (a ladder's checkpoints, a map's candidates); returns the
    bytes that are free again.

    The manifest comes first, so that a reader never finds a file listed that is gone; what a killed call left lying is
    deleted by the next one.

    Raises:
        RunNotFound: no run here has this id.
        RunIncompatible: it has nothing to spare, pages open with it, it is damaged, or a process is at it.
        HarmvizError: the folder cannot be written.
    """
    where = root or runs_root()
    if not run_id or run_id != Path(run_id).name or not (where / run_id / MANIFEST).is_file():
        raise RunNotFound(f"there is no run {run_id!r} in {where}; `python -m harmviz runs` lists them")
    with begin(run_id, where) as work:
        run = read_run(where / run_id)
        if run.kind == "map" and run.id == default_run(where).id and run.id in shipped_runs():
            raise RunIncompatible(f"run {run_id} ships with harmviz and keeps its candidates: pages open with it")
        if not spared(run):
            raise RunIncompatible(
                f"run {run_id} is no ladder and no map with candidates: nothing of it can be spared; delete it whole "
                "with `python -m harmviz runs delete`"
            )
        slimmed = _without(run, spared(run))
        left_lying = {f"{name} is not part of the run" for name in slimmed[LET_GO]}
        if problems := [p for p in verify_run(run) if p not in left_lying]:
            raise RunIncompatible(f"run {run_id} is damaged ({problems[0]}); restore it or make it again")
        try:
            write_atomic(run.path / MANIFEST, json_bytes(slimmed))
            freed = _delete(run.path, list(slimmed[LET_GO]))
        except OSError as e:
            raise HarmvizError(
                f"what run {run_id} can spare cannot be deleted ({e.strerror}); check who may write there"
            ) from e
        work.discard()
    return freed


def spared(run: Run) -> set[str]:
    """The files that the run can do without, whether they are still there or not."""
    listed = {*run.manifest["files"], *run.manifest.get(LET_GO, {})}
    checkpoints = run.manifest["method"].get("checkpoints", [])
    is_ladder = run.manifest["method"].get("experiment") == "align"
    heavy = {CANDIDATES} if run.kind == "map" else {e["file"] for e in checkpoints} if is_ladder else set()
    return heavy & listed


def _without(run: Run, names: set[str]) -> dict[str, Any]:
    files = dict(run.manifest["files"])
    gone = {name: files.pop(name) for name in sorted(names & set(files))}
    slimmed = {**run.manifest, "files": files, LET_GO: {**run.manifest.get(LET_GO, {}), **gone}}
    return sealed_again(slimmed)


def _delete(folder: Path, names: list[str]) -> int:
    freed = 0
    for path in [folder / name for name in names if (folder / name).is_file()]:
        freed += path.stat().st_size
        path.unlink()
    for below in {(folder / name).parent for name in names} - {folder}:
        if below.is_dir() and not any(below.iterdir()):
            below.rmdir()
    return freed

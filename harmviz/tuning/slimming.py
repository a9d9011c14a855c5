"""A ladder without the weights of its checkpoints: what they measured stays, what they weigh goes.

The three arms of the embedded model's ladder weigh 20 MB a checkpoint, their numbers a few kilobytes. Once what needs
the weights is measured (``experiment compression`` keeps its own rows), the ladder can be kept without them: its
manifest lists their sha256 under ``let_go`` instead of ``files``, so that whoever makes the ladder again can tell
whether it is the same, and the ladder's result digest stays what it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmviz.errors import HarmvizError, RunIncompatible, RunNotFound
from harmviz.files import json_bytes, write_atomic
from harmviz.paths import runs_root
from harmviz.runs import Run, begin, is_covered, read_run, verify_run
from harmviz.runs.manifest import HASH, LET_GO, MANIFEST, manifest_hash
from harmviz.tuning.stored import is_ladder


def slim(run_id: str, root: Path | None = None) -> int:
    """Deletes the weights of all checkpoints of the ladder of exactly this id; returns the bytes that are free again.

    The manifest comes first, so that a reader never finds a checkpoint listed that is gone; what a killed call left
    lying is deleted by the next one.

    Raises:
        RunNotFound: no run here has this id.
        RunIncompatible: it is no ladder, it is damaged, or a process is at it.
        HarmvizError: the folder cannot be written.
    """
    where = root or runs_root()
    if not run_id or run_id != Path(run_id).name or not (where / run_id / MANIFEST).is_file():
        raise RunNotFound(f"there is no run {run_id!r} in {where}; `python -m harmviz runs` lists them")
    with begin(run_id, where) as work:
        run = read_run(where / run_id)
        if not is_ladder(run):
            raise RunIncompatible(
                f"run {run_id} is no ladder: nothing of it can be spared; delete it whole with "
                "`python -m harmviz runs delete`"
            )
        slimmed = _without_weights(run)
        left_lying = {f"{name} is not part of the run" for name in slimmed[LET_GO]}
        if problems := [p for p in verify_run(run) if p not in left_lying]:
            raise RunIncompatible(f"ladder {run_id} is damaged ({problems[0]}); restore it or make the ladder again")
        try:
            write_atomic(run.path / MANIFEST, json_bytes(slimmed))
            freed = _delete(run.path, list(slimmed[LET_GO]))
        except OSError as e:
            raise HarmvizError(
                f"the weights of ladder {run_id} cannot be deleted ({e.strerror}); check who may write there"
            ) from e
        work.discard()
    return freed


def _without_weights(run: Run) -> dict[str, Any]:
    weights = {entry["file"] for entry in run.manifest["method"]["checkpoints"]}
    files = dict(run.manifest["files"])
    gone = {name: files.pop(name) for name in sorted(weights & set(files))}
    slimmed = {**run.manifest, "files": files, LET_GO: {**run.manifest.get(LET_GO, {}), **gone}}
    return {**slimmed, HASH: manifest_hash(slimmed)} if is_covered(run.manifest) else slimmed


def _delete(folder: Path, names: list[str]) -> int:
    freed = 0
    for path in [folder / name for name in names if (folder / name).is_file()]:
        freed += path.stat().st_size
        path.unlink()
    for below in {(folder / name).parent for name in names} - {folder}:
        if below.is_dir() and not any(below.iterdir()):
            below.rmdir()
    return freed

"""A run while it is being made: staged, resumable, locked, invisible to readers until it is whole.

::

    with begin(run_id) as partial:
        if not partial.done("score"):
            partial.start("score")                # its clock
            ...                                   # write files below partial.path(...)
            partial.finish("score", {"samples": 128})
        ...
        run = partial.commit(manifest)

On disk: ``.partial-<run-id>/run/`` holds the files of the run to be, ``scratch/`` what only later stages need,
``stages/<stage>.json`` one marker per finished stage. Commit writes the manifest as the last file of ``run/`` and then
renames that folder to its final name: one step. Whenever the process dies, what is left is either a partial run that
the same command resumes, or a complete one.

Stages are sequential. A stage counts as done while its files, and those of every stage before it, are what they were
when it finished. Files of stages that are not done are deleted on the next ``begin``.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from harmviz.errors import HarmvizError, RunIncompatible
from harmviz.files import disk_errors, files_below, json_bytes, move_folder, sha256_of_file, sync_tree, write_atomic
from harmviz.paths import runs_root
from harmviz.runs.hashes import FileHashes
from harmviz.runs.imports import unmark
from harmviz.runs.json_text import parse_json
from harmviz.runs.lock import sign, signed_by, try_lock
from harmviz.runs.manifest import HASH, MANIFEST, SCHEMA_VERSION, check_run_id, manifest_hash
from harmviz.runs.manifest_check import manifest_problems
from harmviz.runs.relied import ReliedStages
from harmviz.runs.stage_markers import StageMarkers
from harmviz.runs.stored import Run, find_run, read_run

PREFIX = ".partial-"
_SCRATCH = "scratch"


def lock_path(run_id: str, root: Path) -> Path:
    # Beside the folder, not in it: the folder may be deleted or renamed while the lock is held.
    return root / f"{PREFIX}{run_id}.lock"


class PartialRun:
    """The run being made. Get one from ``begin``; use it as a context manager, so that the lock is always released."""

    def __init__(self, run_id: str, root: Path, lock: IO[str]):
        self.run_id = run_id
        self.root = root
        self.folder = root / f"{PREFIX}{run_id}"
        self._lock: IO[str] | None = lock
        #: When the stages begun in this process began; a stage that was not begun began when the one before it ended.
        self._began: dict[str, float] = {}
        self._ended = time.monotonic()
        self._hashes = FileHashes()
        self._stage_markers = StageMarkers(self.folder / "stages")
        self._relied = ReliedStages()

    def __enter__(self) -> PartialRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the lock back; what was finished stays for the next ``begin``."""
        if self._lock is not None:
            lock_path(self.run_id, self.root).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    # -- files --------------------------------------------------------------------------------------------------
    @property
    def scratch(self) -> Path:
        """Folder for what later stages need and the run does not keep; deleted at commit."""
        return self.path(_SCRATCH)

    def path(self, name: str) -> Path:
        """Where to write the run's file ``name`` (or ``scratch/…``); the folder it lies in is made.

        Raises:
            ValueError: the name leaves the run, or is the manifest's.
        """
        parts = Path(name).parts
        if not parts or name.startswith("/") or ".." in parts or name == MANIFEST:
            raise ValueError(f"name must be a relative path inside the run, other than {MANIFEST}, got {name!r}")
        target = self._where(name)
        folder = target if parts == (_SCRATCH,) else target.parent
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return target

    def write(self, name: str, data: bytes) -> Path:
        """Writes a file of the run atomically and returns its path.

        Raises:
            OutOfMemory: the disk is full.
            ValueError: as ``path``.
        """
        target = self.path(name)
        write_atomic(target, data)
        return target

    def _where(self, name: str) -> Path:
        return self.folder / name if Path(name).parts[0] == _SCRATCH else self.folder / "run" / name

    def _files(self) -> list[str]:
        """Names as ``path`` takes them, of everything written so far."""
        kept = [n for n in files_below(self.folder / "run") if n != MANIFEST]
        return kept + [f"{_SCRATCH}/{n}" for n in files_below(self.folder / _SCRATCH)]

    def _hash(self, name: str, *, sync: bool = False) -> str | None:
        return self._hashes.of(self._where(name), sync=sync)

    # -- stages -------------------------------------------------------------------------------------------------
    def _marker(self, stage: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:()+-]{0,99}", stage):
            raise ValueError(f"stage must be letters, digits and . _ : ( ) + -, got {stage!r}")
        return self.folder / "stages" / f"{stage}.json"

    def _intact(self) -> list[dict[str, Any]]:
        """The markers up to, and without, the first stage that is not what it was."""
        intact: list[dict[str, Any]] = []
        for marker in self._stage_markers.all():
            if marker["order"] != len(intact) or any(self._hash(n) != h for n, h in marker["files"].items()):
                break
            intact.append(marker)
        return intact

    def done(self, stage: str) -> bool:
        """Whether the stage finished and its files are still what they were. Asking changes nothing on disk."""
        done = stage in self.stages()
        self._relied.note(stage, done=done)
        return done

    def start(self, stage: str) -> None:
        """Starts the stage's clock: its seconds count from here, otherwise from the end of the stage before."""
        self._began[stage] = time.monotonic()

    def info(self, stage: str) -> dict[str, Any]:
        """What was handed to ``finish`` for a stage that is done.

        Raises:
            KeyError: the stage is not done.
        """
        for marker in self._intact():
            if marker["stage"] == stage:
                return dict(marker["info"])
        raise KeyError(stage)

    def finish(self, stage: str, info: Mapping[str, Any] | None = None) -> None:
        """Marks the stage as done, with every file written since the stages before it, and its wall-clock seconds.

        A file belongs to the stage that wrote it and must not change afterwards.

        Raises:
            OutOfMemory: the disk is full.
            ValueError: the stage is done already (ask ``done`` first), its name is odd, or ``info`` holds NaN.
            TypeError: ``info`` is not JSON.
            RunIncompatible: files of an earlier stage were deleted or changed meanwhile.
        """
        before = self._intact()
        self.check()
        if stage in [m["stage"] for m in before]:
            raise ValueError(f"stage {stage!r} of {self.run_id} is done already; ask done() before doing it")
        for marker in self._stage_markers.all()[len(before) :]:
            self._marker(marker["stage"]).unlink(missing_ok=True)
        claimed = {n for m in before for n in m["files"]}
        with disk_errors(self.folder):
            files = {n: self._hash(n, sync=True) for n in self._files() if n not in claimed}
            self._marker(stage).parent.mkdir(parents=True, exist_ok=True)
            sync_tree(self.folder)
        ended = time.monotonic()
        marker = {
            "stage": stage,
            "order": len(before),
            "seconds": round(ended - self._began.pop(stage, self._ended), 3),
            "files": files,
            "info": dict(info or {}),
        }
        write_atomic(self._marker(stage), json_bytes(marker))
        self._relied.note(stage, done=True)
        self._ended = ended

    def check(self) -> None:
        """As ``ReliedStages.check``, of the stages that this process finished or found done."""
        self._relied.check(self.stages(), self.folder)

    def release(self, stage: str) -> None:
        """Deletes the scratch files of a stage that is done and that nothing needs any more; it stays done.

        Raises:
            KeyError: the stage is not done.
        """
        marker = next((m for m in self._intact() if m["stage"] == stage), None)
        if marker is None:
            raise KeyError(stage)
        gone = [n for n in marker["files"] if n.startswith(f"{_SCRATCH}/")]
        kept = {n: h for n, h in marker["files"].items() if n not in gone}
        # The marker first: a crash in between leaves unclaimed files, which the next begin deletes.
        write_atomic(self._marker(stage), json_bytes({**marker, "files": kept}))
        for name in gone:
            self._where(name).unlink(missing_ok=True)

    def stages(self) -> list[str]:
        """Names of the stages that are done, in order."""
        return [m["stage"] for m in self._intact()]

    def timings(self) -> dict[str, float]:
        """Wall-clock seconds of each stage that is done, over all the processes that worked on the run."""
        return {m["stage"]: float(m["seconds"]) for m in self._intact()}

    def _sweep(self) -> None:
        """Deletes what no intact stage claims: leftovers of an interrupted stage must not slip into the run."""
        intact = self._intact()
        claimed = {n for m in intact for n in m["files"]}
        for name in self._files():
            if name not in claimed:
                self._where(name).unlink()
        (self.folder / "run" / MANIFEST).unlink(missing_ok=True)
        for path in (self.folder / "stages").glob("*"):
            if path not in {self._marker(m["stage"]) for m in intact}:
                path.unlink()

    # -- the end ------------------------------------------------------------------------------------------------
    def commit(self, manifest: Mapping[str, Any]) -> Run:
        """Completes the run and makes it visible in one step; returns it.

        ``schema_version``, ``run_id``, ``files`` and the manifest's own hash are filled in, ``created`` and ``timings``
        where not given. Where a complete run of this id exists already, that one is returned, nothing overwritten.

        Raises:
            ValueError: the manifest breaks the schema; the message lists every problem.
            RunIncompatible: a file changed after its stage finished, or a damaged folder is in the way.
            OutOfMemory: the disk is full.
        """
        if (existing := find_run(self.run_id, self.root)) is not None:
            self.discard()
            return existing
        source, target = self.folder / "run", self.root / self.run_id
        kept = [n for n in self._files() if not n.startswith(f"{_SCRATCH}/")]
        with disk_errors(self.folder):
            files = {n: sha256_of_file(source / n, sync=True) for n in kept}
        for marker in self._stage_markers.all():
            for name, digest in marker["files"].items():
                if not name.startswith(f"{_SCRATCH}/") and files.get(name) != digest:
                    raise RunIncompatible(
                        f"{source / name} changed after the stage {marker['stage']!r} wrote it; "
                        "run the same command again to redo it"
                    )
        self.check()
        full = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "timings": self.timings(),
            **manifest,
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "files": files,
        }
        if problems := manifest_problems(full):
            raise ValueError(f"manifest of {self.run_id}: {'; '.join(problems)}")
        sync_tree(source)
        full = parse_json(json_bytes(full))  # as a reader will see it: of that it carries the hash
        write_atomic(source / MANIFEST, json_bytes({**full, HASH: manifest_hash(full)}))
        unmark(self.root, self.run_id)  # made here, whatever was taken in under this id before
        try:
            move_folder(source, target)
        except OSError:
            if (existing := find_run(self.run_id, self.root)) is None:
                raise
            self.discard()
            return existing
        self.discard()
        return read_run(target)

    def discard(self) -> None:
        """Deletes the partial work and gives the lock back."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()


def _clear_leftovers(root: Path) -> None:
    """Deletes partial folders whose run is complete: their process died between the final rename and the tidying up."""
    for folder in root.glob(f"{PREFIX}*"):
        run_id = folder.name.removeprefix(PREFIX)
        if folder.is_dir() and (root / run_id / MANIFEST).is_file():
            lock = try_lock(lock_path(run_id, root))
            if lock is not None:
                PartialRun(run_id, root, lock).discard()


def begin(run_id: str, root: Path | None = None, *, resume: bool = True) -> PartialRun:
    """Opens (or takes up again) the partial run ``run_id`` for writing, under an exclusive lock.

    With ``resume=False`` earlier partial work is deleted first.

    Raises:
        ValueError: the id is no name for a folder.
        RunIncompatible: another process is working on this run.
        HarmvizError: the folder cannot be written.
        OutOfMemory: the disk is full.
    """
    check_run_id(run_id)
    where = root or runs_root()
    path = lock_path(run_id, where)
    lock = None
    try:
        with disk_errors(where):
            where.mkdir(parents=True, exist_ok=True)
            _clear_leftovers(where)
            for wait in (0.0, 0.05, 0.1, 0.2):  # list_partials holds the lock for a moment; that is no second writer
                time.sleep(wait)
                if (lock := try_lock(path)) is not None:
                    break
    except OSError as e:
        raise HarmvizError(
            f"runs cannot be written to {where} ({e.strerror}); choose another folder with HARMVIZ_CACHE"
        ) from e
    if lock is None:
        raise RunIncompatible(
            f"run {run_id} is being computed by another process (pid {signed_by(path) or 'unknown'}); "
            "wait for it, or stop it and resume"
        )
    partial = PartialRun(run_id, where, lock)
    try:
        with disk_errors(path):
            sign(lock)
            if not resume:
                shutil.rmtree(partial.folder, ignore_errors=True)
            partial._sweep()
    except BaseException:
        partial.close()
        raise
    return partial

"""Runs as zip files, and out of the way: export, import, delete.

An archive holds one folder, named by the run's id, with the manifest and exactly the files the manifest lists; stored
uncompressed, in name order, with a fixed date, so that equal runs are equal archives.

What is imported was made by somebody else. Nothing of it is believed before it is checked (``harmviz.runs.unpacking``):
names, kinds and sizes of the members before anything is unpacked, bytes counted while unpacking, hashes and formats in
a hidden folder beside the runs; only then is that folder moved into place, in one step.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
import uuid
import zipfile
from pathlib import Path
from typing import IO

from harmviz.errors import HarmvizError, RunIncompatible, RunNotFound
from harmviz.files import TEMPORARY, disk_errors, json_bytes, move_folder, printable, sync_tree, write_atomic
from harmviz.paths import runs_root, shipped_runs_root
from harmviz.runs import imports
from harmviz.runs.manifest import LET_GO, MANIFEST, check_run_id, sealed_again
from harmviz.runs.partial import PREFIX, begin
from harmviz.runs.shipped import shipped_runs
from harmviz.runs.stored import Run, broken_runs, read_run, result_digest, verify_run
from harmviz.runs.unpacking import MAX_BYTES, unpack

_DATE = (1980, 1, 1, 0, 0, 0)
_IMPORTING, _DELETED = ".import-", ".deleted-"
_DAY = 86_400.0


def export_run(run: Run, target: Path | IO[bytes]) -> None:
    """Writes the run as a zip to a path (whole or not at all), or into an open binary file.

    Raises:
        RunIncompatible: the run on disk is damaged.
        HarmvizError: the target cannot be written. OutOfMemory: the disk is full.
    """
    if problems := verify_run(run):
        raise RunIncompatible(f"run {run.id} is damaged and is not exported: {problems[0]}")
    if not isinstance(target, Path):
        _write_zip(run, target)
        return
    part = target.with_name(f"{TEMPORARY}{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        with disk_errors(target):
            try:
                with part.open("xb") as f:
                    _write_zip(run, f)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except OSError as e:
        raise HarmvizError(f"the archive cannot be written to {target} ({e.strerror}); choose another place") from e


def _write_zip(run: Run, target: IO[bytes]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted([MANIFEST, *run.manifest["files"]]):
            info = zipfile.ZipInfo(f"{run.id}/{name}", _DATE)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            info.file_size = (run.path / name).stat().st_size  # a file beyond 2 GB needs the larger header
            with (run.path / name).open("rb") as source, archive.open(info, "w") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def import_run(source: Path | IO[bytes], root: Path | None = None, *, max_bytes: int = MAX_BYTES) -> Run:
    """Takes in an archive and returns its run. A run that is here already, with equal results, is returned as it is.

    Raises:
        RunNotFound: there is no such file.
        RunIncompatible: the archive breaks a rule or is damaged, another result of this id is stored here, or the id is
            that of a run that ships with harmviz and the archive holds another one.
        OutOfMemory: the disk is full. HarmvizError: the folder of runs cannot be written.
    """
    where = root or runs_root()
    if isinstance(source, Path) and not source.is_file():
        raise RunNotFound(f"there is no file {source}; give an archive made by `python -m harmviz runs export`")
    try:
        with disk_errors(where):
            where.mkdir(parents=True, exist_ok=True)
            _sweep(where)
            with tempfile.TemporaryDirectory(prefix=_IMPORTING, dir=where) as folder:
                imported = unpack(source, Path(folder), max_bytes)
                target = where / imported.id
                if os.path.lexists(target):
                    return _same_as_stored(imported, target)
                _check_no_impostor(imported)
                imports.mark(where, imported.id)  # first: at no moment does it pass for a run made here
                try:
                    sync_tree(imported.path, contents=True)
                    move_folder(imported.path, target)
                except OSError:
                    imports.unmark(where, imported.id)
                    if not target.exists():
                        raise
                    return _same_as_stored(imported, target)  # somebody stored it in between
                return read_run(target)
    except OSError as e:
        raise HarmvizError(
            f"the archive cannot be taken into {where} ({e.strerror}); choose another folder with HARMVIZ_CACHE"
        ) from e


def _check_no_impostor(imported: Run) -> None:
    """Raises RunIncompatible where the archive bears the id of a run that ships with harmviz and is another one."""
    if imported.id not in shipped_runs():
        return
    try:
        shipped = read_run(shipped_runs_root() / imported.id)
    except (RunNotFound, RunIncompatible):
        shipped = None
    if shipped is None or shipped.manifest != imported.manifest:
        raise RunIncompatible(
            f"the archive is not imported: {imported.id} is the id of a run that ships with harmviz, and this is not "
            "that run; ask whoever made it for its own id"
        )


def _same_as_stored(imported: Run, target: Path) -> Run:
    try:
        stored = read_run(target)
        problems = verify_run(stored)
    except (RunNotFound, RunIncompatible) as e:
        raise RunIncompatible(f"{target} is in the way and damaged ({e}); delete it and import again") from e
    if problems:
        raise RunIncompatible(f"{target} is in the way and damaged ({problems[0]}); delete it and import again")
    if result_digest(stored) != result_digest(imported):
        raise RunIncompatible(
            f"a run {imported.id} with other results is stored in {target.parent}; "
            "delete or move that one if the archive's is wanted"
        )
    return _with_what_it_let_go(stored, imported)


def _with_what_it_let_go(stored: Run, imported: Run) -> Run:
    """The stored run with those files back that it let go of and the archive holds, by their sha256; all else of it
    stays the stored run's."""
    let_go, files = stored.manifest.get(LET_GO, {}), imported.manifest["files"]
    back = {name: digest for name, digest in let_go.items() if files.get(name) == digest}
    if not back:
        return stored
    manifest = {**stored.manifest, "files": {**stored.manifest["files"], **back}}
    manifest[LET_GO] = {name: digest for name, digest in let_go.items() if name not in back}
    if not manifest[LET_GO]:
        del manifest[LET_GO]
    write_atomic(imported.path / MANIFEST, json_bytes(sealed_again(manifest)))
    if problems := verify_run(read_run(imported.path)):
        raise RunIncompatible(f"the archive's files are not those of run {stored.id}: {problems[0]}")
    sync_tree(imported.path, contents=True)
    aside = stored.path.with_name(f"{_DELETED}{uuid.uuid4().hex[:8]}")
    move_folder(stored.path, aside)
    os.utime(aside)
    move_folder(imported.path, stored.path)
    shutil.rmtree(aside)
    return read_run(stored.path)


def delete_run(run_id: str, root: Path | None = None) -> None:
    """Deletes the run of exactly this id, or what is damaged and has this name (``BrokenRun.name``), and unfinished
    work on it.

    It disappears for readers in one step (a rename to a hidden name); the bytes follow.

    Raises:
        RunNotFound: nothing here has this name.
        RunIncompatible: the run ships with harmviz, or a process is computing it.
        HarmvizError: the folder cannot be removed.
    """
    where = root or runs_root()
    if not run_id or run_id != Path(run_id).name or run_id.startswith("."):
        raise RunNotFound(f"{printable(run_id)!r} is no run's id; `python -m harmviz runs` lists them")
    damaged = {b.name: b.path for b in broken_runs(where)}
    folder, partial = damaged.get(run_id, where / run_id), where / f"{PREFIX}{run_id}"
    stored = os.path.lexists(folder)
    if not stored and not partial.is_dir():
        raise RunNotFound(f"there is no run {run_id!r} in {where}; `python -m harmviz runs` lists them")
    if run_id in shipped_runs() and stored and run_id not in damaged:
        raise RunIncompatible(f"run {run_id} ships with harmviz and is not deleted: pages open with it")
    try:
        _sweep(where)
        if not _may_be_computed(run_id):
            _remove(folder)  # no computation can have a name like this: there is no lock to hold
            return
        with begin(run_id, where) as work:
            if stored:
                _remove(folder)
            imports.unmark(where, run_id)
            work.discard()
    except OSError as e:
        raise HarmvizError(
            f"run {printable(run_id)} cannot be deleted from {where} ({e.strerror}); check who may write there"
        ) from e


def _may_be_computed(run_id: str) -> bool:
    try:
        check_run_id(run_id)
    except ValueError:
        return False
    return True


def _remove(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():  # a link goes, what it points at is somebody else's
        folder.unlink()
        return
    hidden = folder.with_name(f"{_DELETED}{uuid.uuid4().hex[:8]}")
    move_folder(folder, hidden)
    os.utime(hidden)  # for _sweep: it has been lying here since now, however old the run is
    shutil.rmtree(hidden)


def _sweep(root: Path) -> None:
    """Deletes what a killed import or delete left behind. A day's patience: another process may be at it right now."""
    for folder in [*root.glob(f"{_IMPORTING}*"), *root.glob(f"{_DELETED}*")]:
        try:
            if time.time() - folder.stat().st_mtime > _DAY:
                shutil.rmtree(folder)
        except FileNotFoundError:
            continue  # its owner was faster

"""Start, cancel, resume and forget jobs: one heavy one at a time, whichever page, browser tab or terminal began it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from harmviz.data.columns import AS_IT_IS, ReadOptions
from harmviz.data.prompts import PromptData, load_prompts
from harmviz.data.tables import SUFFIXES, readable, stem_of, suffix_of
from harmviz.errors import DataInvalid, HarmvizError, RunIncompatible
from harmviz.files import json_bytes
from harmviz.jobs.record import CANCELLED, CHILD, LOCK, LOG, OUTPUT, RECORD, RESULT, Job, list_jobs, read_job
from harmviz.paths import PACKAGE, cache_root, jobs_root
from harmviz.runs import disk_errors, list_partials, write_atomic
from harmviz.runs.lock import sign, try_lock

MAX_UPLOAD = 32 << 20
_WAIT_S = 3.0
#: Commands that take --resume.
_RESUMABLE = (("run",), ("experiment",))


@dataclass(frozen=True)
class Upload:
    """A prompt file from the browser: a plain file name, its bytes, and how they are read; read and found valid."""

    name: str
    content: bytes
    options: ReadOptions = AS_IT_IS


def check_upload(name: str, content: bytes, options: ReadOptions = AS_IT_IS) -> tuple[Upload, PromptData]:
    """The upload under a safe name, and the prompt data in it. Nothing of it stays on disk.

    Raises:
        DataInvalid: too large, of no kind that is read, or not to be understood; the message names file, rows, columns.
    """
    given = Path(Path(name.replace("\\", "/")).name)
    if not readable(given):
        raise DataInvalid(f"{name[-80:]!r} is of no kind that is read here: {', '.join(SUFFIXES)}, or .gz of the first")
    if len(content) > MAX_UPLOAD:
        raise DataInvalid(
            f"{name[-80:]!r} has {len(content):,} bytes, at most {MAX_UPLOAD:,} are taken; use the command line"
        )
    safe = (re.sub(r"[^A-Za-z0-9_-]+", "-", stem_of(given)).strip("-")[:60] or "prompts") + suffix_of(given)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / safe
        path.write_bytes(content)
        try:
            return Upload(safe, content, options), load_prompts(str(path), options=options)
        except DataInvalid as e:
            raise DataInvalid(str(e).replace(str(path), safe)) from e


def running_job() -> Job | None:
    """The job that runs now, or None."""
    return next((j for j in list_jobs() if j.state == "running"), None)


@contextmanager
def _starting() -> Iterator[None]:
    """Holds the right to start: two tabs that press the button at once come one after the other.

    Raises:
        HarmvizError: something heavy runs already, or the folder of jobs cannot be written.
    """
    root = jobs_root()
    try:
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            until = time.monotonic() + _WAIT_S
            while (lock := try_lock(root / ".start.lock")) is None:
                if time.monotonic() > until:
                    raise RunIncompatible("another job is being started right now; wait a moment and try again")
                time.sleep(0.05)
    except OSError as e:
        raise HarmvizError(
            f"jobs cannot be written to {root} ({e.strerror}); choose another folder with HARMVIZ_CACHE"
        ) from e
    with lock:
        if (job := running_job()) is not None:
            raise RunIncompatible(
                f"one heavy job at a time: `{job.command}` is running "
                f"(started {job.started[:16].replace('T', ' ')} UTC); wait for it, or cancel it first"
            )
        if busy := next((p for p in list_partials() if p.pid is not None), None):
            raise RunIncompatible(
                f"one heavy job at a time: run {busy.run_id} is being computed by another process "
                f"(pid {busy.pid}); wait for it"
            )
        yield


def start(arguments: Sequence[str], upload: Upload | None = None) -> Job:
    """Starts ``python -m harmviz`` with these arguments as a job and returns it; an upload becomes its ``--data``.

    Raises:
        RunIncompatible: another job, or another process's run, is being computed; the message names it.
        HarmvizError: the job's folder cannot be written. OutOfMemory: the disk is full.
    """
    with _starting():
        created = _now()
        folder = jobs_root() / f"{created[:19].replace(':', '').replace('T', '-')}-{uuid4().hex[:6]}"
        try:
            with disk_errors(folder):
                folder.mkdir()
                words = list(arguments)
                if upload is not None:
                    write_atomic(folder / upload.name, upload.content)
                    words += [f"--data={(folder / upload.name).resolve()}", *upload.options.as_arguments]
                if "--json" not in words:
                    words.append("--json")
                return _launch(Job(folder, tuple(words), created, created))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def resume(job: Job) -> Job:
    """Starts a job that ended early again, in the same folder; finished stages of its run are not repeated.

    Raises:
        HarmvizError: it still runs, it is complete, or it is gone; as ``start``.
    """
    with _starting():
        if read_job(job.folder) is None:
            raise HarmvizError(f"job {job.id} is no longer there; start the run anew")
        if job.state in ("running", "done"):
            raise HarmvizError(f"job {job.id} is {job.state}; there is nothing to resume")
        words = (
            job.arguments
            if "--resume" in job.arguments or job.arguments[:1] not in _RESUMABLE
            else (*job.arguments, "--resume")
        )
        for name in (RESULT, CANCELLED, OUTPUT, CHILD, LOG):
            (job.folder / name).unlink(missing_ok=True)
        return _launch(Job(job.folder, words, job.created, _now()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _launch(job: Job) -> Job:
    """Writes the record and starts the supervisor, which inherits the lock: at no moment does nobody hold it."""
    write_atomic(
        job.folder / RECORD,
        json_bytes({"arguments": list(job.arguments), "created": job.created, "started": job.started}),
    )
    lock = try_lock(job.folder / LOCK)
    if lock is None:
        raise RunIncompatible(f"job {job.id} is still ending; try again in a moment")
    with lock:
        process = subprocess.Popen(
            [sys.executable, "-m", "harmviz.jobs", str(job.folder.resolve()), str(lock.fileno())],
            cwd=job.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
        sign(lock, process.pid)
    # Somebody has to ask a child how it ended, or its entry stays in the process table as long as the server lives.
    threading.Thread(target=process.wait, daemon=True).start()
    return job


def _environment() -> dict[str, str]:
    """This process's, with paths that hold wherever the command's working folder is."""
    paths = [str(PACKAGE.parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "HARMVIZ_CACHE": str(cache_root().resolve()), "PYTHONPATH": os.pathsep.join(paths)}


def cancel(job: Job) -> None:
    """Asks a running job to stop. It ends within seconds, at the latest when its supervisor loses patience; finished
    stages are kept. Does nothing where it has ended already."""
    pid = job.pid
    if job.state != "running" or pid is None:
        return
    with disk_errors(job.folder):
        (job.folder / CANCELLED).touch()
    try:
        os.killpg(pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError):  # it ended just now
        return


def forget(job: Job) -> None:
    """Deletes the folder of a job that has ended, with its log and uploaded file. The run it made stays.

    Raises:
        RunIncompatible: it still runs.
    """
    if job.state == "running":
        raise RunIncompatible(f"job {job.id} is running; cancel it first")
    shutil.rmtree(job.folder, ignore_errors=True)

"""A job as it lies on disk. Everything is read from its folder, so that any page, and any later server, sees the same.

``jobs/<id>/``::

    job.json      {arguments, created, started}: the command line
    lock          held by the supervisor and the command while either lives: no state rests on a pid
    child.json    {pid} of the command        run.json   {run_id} it works on, once known
    log.txt       its stderr: progress and errors        stdout.json  its stdout: one document
    cancelled     there once somebody asked to stop it
    result.json   {code, ended}, written when it ended
    <name>.jsonl  an uploaded prompt file, where it uses one
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from harmviz.paths import jobs_root
from harmviz.runs import list_partials
from harmviz.runs.lock import holder

State = Literal["running", "done", "failed", "cancelled", "died"]
CANCELLED_CODE = 130
RECORD, LOCK, CHILD, RUN, LOG, OUTPUT, CANCELLED, RESULT = (
    "job.json",
    "lock",
    "child.json",
    "run.json",
    "log.txt",
    "stdout.json",
    "cancelled",
    "result.json",
)
_TAIL = 1 << 16


@dataclass(frozen=True)
class JobProgress:
    """How far a running job is. ``fraction`` and ``eta_s`` are None where it does not know yet."""

    stage: str
    done: int
    total: int
    fraction: float | None
    eta_s: float | None
    elapsed_s: float


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in this file; empty where there is none, or none that can be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class Job:
    """One command line run by ``harmviz.jobs``. Properties read the folder anew each time."""

    folder: Path
    arguments: tuple[str, ...]
    created: str
    started: str

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def command(self) -> str:
        """What one would type to do the same."""
        return shlex.join(["python", "-m", "harmviz", *(a for a in self.arguments if a != "--json")])

    @property
    def state(self) -> State:
        alive = self.pid is not None
        result = read_json(self.folder / RESULT)  # after the lock: what ends between the two looks is not lost
        if not result and alive:
            return "running"
        if result.get("code") == 0:
            return "done"
        if (self.folder / CANCELLED).exists() or result.get("code") == CANCELLED_CODE:
            return "cancelled"
        return "failed" if result else "died"

    @property
    def pid(self) -> int | None:
        """The supervisor's process, which leads the group, or None where nothing of the job lives."""
        return holder(self.folder / LOCK)

    @property
    def stopping(self) -> bool:
        """Whether somebody asked to stop it and it has not ended yet."""
        return (self.folder / CANCELLED).exists() and self.state == "running"

    @property
    def run_id(self) -> str | None:
        """The run it makes or made, once it is known."""
        run_id = read_json(self.folder / OUTPUT).get("run_id") or read_json(self.folder / RUN).get("run_id")
        return run_id if isinstance(run_id, str) else None

    @property
    def ended(self) -> str | None:
        """When it ended, UTC, ISO 8601."""
        ended = read_json(self.folder / RESULT).get("ended")
        return ended if isinstance(ended, str) else None

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was started (again), until it ended."""
        until = datetime.fromisoformat(self.ended) if self.ended else datetime.now(UTC)
        return max(0.0, (until - datetime.fromisoformat(self.started)).total_seconds())

    def log(self, n_lines: int = 200) -> list[str]:
        """The last lines that the command wrote to stderr."""
        try:
            with (self.folder / LOG).open("rb") as f:
                f.seek(max(0, f.seek(0, 2) - _TAIL))
                text = f.read().decode(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-n_lines:]

    @property
    def error(self) -> str | None:
        """The one line that says why it failed; None while it runs and where it did not fail."""
        state = self.state
        if state == "died":
            return "the process was ended from outside (out of memory, perhaps, or a restart of this machine)"
        if state != "failed":
            return None
        lines = self.log(1)
        return lines[-1].removeprefix("harmviz: ") if lines else "the command ended without a word"

    @property
    def progress(self) -> JobProgress:
        """Where it is: from the progress file of the run it works on, before that from its last line."""
        state = self._progress_file()
        if state:
            return JobProgress(
                state["stage"],
                state["done"],
                state["total"],
                min(1.0, max(0.0, state["fraction"])),
                state["eta_s"],
                self.elapsed_s,
            )
        lines = self.log(1)
        return JobProgress(lines[-1] if lines else "starting", 0, 0, None, None, self.elapsed_s)

    def _progress_file(self) -> dict[str, Any]:
        """The progress of the partial run whose lock the command holds; empty where it is not this process's."""
        child = read_json(self.folder / CHILD).get("pid")
        for partial in list_partials():
            if child is not None and partial.pid == child:
                state = read_json(partial.path / "progress.json")
                if state.get("pid") == child and {"stage", "done", "total", "fraction", "eta_s"} <= set(state):
                    return state
        return {}


def read_job(folder: Path) -> Job | None:
    """The job in this folder, or None where there is none that can be read."""
    record = read_json(folder / RECORD)
    arguments, created, started = record.get("arguments"), record.get("created"), record.get("started")
    if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
        return None
    if not isinstance(created, str) or not isinstance(started, str):
        return None
    try:
        for when in (created, started):
            datetime.fromisoformat(when)
    except ValueError:
        return None
    return Job(folder, tuple(arguments), created, started)


def list_jobs() -> list[Job]:
    """All jobs, newest first."""
    root = jobs_root()
    folders = [f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")] if root.is_dir() else []
    return sorted((j for f in folders if (j := read_job(f))), key=lambda j: (j.started, j.id), reverse=True)

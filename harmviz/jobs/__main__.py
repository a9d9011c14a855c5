"""``python -m harmviz.jobs FOLDER``: stands over one command, and writes down how it ended, whoever else has gone.

It leads a process group of its own, so that closing the page or stopping the server does not reach it. A signal sent to
the group reaches the command too, which then ends by itself and keeps its finished stages; one that does not within
``GRACE`` seconds is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from harmviz.files import json_bytes
from harmviz.jobs.record import CANCELLED, CHILD, LOG, OUTPUT, RECORD, RESULT, RUN
from harmviz.runs import list_partials, write_atomic

#: Seconds between asking a command to stop and ending it.
GRACE = float(os.environ.get("HARMVIZ_JOB_GRACE") or 30)
_LOOK = 0.2


def _end(folder: Path, code: int) -> None:
    write_atomic(
        folder / RESULT, json_bytes({"code": code, "ended": datetime.now(UTC).isoformat(timespec="milliseconds")})
    )


def _note_run(folder: Path, pid: int) -> bool:
    """Writes down which run the command works on, once that is known: what is left of it belongs to this job."""
    for partial in list_partials():
        if partial.pid == pid:
            write_atomic(folder / RUN, json_bytes({"run_id": partial.run_id}))
            return True
    return False


def supervise(folder: Path, lock: int) -> int:
    """Runs the job's command to its end and returns its exit code. ``lock`` is the descriptor that tells it lives."""
    arguments = json.loads((folder / RECORD).read_bytes())["arguments"]
    asked: list[float] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # A handler, not SIG_IGN: the command would inherit that, and could no longer be interrupted.
        signal.signal(number, lambda *_: asked.append(time.monotonic()))
    with (folder / LOG).open("ab") as log, (folder / OUTPUT).open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "harmviz", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            pass_fds=(lock,),
        )
    write_atomic(folder / CHILD, json_bytes({"pid": child.pid}))
    if (folder / CANCELLED).exists():  # asked before there was anybody to ask
        child.terminate()
        asked.append(time.monotonic())
    known = False
    while (code := child.poll()) is None:
        time.sleep(_LOOK)
        known = known or _note_run(folder, child.pid)
        if asked and time.monotonic() - asked[0] > GRACE:
            _end(folder, -signal.SIGKILL)
            os.killpg(0, signal.SIGKILL)  # the whole group: what the command started, and this process
    _end(folder, code)
    return code


if __name__ == "__main__":
    raise SystemExit(0 if supervise(Path(sys.argv[1]), int(sys.argv[2])) == 0 else 1)

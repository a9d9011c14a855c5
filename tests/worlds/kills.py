"""Commands that are killed at a stage, not at a second: however fast the machine, the same point is met."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

#: Runs the command line and kills its own process, without any clean-up, once the progress reaches a stage.
_PROGRAM = """
import os, signal, sys
from harmviz.runs.progress import Progress

stage, inside = sys.argv[1], sys.argv[2] == "inside"
tell = Progress._tell

def told(self, done, total, force=False):
    tell(self, done, total, force=force or inside)
    if self.stage == stage and (done > 0 or not inside):
        os.kill(os.getpid(), signal.SIGKILL)

Progress._tell = told
from harmviz.cli import main
sys.exit(main(sys.argv[3:]))
"""


def killed_at(stage: str, arguments: Sequence[str], *, inside: bool = False, timeout: float = 300.0) -> None:
    """Runs ``python -m harmviz ARGUMENTS`` until ``stage`` begins (``inside``: has done a part of its work): SIGKILL.

    Raises:
        AssertionError: the command ended before it came to this stage.
    """
    where = "inside" if inside else "begin"
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM, stage, where, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, f"not killed at {stage}: {process.stderr[-500:]}"


#: Loads what a run needs once, then starts the command line in children of its own and kills them at random moments,
#: each of which goes on where the one before was killed; a run that came to its end is checked and begun anew.
_NURSERY = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import torch, transformers
from harmviz.claims.mapping import command, work
from harmviz.cli import main
from harmviz.runs import list_partials, list_runs, result_digest, verify_run

root, kills, seed, expected = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
draw, seen = random.Random(seed), {"kills": 0, "runs": 0, "stages": {}, "wrong": [], "begun": 0}

def start():
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        os._exit(main(sys.argv[5:]))
    return child

def check():
    for run in list_runs(root):
        if verify_run(run) != [] or result_digest(run) != expected:
            seen["wrong"].append(f"{run.id}: {verify_run(run)}")

def ended(child, until):
    while not until():
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.005)
    return None

def at_work():
    return any(root.glob(".partial-*.lock"))

def put_away():
    seen["runs"] += len(list_runs(root))
    shutil.rmtree(root)
    root.mkdir()

# Undisturbed: how long it is at work, from its lock to its end.
child = start()
assert ended(child, at_work) is None
began = time.monotonic()
assert ended(child, lambda: False) == 0
span = time.monotonic() - began
check()
put_away()
while seen["kills"] < kills:
    for lock in root.glob(".partial-*.lock"):
        lock.unlink()  # of one that was killed: it would be taken for the next one's
    child, seen["begun"] = start(), seen["begun"] + 1
    status = None if draw.random() < 0.1 else ended(child, at_work)  # one in ten before its lock, perhaps
    end = time.monotonic() + draw.uniform(0, span)
    status = ended(child, lambda: time.monotonic() > end) if status is None else status
    if status is None:
        os.kill(child, signal.SIGKILL)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        seen["kills"] += killed
        done = [stage for partial in list_partials(root) for stage in partial.stages]
        where = "after the end" if list_runs(root) else (["nothing"] + done)[-1]
        seen["stages"][where] = seen["stages"].get(where, 0) + killed
    elif status != 0:
        seen["wrong"].append(f"it ended with {status}")
    check()
    if list_runs(root):
        put_away()
if list_partials(root):
    child = start()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        seen["wrong"].append("the last one was not resumed")
    check()
    seen["runs"] += len(list_runs(root))
left = [p.name for p in root.iterdir() if p.name.startswith(".partial") or ".tmp-" in p.name]
print(json.dumps({**seen, "left": left}))
"""


def killed_at_random(
    kills: int,
    arguments: Sequence[str],
    root: Path,
    *,
    expected: str,
    seed: int = 0,
    timeout: float = 3600.0,
) -> dict[str, Any]:
    """What so many kills met, at moments drawn evenly over the time it is at work, of a command that makes runs below
    ``root``: ``kills``, ``begun`` (commands started), ``runs`` (that came to their end), ``stages`` (the last one that
    was finished → kills), ``wrong`` (runs that are not whole or have another digest than ``expected``), ``left``."""
    root.mkdir(parents=True, exist_ok=True)
    given = [str(root), str(kills), str(seed), expected, *arguments]
    process = subprocess.run(
        [sys.executable, "-c", _NURSERY, *given], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    seen: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return seen

"""Commands that are killed at a stage, not at a second: however fast the machine, the same point is met."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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

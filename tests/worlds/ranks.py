"""Jobs of several processes on the CPU: by ``torchrun``, or started here one by one, each with its own folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.worlds.kills import ROOT

#: Longer than any job here takes, on a busy machine.
TIMEOUT = 240.0


class Ended(NamedTuple):
    """How one process, or a whole job, ended."""

    code: int
    out: str
    err: str


def torchrun(program: Sequence[str], n: int = 2) -> Ended:
    """The job that ``torchrun`` makes of a program: ``-m harmviz …``, or a script and its arguments."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n), *program]
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def started(program: Sequence[str], folders: Sequence[Path]) -> list[Ended]:
    """Each rank's end, of a job with a process in each folder, without a launcher: nobody ends one for another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    n = len(folders)
    processes = [
        subprocess.Popen(
            [sys.executable, *program],
            cwd=folder,
            env={**_environment(), **of_rank(rank, n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, folder in enumerate(folders)
    ]
    try:
        told = [p.communicate(timeout=TIMEOUT) for p in processes]
    finally:
        for p in processes:
            p.kill()
    return [Ended(p.returncode, out, err) for p, (out, err) in zip(processes, told, strict=True)]


def of_rank(rank: int, n: int) -> dict[str, str]:
    """What a launcher tells a process of its place."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

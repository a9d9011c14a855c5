"""A disk of its own for a test: full at any byte, or read-only, in a namespace where nothing else notices.

``in_namespace(program)`` runs a Python text as root of a mount namespace; in it ``mounted``, ``grown`` and ``locked``
are at hand. What the program prints as JSON is returned.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_ALONE = ["unshare", "--map-root-user", "--mount"]


def in_namespace(program: str, *arguments: str, timeout: float = 300.0) -> Any:
    """What the program printed last, as JSON; skips where this machine makes no namespaces with a disk in them."""
    probe = "d=$(mktemp -d) && mount -t tmpfs -o size=64k tmpfs $d && umount $d && rmdir $d"
    if (
        not shutil.which("unshare")
        or subprocess.run([*_ALONE, "sh", "-c", probe], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine makes no mount namespaces")
    done = subprocess.run(
        [*_ALONE, sys.executable, "-c", f"from tests.worlds.small_disk import *\n{program}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def mounted(folder: Path, n_bytes: int) -> None:
    """An empty disk of so many bytes (in pages of 4096) at ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", folder], check=True)


def grown(folder: Path, n_bytes: int) -> None:
    """The same disk, larger."""
    subprocess.run(["mount", "-o", f"remount,rw,size={n_bytes}", folder], check=True)


def locked(folder: Path) -> None:
    """The same disk, read-only."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


def unmounted(folder: Path) -> None:
    """Nothing is mounted there any more."""
    subprocess.run(["umount", folder], check=True)

"""Memory, GPU and disk that are free on this machine now."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path


def free_memory() -> int | None:
    """Bytes of main memory that a new process can have, within this container's limit; None where the system says
    nothing."""
    limits = [n_bytes for n_bytes in (_from_meminfo(), _from_cgroup()) if n_bytes is not None]
    if limits:
        return min(limits)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS: all of it, for want of better
    except (ValueError, OSError):
        return None


def _from_meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _from_cgroup() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text().strip()
        return None if limit == "max" else max(0, int(limit) - int((root / "memory.current").read_text()))
    except (OSError, ValueError):
        return None


def free_gpu_memory() -> int | None:
    """Bytes free on the GPU that a run would use; None where there is none, or the installed torch cannot use one."""
    try:
        if "+cpu" in importlib.metadata.version("torch") or not (tool := shutil.which("nvidia-smi")):
            return None
        query = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return int(done.stdout.split()[0]) << 20
    except (importlib.metadata.PackageNotFoundError, OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def free_disk(path: Path) -> int:
    """Bytes free where ``path`` is, or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free

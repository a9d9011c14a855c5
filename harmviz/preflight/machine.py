"""Memory, GPU and disk that are free on this machine now."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

from harmviz.models.memory import free_memory as free_memory


def free_gpu_memory() -> int | None:
    """Bytes free on the GPU that a run would use; None where there is none, or the installed torch cannot use one."""
    try:
        if "+cpu" in importlib.metadata.version("torch") or not (tool := shutil.which("nvidia-smi")):
            return None
        query = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            if not (first := visible.split(",")[0].strip()):
                return None  # all are hidden
            query += ["-i", first]
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return int(done.stdout.split()[0]) << 20
    except (importlib.metadata.PackageNotFoundError, OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def free_disk(path: Path) -> int:
    """Bytes free where ``path`` is, or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free

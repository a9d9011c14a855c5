"""How much memory is free: in this machine, within this container, on the device that a model is on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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


def free_on(device: torch.device) -> int | None:
    """Bytes that tensors on this device can have now; None where the system says nothing.

    On a GPU that is what the driver calls free and what torch holds without using it: after a stage torch keeps the
    memory that the stage had, and the driver alone would count it as taken.
    """
    if device.type != "cuda":
        return free_memory()
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)

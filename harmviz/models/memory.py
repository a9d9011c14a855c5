"""How much memory is free (in this machine, within this container, on the device that a model is on), and how much of
it the batches of a training-like pass take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


#: Copies of what linear maps read and write for a token that are alive at the peak of a pass: nonlinearities keep some
#: too (measured: 3.9 GB for 135M parameters; counted on the meta device for 8 and 32 billion).
ACTIVATION_COPIES = 1.5


def kept_bytes(activations_per_token: int, width: int) -> int:
    """Bytes of activations that one token of a training-like pass keeps, at ``width`` bytes a number."""
    return int(ACTIVATION_COPIES * width * activations_per_token)


def batch_tokens(*, on_gpu: bool, vocabulary: int, kept: int, resident: int) -> int:
    """Padded tokens per batch: enough for efficient matrix products, few enough that logits (four copies of 4 bytes,
    for answers alone) stay within 2 GB on a CPU and 4 GB on a GPU, and there activations within 13 % of what lies on
    the device anyway (15 % with logits), or 5 GB.

    It depends on the model alone, not on what happens to be free: the same samples are summed in the same batches on
    every card that holds them.

    Args:
        kept: bytes of activations a token (``kept_bytes``).
        resident: bytes of weights and of one float32 sum of all scored ones.
    """
    tokens = min(16384, (4 << 30) // (16 * vocabulary)) if on_gpu else min(1024, (2 << 30) // (16 * vocabulary))
    if on_gpu:
        tokens = min(tokens, max(5 << 30, int(0.13 * resident)) // max(1, kept))
    return max(256, tokens)


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
        if limit == "max":
            return None
        # What the kernel keeps of files that were read counts as used, and is given back before anybody goes without.
        facts = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        used = int((root / "memory.current").read_text()) - int(facts.get("inactive_file", 0))
        return max(0, int(limit) - used)
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

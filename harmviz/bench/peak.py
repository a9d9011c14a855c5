"""The memory that a piece of work takes at its peak, beside what its process had before."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM back to what is resident now


class Peak:
    """``n_bytes`` once the context has ended; None where the system does not tell."""

    n_bytes: int | None = None


@contextmanager
def watched_peak(device: torch.device | None = None) -> Iterator[Peak]:
    """Watches the memory of this process within the context: on a GPU, where ``device`` is one, else main memory.

    On a GPU: the most that torch's tensors took there, less what they took at the beginning. Else, on Linux, the
    kernel's own high-water mark of resident memory (pages of mapped files included), set back at the beginning, after
    memory that the process no longer uses was handed back. Nothing is sampled, so no short peak is missed. Memory
    of forked processes is not in it.
    """
    peak = Peak()
    if device is not None and device.type == "cuda":
        import torch

        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.n_bytes = torch.cuda.max_memory_allocated(device) - before
        return
    _hand_back()
    try:
        _CLEAR.write_text(_RESET_PEAK)
        resident = _status("VmRSS")
    except OSError:  # not Linux, or /proc is closed
        yield peak
        return
    yield peak
    peak.n_bytes = max(0, _status("VmHWM") - resident)


def _hand_back() -> None:
    """Gives the system back what the C library keeps of freed memory: else work that uses it seems to take none."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # no glibc
        return


def _status(key: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])

"""What this machine can do at best: matrix products and copies, measured; and what it is called."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmviz.bench.timing import synchronise

if TYPE_CHECKING:
    import torch

#: Side of the square matrices that are multiplied: large enough to keep every unit busy, small enough for a second.
_SIDE = {"cpu": 1536, "cuda": 8192}
#: Bytes of the tensor that is copied: many times any cache.
_COPIED = {"cpu": 256 << 20, "cuda": 512 << 20}
_SECONDS, _LEAST = 1.0, 3
_measured: dict[tuple[str, str], Rates] = {}


@dataclass(frozen=True)
class Rates:
    """``flops``: floating-point operations a second of a large matrix product in a dtype. ``bandwidth``: bytes a second
    that a large copy reads and writes."""

    flops: float
    bandwidth: float


def rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """The rates of a device, from the fastest of at least three trials in about a second each; measured once a process.

    ``flops = 2·n³ / t`` of an n × n product with the settings that the model runs with (threads, TF32 on or off);
    ``bandwidth = 2·bytes / t`` of a copy.
    """
    key = (str(device), str(dtype).removeprefix("torch."))
    if key not in _measured:
        _measured[key] = _measure(device, dtype)
    return _measured[key]


def rates_as_json() -> list[dict[str, Any]]:
    """What ``rates`` has measured in this process."""
    return [{"device": device, "dtype": dtype, **asdict(r)} for (device, dtype), r in _measured.items()]


def _measure(device: torch.device, dtype: torch.dtype) -> Rates:
    import torch

    n, n_bytes = _SIDE[device.type], _COPIED[device.type]
    left, right = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    product = torch.empty(n, n, device=device, dtype=dtype)
    with torch.inference_mode():
        multiplying = _fastest(lambda: torch.mm(left, right, out=product), device)
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copying = _fastest(lambda: target.copy_(source), device)
    return Rates(2 * n**3 / multiplying, 2 * n_bytes / copying)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of many calls."""
    work()
    seconds: list[float] = []
    while len(seconds) < _LEAST or sum(seconds) < _SECONDS:
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def describe(device: torch.device | None) -> dict[str, Any]:
    """Names of what was measured on, as JSON: processor, its cores and the threads torch uses of them, the GPU where
    ``device`` is one, torch."""
    import torch

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device is not None and device.type == "cuda" else None,
        "torch": str(torch.__version__),
    }


def processor_name() -> str:
    """The processor's name as the system gives it, else its architecture (``x86_64``)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()

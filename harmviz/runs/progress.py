"""Staged progress with an estimate of the time left, told to a listener and kept in a file beside the partial run.

Work is counted in units of one sample's forward pass: scoring a sample costs about three (forward and backward). The
time left is the units left at the pace of this process so far.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmviz.files import json_bytes, write_atomic

Listener = Callable[[dict[str, Any]], None]


class Progress:
    """Counts units of work over named stages. ``listener`` gets a dict at most every ``every`` seconds."""

    def __init__(self, total_units: float, listener: Listener, file: Path | None = None, every: float = 1.0):
        self.total, self.listener, self.file, self.every = total_units, listener, file, every
        self.done = 0.0
        self.stage = ""
        self._skipped = 0.0  # units that an earlier process had done: they say nothing about this one's pace
        self._start = time.monotonic()
        self._told_at = -every

    def begin(self, stage: str) -> None:
        self.stage = stage
        self._tell(0, 0, force=True)

    def skip(self, units: float) -> None:
        """Counts work that was found done."""
        self.done += units
        self._skipped += units

    def within(self, units: float) -> Callable[[int, int], None]:
        """A (done, total) callback for a step worth ``units``; call ``add`` when the step is finished."""
        base = self.done

        def report(done: int, total: int) -> None:
            self.done = base + units * done / max(1, total)
            self._tell(done, total)

        return report

    def _tell(self, done: int, total: int, force: bool = False) -> None:
        moment = time.monotonic()
        if not force and moment - self._told_at < self.every:
            return
        self._told_at = moment
        elapsed, worked = moment - self._start, self.done - self._skipped
        left = (self.total - self.done) * elapsed / worked if worked > 0 else None
        state = {
            "stage": self.stage,
            "done": done,
            "total": total,
            "fraction": min(1.0, self.done / self.total) if self.total else 0.0,
            "elapsed_s": round(elapsed, 1),
            "eta_s": None if left is None else round(max(0.0, left), 1),
        }
        self.listener(state)
        if self.file is not None:
            write_atomic(self.file, json_bytes({**state, "pid": os.getpid()}))

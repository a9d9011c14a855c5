"""The training curve as it grows: one JSON line a step, in a file beside the partial run. No torch: pages read it live.

A line: ``{"arm", "seed", "step", "loss", "rate"}``; ``loss`` in nats per answer token, before the step, averaged over
the rows of the batch; ``rate`` the learning rate of the step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harmviz.runs import write_atomic

#: Below the partial run's folder while it is made, below the run's once it is complete.
LIVE, KEPT = "curve.jsonl", "results/curve.jsonl"


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The lines of a curve file; none where there is no file. A line that is being written is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    points = []
    for line in text.split("\n"):
        try:
            points.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            continue
    return points


class LiveCurve:
    """Appends steps to the file. Steps that an interrupted process took beyond its last saved one are forgotten."""

    def __init__(self, path: Path):
        self.path = path

    def begin(self, arm: str, seed: int, step: int) -> None:
        """Training of an arm goes on after ``step``: later steps of an earlier process are taken out."""
        points = read_curve(self.path)
        kept = [p for p in points if (p.get("arm"), p.get("seed")) != (arm, seed) or p.get("step", 0) <= step]
        write_atomic(self.path, lines(kept))

    def add(self, **point: Any) -> None:
        with self.path.open("ab") as f:
            f.write(lines([point]))


def lines(points: list[dict[str, Any]]) -> bytes:
    """The points as JSON lines."""
    return "".join(json.dumps(p, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for p in points).encode()

"""One stage of a run being made: done once, whatever happens to the process before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harmviz.runs import PartialRun
from harmviz.runs.progress import Progress


def run_stage(
    partial: PartialRun, progress: Progress, name: str, units: float, work: Callable[[], dict[str, Any] | None]
) -> dict[str, Any]:
    """Does ``work`` unless the stage is done, and returns its info: what ``work`` returned, kept as JSON.

    ``units``: what it costs, in forward passes of one sample. Every file that ``work`` writes below ``partial.path(…)``
    belongs to the stage and is deleted where the stage did not finish.
    """
    if partial.done(name):
        progress.skip(units)
    else:
        progress.begin(name)
        before = progress.done
        partial.finish(name, work() or {})
        progress.done = before + units
    return partial.info(name)

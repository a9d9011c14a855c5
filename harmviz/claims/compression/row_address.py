"""Where the rows of this claim stand, and how numbers without an end are written. No torch."""

from __future__ import annotations

import math
from typing import Any

from harmviz.claims.compression.separability import Resampled
from harmviz.runs.point import MEAN_OF_ALL, Point, Ranking
from harmviz.runs.rows import Where
from harmviz.stats.estimate import Estimate

#: The measured set of everything that is harm, or harm minus safe.
HARM = "harm"


def where_of(condition: str, point: Point | Ranking | None = None, **more: Any) -> Where:
    """The address of a row about a checkpoint, or a difference of two."""
    return Where(experiment="compression", condition=condition, point=point, skip_tokens=0, **more)


def ranking_of(world: Resampled, contrast: str) -> Ranking:
    """The mean of all categories under this ranking; each split chooses its own q."""
    return Ranking(MEAN_OF_ALL, world.points[0].p, contrast=contrast)


def finite(estimate: Estimate) -> Estimate:
    """The estimate without ends that are infinite, as fractions are that no grid point reaches."""
    ends = (estimate.value, estimate.ci_low, estimate.ci_high)
    known = all(end is not None and math.isfinite(end) for end in ends)
    return estimate if known else estimate._replace(ci_low=None, ci_high=None)


def or_none(value: float) -> float | None:
    """The value; None where it is no number."""
    return float(value) if math.isfinite(value) else None

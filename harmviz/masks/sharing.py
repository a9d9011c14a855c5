"""What two masks share, beside its yardsticks: what the sizes allow, and what chance alone would give. Numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harmviz.masks.mask import PruneMask
from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.stats.chance import Chance, chance_overlap
from harmviz.stats.overlap import containment, intersection_size, jaccard_of_counts


@dataclass(frozen=True)
class Shared:
    """The overlap of masks A and B.

    Attributes:
        n_a, n_b: weights in each.
        intersection: weights in both.
        jaccard, of_a, of_b: ``|A ∩ B|`` over ``|A ∪ B|``, ``|A|`` and ``|B|``; NaN where that is 0.
        most: the Jaccard of the smaller one lying wholly in the larger: no masks of these sizes share more.
        chance: both drawn anew within each matrix among all its weights; None where the matrices' sizes are not known.
    """

    n_a: int
    n_b: int
    intersection: int
    jaccard: float
    of_a: float
    of_b: float
    most: float
    chance: Chance | None


def shared(a: PruneMask, b: PruneMask, table: WeightTable | None, *, seed: int = 0) -> Shared:
    """What A and B have in common.

    Args:
        table: the matrices that both are masks of; None: not known here, so that chance stays unknown.
        seed: of the draws behind the range of chance.

    Raises:
        MaskInvalid: a mask does not fit the table.
    """
    known = table if table is not None else _spanning(a, b)
    in_a, in_b = a.to_global(known), b.to_global(known)
    n_a, n_b, common = len(in_a), len(in_b), intersection_size(in_a, in_b)
    chance = None
    if table is not None:
        chance = chance_overlap(in_a, in_b, table.offsets, np.diff(table.offsets), seed=seed)
    most = min(n_a, n_b) / max(n_a, n_b) if n_a or n_b else math.nan
    jaccard = jaccard_of_counts(common, n_a, n_b)
    return Shared(n_a, n_b, common, jaccard, containment(in_a, in_b), containment(in_b, in_a), most, chance)


def _spanning(a: PruneMask, b: PruneMask) -> WeightTable:
    """A table in which both masks fit, for counting alone: one row a matrix, as long as its last index."""
    ends: dict[str, int] = {}
    for mask in (a, b):
        for name, index in mask.indices.items():
            ends[name] = max(ends.get(name, 0), int(index[-1]) + 1)
    return WeightTable(WeightMatrix(name, 0, "", 1, end) for name, end in sorted(ends.items()))

"""What the categories' own masks share at one checkpoint: means over pairs of categories, for each ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from harmviz.claims.compression.selections import WHOLE
from harmviz.claims.mapping.settings import CONTRASTS
from harmviz.data.splits import SCORING
from harmviz.stats.chance import chance_overlap
from harmviz.stats.overlap import cross_half, jaccard, split_half

#: Columns of ``category_overlaps``.
METRICS = ("jaccard", "jaccard_half", "jaccard_ceiling", "jaccard_chance")
#: The mean overlap by chance is exact; its range over draws is not stored.
_CHANCE_DRAWS = 1


def category_overlaps(
    of_set: Mapping[tuple[str, str, str], np.ndarray],
    categories: Sequence[str],
    eligible: np.ndarray,
    offsets: np.ndarray,
) -> np.ndarray:
    """float64[contrast, metric], rows as ``CONTRASTS`` and columns as ``METRICS``; NaN where there is no pair.

    Args:
        of_set: (category, contrast, scoring half or ``WHOLE``) → global indices of that mask.
        eligible: int64[matrix], how many weights of each may be selected.
        offsets: of the model's weight table.
    """
    return np.array([_of_contrast(of_set, categories, contrast, eligible, offsets) for contrast in CONTRASTS])


def _of_contrast(
    of_set: Mapping[tuple[str, str, str], np.ndarray],
    categories: Sequence[str],
    contrast: str,
    eligible: np.ndarray,
    offsets: np.ndarray,
) -> list[float]:
    whole = {c: np.sort(of_set[c, contrast, WHOLE]) for c in categories}
    halves = {c: (np.sort(of_set[c, contrast, SCORING[0]]), np.sort(of_set[c, contrast, SCORING[1]])) for c in whole}
    pairs = list(combinations(categories, 2))
    by_chance = [chance_overlap(whole[a], whole[b], offsets, eligible, draws=_CHANCE_DRAWS).expected for a, b in pairs]
    return [
        _mean([jaccard(whole[a], whole[b]) for a, b in pairs]),
        _mean([cross_half(halves[a], halves[b]).value for a, b in pairs]),
        _mean([split_half(halves[c]) for c in categories]),
        _mean([chance.value for chance in by_chance]),
    ]


def _mean(values: Sequence[float]) -> float:
    """Over what is a number; NaN where nothing is."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")

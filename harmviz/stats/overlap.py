"""How much weight sets have in common, and how much of that is chance.

A *set* here is a sorted, duplicate-free int64 array of global weight indices (``PruneMask.to_global``).

    J(A, B) = |A ∩ B| / |A ∪ B|            containment(A, B) = |A ∩ B| / |A|

Yardsticks stand beside every overlap of two categories:

- **ceiling**: ``split_half`` = J(A₁, A₂) of two sets of *one* category, each scored on half its prompts. ``cross_half``
  pairs the halves of two categories; it rests on the same half-sized samples, so it may be compared with the ceiling.
- **text baseline**: the same overlap with benign- and safe-signed sets, which any set of this module can be.
- **chance**: see ``harmviz.stats.chance``.

A ratio with nothing below the line (both sets empty, A empty) is NaN, never 0.

Source: UpSet: Lex et al. 2014, IEEE TVCG 20:1983.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from harmviz.stats.estimate import Estimate

#: UpSet tables enumerate exact intersections; beyond this many sets nobody can read one.
MAX_UPSET_SETS = 12


# -- two sets -------------------------------------------------------------------------------------------------------
def intersection_size(a: np.ndarray, b: np.ndarray) -> int:
    """``|A ∩ B|``.

    Raises:
        ValueError: a set is not a sorted, duplicate-free, one-dimensional integer array.
    """
    return _count_common(checked_set("a", a), checked_set("b", b))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """``|A ∩ B| / |A ∪ B|``; NaN where both sets are empty.

    Raises:
        ValueError: as ``intersection_size``.
    """
    return jaccard_of_counts(intersection_size(a, b), len(a), len(b))


def containment(a: np.ndarray, b: np.ndarray) -> float:
    """``|A ∩ B| / |A|``, the share of A that lies in B; NaN where A is empty.

    Raises:
        ValueError: as ``intersection_size``.
    """
    return _ratio(intersection_size(a, b), len(a))


def cross_half(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> Estimate:
    """Mean of J(A₁,B₁), J(A₁,B₂), J(A₂,B₁), J(A₂,B₂), from the smallest to the largest of these n = 4.

    Compare with ``split_half`` of A and of B.

    Raises:
        ValueError: as ``intersection_size``.
    """
    values = np.array([jaccard(x, y) for x in a for y in b])
    mean, n = float(values.mean()), len(values)
    if math.isnan(mean):
        return Estimate(mean, None, None, n, n, reason="two halves are both empty")
    return Estimate(mean, float(values.min()), float(values.max()), n, n)


def split_half(halves: tuple[np.ndarray, np.ndarray]) -> float:
    """J(A₁, A₂): how well one category's set agrees with itself at half the sample, the ceiling for ``cross_half``.

    Raises:
        ValueError: as ``intersection_size``.
    """
    return jaccard(*halves)


# -- many sets ------------------------------------------------------------------------------------------------------
def upset(sets: Mapping[str, np.ndarray]) -> dict[frozenset[str], int]:
    """Exact intersections: for each group of names, how many weights lie in exactly those sets; largest first.

    Groups without a weight are left out; the counts sum to the size of the union of all sets.

    Raises:
        ValueError: more than 12 sets, or as ``intersection_size``, naming the set.
    """
    if len(sets) > MAX_UPSET_SETS:
        raise ValueError(f"sets must be at most {MAX_UPSET_SETS}, got {len(sets)}: choose the ones to show")
    names = list(sets)
    arrays = [checked_set(n, sets[n]) for n in names]
    if not sum(map(len, arrays)):
        return {}
    index = np.concatenate(arrays)
    bit = np.repeat(1 << np.arange(len(names)), [len(a) for a in arrays])
    order = np.argsort(index, kind="stable")
    index, bit = index[order], bit[order]
    # Each set names a weight once, so adding the bits of equal indices is their bitwise or.
    starts = np.flatnonzero(np.diff(index, prepend=index[0] - 1))
    counts = np.bincount(np.add.reduceat(bit, starts))
    masks = np.flatnonzero(counts)
    masks = masks[np.argsort(-counts[masks], kind="stable")]
    return {frozenset(n for i, n in enumerate(names) if m >> i & 1): int(counts[m]) for m in masks.tolist()}


# -- shared with harmviz.stats.chance --------------------------------------------------------------------------
def jaccard_of_counts(common: float, size_a: int, size_b: int) -> float:
    """``common / (|A| + |B| − common)``; NaN where both sizes are 0."""
    return _ratio(common, size_a + size_b - common)


def checked_set(name: str, index: np.ndarray) -> np.ndarray:
    """``index`` as int64.

    Raises:
        ValueError: it is not a sorted, duplicate-free, one-dimensional array of non-negative integers.
    """
    array = np.asarray(index)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be a one-dimensional integer array, got {array.dtype} of shape {array.shape}")
    array = array.astype(np.int64, copy=False)
    if array.size and (array[0] < 0 or (array[1:] <= array[:-1]).any()):
        raise ValueError(f"{name} must be non-negative, sorted and free of duplicates (PruneMask.to_global gives that)")
    return array


def _count_common(a: np.ndarray, b: np.ndarray) -> int:
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    if not len(small):
        return 0
    place = np.searchsorted(large, small)
    place[place == len(large)] = 0
    return int(np.count_nonzero(large[place] == small))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")

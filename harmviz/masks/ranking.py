"""Exact order statistics over all N scored weights (1e8 … 1e10), matrix by matrix, in bounded memory.

Everything a selection rests on is an integer count or a rank, so nothing here is approximate:

- ``count_of``: ``⌊fraction · n⌋`` of the decimal number that was asked for, free of float error;
- ``kth_largest`` and ``eligibility_threshold``: which weights are protected, from two passes over the utility scores;
- ``count_at_least``: the utility tail ``#{j : U_j >= v}`` of chosen values, one pass;
- ``TopK``: the k best positive scores of a stream, ties broken by the global index.

A *chunk* is the flat float32 array of one matrix; a function from nothing to an iterator of chunks is one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from numbers import Real

import numpy as np

from harmviz.errors import BadSetting

Chunks = Callable[[], Iterator[np.ndarray]]

#: Largest bit pattern that is a non-negative float32 (+inf). Above it: NaN and everything with the sign bit.
_INF_BITS = np.uint32(0x7F800000)
#: ``count_at_least`` sorts this many values at a time: large enough that looking up the queries is not the cost.
_SORT_BLOCK = 1 << 22
#: ``TopK`` bounds the k-th best of its first chunk by the maxima of groups of this many scores.
_GROUP = 64


def check_fraction(name: str, value: object, *, below_one: bool = False) -> float:
    """``value`` as a float.

    Raises:
        ValueError: it is no number, or lies outside [0, 1] (``below_one``: [0, 1)).
    """
    allowed = "0 <= {0} < 1" if below_one else "0 <= {0} <= 1"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadSetting(f"{name} must be a number with {allowed.format(name)}, got {value!r}")
    number = float(value)
    # Written so that NaN, which compares false with everything, is refused.
    if not (0.0 <= number < 1.0 or (number == 1.0 and not below_one)):
        raise BadSetting(f"{name} must satisfy {allowed.format(name)}, got {number!r}")
    return number


def count_of(fraction: float, n: int) -> int:
    """``⌊fraction · n⌋``, exact for the decimal number that ``fraction`` prints as.

    ``0.01 · 700`` is 7.000000000000001 in floats and ``0.29 · 100`` is 28.999999999999996: whoever asks for 0.29 of 100
    weights means 29. The shortest decimal that identifies the float (its ``repr``) is taken as the number meant.

    Raises:
        ValueError: ``fraction`` is no number in [0, 1].
    """
    return math.floor(Fraction(repr(check_fraction("fraction", fraction))) * int(n))


def _bits(chunk: np.ndarray) -> np.ndarray:
    """The uint32 bit patterns of non-negative float32 values: ordered as the values are.

    Raises:
        ValueError: a value is NaN or negative.
    """
    values = np.ascontiguousarray(chunk, dtype=np.float32).ravel()
    bits = values.view(np.uint32)
    if bits.size and bits.max() > _INF_BITS:
        bad = ~(values >= 0)  # also true for NaN
        if bad.any():
            raise ValueError(
                f"utility scores must be non-negative numbers, got {values[bad][0]} ({int(bad.sum())} such)"
            )
        bits = np.abs(values).view(np.uint32)  # what is left is -0.0
    return bits


def kth_largest(chunks: Chunks, k_list: Sequence[int]) -> list[float]:
    """The k-th largest of all values (k = 1: the maximum) for each k, exact, in two passes.

    A radix selection: the bit patterns of non-negative floats are ordered as the floats, so a histogram of the upper
    16 bits finds the bin that holds the k-th largest, and one of the lower 16 bits inside that bin finds the value.
    Memory: one chunk and 65,536 counters per distinct bin.

    Args:
        chunks: called once a pass; each pass yields the same non-negative float32 arrays.
        k_list: ranks in [1, number of values].

    Raises:
        ValueError: a value is NaN or negative, or a k is out of range.
    """
    if not k_list:
        return []
    upper = np.zeros(1 << 16, dtype=np.int64)
    for chunk in chunks():
        upper += np.bincount(_bits(chunk) >> np.uint32(16), minlength=1 << 16)
    n = int(upper.sum())
    if bad := [k for k in k_list if not 1 <= k <= n]:
        raise ValueError(f"k must satisfy 1 <= k <= {n} (the number of values), got {bad[0]}")

    # at_least[b]: how many values have upper bits >= b. The wanted bin is the last one that still has k of them.
    at_least = np.cumsum(upper[::-1])[::-1]
    bins = [int(np.flatnonzero(at_least >= k)[-1]) for k in k_list]
    lower = {b: np.zeros(1 << 16, dtype=np.int64) for b in bins}
    for chunk in chunks():
        bits = _bits(chunk)
        chunk_bins = bits >> np.uint32(16)
        for b, counts in lower.items():
            inside = bits[chunk_bins == b] & np.uint32(0xFFFF)
            counts += np.bincount(inside, minlength=1 << 16)

    result = []
    for k, b in zip(k_list, bins, strict=True):
        rank_in_bin = k - (int(at_least[b + 1]) if b < (1 << 16) - 1 else 0)
        low = int(np.flatnonzero(np.cumsum(lower[b][::-1])[::-1] >= rank_in_bin)[-1])
        result.append(float(np.array((b << 16) | low, dtype=np.uint32).view(np.float32)))
    return result


def eligibility_threshold(chunks: Chunks, n: int, p_list: Sequence[float]) -> list[float]:
    """For each p the utility v such that weight i is eligible, ``utility_tail_i > p``, if and only if ``U_i <= v``.

    v is the k-th largest utility with ``k = ⌊p·N⌋ + 1``. Proof: let ``T_i = #{j : U_j >= U_i}``, an integer, so that
    ``utility_tail_i = T_i / N``. Then ``T_i / N > p`` iff ``T_i > pN`` iff ``T_i >= ⌊pN⌋ + 1 = k`` (an integer exceeds
    pN iff it is at least ⌊pN⌋ + 1). And ``T_i >= k`` says that at least k values are ``>= U_i``, which holds iff the
    k-th largest value is ``>= U_i``. ∎  Equal utilities are thus eligible together, and at most ⌊pN⌋ are protected.

    Raises:
        ValueError: a p lies outside [0, 1), or a utility is NaN or negative.
    """
    return kth_largest(chunks, [count_of(check_fraction("p", p, below_one=True), n) + 1 for p in p_list])


def count_at_least(values: np.ndarray, chunks: Chunks) -> np.ndarray:
    """``#{j : U_j >= v}`` for each v of ``values``, as int64, exact, in one pass.

    Memory: a sorted block of 4 M chunk values and the distinct queries.
    """
    queries, where = np.unique(np.asarray(values, dtype=np.float32), return_inverse=True)
    total = np.zeros(len(queries), dtype=np.int64)

    def count(pieces: list[np.ndarray]) -> None:
        block = np.sort(np.concatenate(pieces))
        np.add(total, len(block) - np.searchsorted(block, queries, side="left"), out=total)

    pieces: list[np.ndarray] = []
    for chunk in chunks():
        pieces.append(np.asarray(chunk, dtype=np.float32).ravel())
        if sum(len(piece) for piece in pieces) >= _SORT_BLOCK:
            count(pieces)
            pieces = []
    if pieces:
        count(pieces)
    return total[where]


def _best(score: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest scores, ascending; of equal scores at the boundary the first ones."""
    if k >= len(score):
        return np.arange(len(score))
    if k == 0:
        return np.empty(0, dtype=np.int64)
    kth = np.partition(score, len(score) - k)[len(score) - k]
    keep = score > kth
    keep[np.flatnonzero(score == kth)[: k - int(keep.sum())]] = True
    return np.flatnonzero(keep)


def selection_order(score: np.ndarray) -> np.ndarray:
    """The permutation that sorts by score descending, equal scores by position ascending."""
    return np.argsort(-score, kind="stable")


class TopK:
    """The k largest positive scores of a stream, ties going to the lower index, in O(k) memory.

    Chunks arrive in increasing index order. ``threshold`` is the k-th best score so far (0 until k are held): a later
    weight must be strictly greater to enter, because on a tie the earlier index wins.
    """

    def __init__(self, k: int):
        if k < 0:
            raise ValueError(f"k must be >= 0, got {k}")
        self.k = k
        self.threshold = np.float32(0.0 if k else np.inf)
        self._score: list[np.ndarray] = []
        self._index: list[np.ndarray] = []
        self._held = 0
        self._next = 0

    def add(self, score: np.ndarray, index: np.ndarray | int) -> None:
        """Takes a chunk of float32 scores with the global index of each (ascending), or of the first of a run.

        Raises:
            ValueError: the chunk begins at or before the end of an earlier one.
        """
        if not len(score):
            return
        first, last = (index, index + len(score) - 1) if isinstance(index, int) else (int(index[0]), int(index[-1]))
        if first < self._next:
            raise ValueError(f"chunks must arrive in increasing index order, got {first} after {self._next - 1}")
        self._next = last + 1
        bound = self._lower_bound(score) if self.threshold == 0 else 0.0
        keep = np.flatnonzero(score >= bound if bound > 0 else score > self.threshold)
        if not len(keep):
            return
        self._score.append(score[keep])
        self._index.append(keep + index if isinstance(index, int) else index[keep])
        self._held += len(keep)
        # The sooner there is a threshold the less enters; from then on compacting at twice k (and a floor for small k)
        # costs O(1) a weight on average.
        if self._held >= 2 * self.k + 4096 or (self.threshold == 0 and self._held >= self.k):
            self._compact()

    def _lower_bound(self, score: np.ndarray) -> float:
        """A number that the chunk's k-th largest score reaches (0 where none is cheap to find).

        The maxima of disjoint groups are themselves scores, so the k-th largest of them is such a number. It spares
        the first chunk, which meets no threshold yet, from keeping every positive score.
        """
        n_groups = len(score) // _GROUP
        if not 0 < self.k <= n_groups:
            return 0.0
        # Group g is every n_groups-th score from g on: maxima over the long axis are what the processor does fastest.
        maxima = score[: n_groups * _GROUP].reshape(_GROUP, n_groups).max(axis=0)
        return float(np.partition(maxima, n_groups - self.k)[n_groups - self.k])

    def _compact(self) -> None:
        score, index = np.concatenate(self._score), np.concatenate(self._index)
        keep = _best(score, self.k)  # positions ascend with the index, so ties fall to the lower index
        self._score, self._index, self._held = [score[keep]], [index[keep]], len(keep)
        if self._held == self.k:
            self.threshold = self._score[0].min()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(global index int64, score float32) in selection order: score descending, then index ascending."""
        if not self._held:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        self._compact()
        order = selection_order(self._score[0])
        return self._index[0][order].astype(np.int64), self._score[0][order]

"""The six controls: masks that say how much of an effect is owed to *which* weights were zeroed (METHOD.md, section 3).

Drawn, with the same count per matrix as the mask, from eligible weights outside it; several draws, mean and spread
shown:

1. ``random_control``: uniformly. How much does zeroing this many weights do, whichever they are?
2. ``matched_controls`` on ``|W|``: among weights of like magnitude. Is it just that they are large?
3. ``matched_controls`` on U: among weights of like utility. Is it just that ability uses them as much?

Selected, by the same rules as the mask:

4. ``benign_signed``, 5. ``safe_signed``: by the signed score on off-policy benign, on same-topic safe answers. Is it
   about harm, or about any text the model would not have written?
6. ``unprotected``: at p = 0. What does protection spare?
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harmviz.errors import SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.mask import Kind, PruneMask
from harmviz.masks.selection import Selection, make_mask
from harmviz.models.weights import WeightTable

#: Controls that are drawn at random, several times each.
DRAWN = ("random", "magnitude", "utility")
#: A matched partner is drawn among this many unused neighbours in rank on either side.
NEIGHBOURS = 16


def random_control(
    mask: PruneMask, table: WeightTable, eligible: Callable[[int], np.ndarray], *, seed: int, draw: int = 0
) -> PruneMask:
    """As many eligible weights of each matrix as the mask has there, drawn uniformly outside it.

    Args:
        eligible: ``eligible(i)``: which weights of matrix i may be drawn, bool, flat (``Candidates.eligible``).
        seed: with ``draw`` it determines the result; each matrix has a stream of its own.

    Raises:
        MaskInvalid: the mask does not fit the table.
        SelectionInexact: a matrix has too few eligible weights outside the mask.
    """
    mask.check_fits(table)
    indices = {}
    for name, index in mask.indices.items():
        pool = _pool(name, index, table, eligible)
        # Sorted by PruneMask anyway, so the draw need not be shuffled: choice then costs O(count), not O(pool).
        rng = _stream("random", seed, draw, name)
        indices[name] = pool[rng.choice(len(pool), size=len(index), replace=False, shuffle=False)]
    return _control(mask, indices, "random", seed, draw)


def matched_controls(
    mask: PruneMask,
    table: WeightTable,
    eligible: Callable[[int], np.ndarray],
    values: Callable[[int], np.ndarray],
    *,
    seed: int,
    name: str,
    draws: Sequence[int] = (0,),
) -> list[PruneMask]:
    """For each weight of the mask a partner of the same matrix and like value, eligible and outside the mask; a control
    a draw. A matrix is read and sorted once for all draws.

    The partner is drawn uniformly among the nearest in rank by value: 16 below and 16 above that no other weight of
    the mask has taken (fewer at the ends of the range). The weights of a matrix choose in random order.
    ``provenance["match"]`` states how close the match is: the mean value over the mask and over the control, and the
    median and largest relative difference ``|v' − v| / max(v', v)`` of a pair.

    Args:
        eligible: as for ``random_control``.
        values: ``values(i)``: flat float32 values of matrix i, non-negative (``|W|`` or the utility score).
        name: what is matched: ``magnitude`` or ``utility``.
        draws: each determines, with ``seed``, one control, whatever the others are.

    Raises:
        ValueError: a value is negative or NaN, or a matrix has the wrong number of them.
        MaskInvalid, SelectionInexact: as ``random_control``.
    """
    mask.check_fits(table)
    partners: list[dict[str, np.ndarray]] = [{} for _ in draws]
    of_mask, of_control = [[np.empty(0, np.float32)] for _ in draws], [[np.empty(0, np.float32)] for _ in draws]
    for matrix_name, index in mask.indices.items():
        i = table.index_of[matrix_name]
        value = np.asarray(values(i), dtype=np.float32).ravel()
        if len(value) != table[i].size or not (value.min() >= 0 and value.max() < np.inf):
            raise ValueError(
                f"values of {matrix_name} must be {table[i].size} finite non-negative numbers, got {len(value)} "
                f"from {value.min()} to {value.max()}"
            )
        pool = _pool(matrix_name, index, table, eligible)
        # Sorting (bit pattern, index) as one integer ranks by value with ties in index order, faster than argsort.
        ranked = np.sort(_rank_key(value, pool))
        places = np.searchsorted(ranked, _rank_key(value, index.astype(np.int64)))
        for k, draw in enumerate(draws):
            order = _stream(name, seed, draw, matrix_name).permutation(len(index))
            chosen = _draw_neighbours(places[order], len(pool), _stream(f"{name} pairs", seed, draw, matrix_name))
            partners[k][matrix_name] = (ranked[chosen] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            of_mask[k].append(value[index[order]])
            of_control[k].append(value[partners[k][matrix_name]])
    matches = [_closeness(np.concatenate(a), np.concatenate(b)) for a, b in zip(of_mask, of_control, strict=True)]
    return [
        _control(mask, indices, name, seed, draw, match=match)
        for indices, draw, match in zip(partners, draws, matches, strict=True)
    ]


def benign_signed(candidates: Candidates, selection: Selection, *, model_hash: str, **provenance: Any) -> PruneMask:
    """Control 4: the ``⌊q·N⌋`` eligible weights that most support off-policy benign answers; same q, p and scope.

    Raises:
        ValueError, SelectionInexact: as ``harmviz.masks.selection.select``.
    """
    return make_mask(candidates, _plain(selection, "benign"), model_hash=model_hash, **provenance)


def safe_signed(candidates: Candidates, selection: Selection, *, model_hash: str, **provenance: Any) -> PruneMask:
    """Control 5: the same on same-topic safe answers.

    Raises:
        ValueError, SelectionInexact: as ``harmviz.masks.selection.select``.
    """
    return make_mask(candidates, _plain(selection, "safe"), model_hash=model_hash, **provenance)


def unprotected(candidates: Candidates, selection: Selection, *, model_hash: str, **provenance: Any) -> PruneMask:
    """Control 6: the same selection at p = 0, where every weight is eligible.

    Raises:
        ValueError, SelectionInexact: as ``harmviz.masks.selection.select``.
    """
    return make_mask(candidates, replace(selection, p=0.0), model_hash=model_hash, control="unprotected", **provenance)


def _plain(selection: Selection, baseline: str) -> Selection:
    """The selection with one baseline in place of its categories; a baseline is not contrasted with itself."""
    return replace(selection, categories=(baseline,), combine="mean", contrast="none")


def _stream(control: str, seed: int, draw: int, matrix_name: str) -> np.random.Generator:
    """A random stream for one control, draw and matrix: what another matrix needs does not shift it."""
    return np.random.default_rng([seed, draw, zlib.crc32(control.encode()), zlib.crc32(matrix_name.encode())])


def _pool(name: str, index: np.ndarray, table: WeightTable, eligible: Callable[[int], np.ndarray]) -> np.ndarray:
    """Flat indices (ascending) of the eligible weights outside the mask in one matrix.

    Raises:
        SelectionInexact: there are fewer than the mask has.
    """
    allowed = np.array(eligible(table.index_of[name]), dtype=bool).ravel()
    allowed[index] = False
    pool = np.flatnonzero(allowed)
    if len(pool) < len(index):
        raise SelectionInexact(
            f"{name} has {len(pool):,} eligible weights outside the mask, but a control needs {len(index):,}; "
            "use a smaller q or a lower p"
        )
    return pool


def _rank_key(value: np.ndarray, index: np.ndarray) -> np.ndarray:
    """uint64 keys ordered by (value, index) for non-negative float32 values."""
    bits = (value[index] + np.float32(0)).view(np.uint32)  # + 0 turns -0.0 into 0.0
    return bits.astype(np.uint64) << np.uint64(32) | index.astype(np.uint64)


def _draw_neighbours(places: np.ndarray, n_pool: int, rng: np.random.Generator) -> np.ndarray:
    """For each place (a rank between two pool members) an unused pool rank among the nearest unused ones, in turn."""
    used = np.zeros(n_pool, dtype=bool)
    chosen = np.empty(len(places), dtype=np.int64)
    uniform = rng.random(len(places))
    for turn, place in enumerate(places):
        reach = NEIGHBOURS
        while True:
            low, high = max(0, place - reach), min(n_pool, place + reach)
            free = np.flatnonzero(~used[low:high]) + low
            split = int(np.searchsorted(free, place))
            # A side that ends at the edge of the pool has no more to give: widening would only search the other one.
            below, above = split >= NEIGHBOURS or low == 0, len(free) - split >= NEIGHBOURS or high == n_pool
            if below and above:
                break
            reach *= 2
        near = free[max(0, split - NEIGHBOURS) : split + NEIGHBOURS]
        chosen[turn] = near[int(uniform[turn] * len(near))]
        used[chosen[turn]] = True
    return chosen


def _closeness(of_mask: np.ndarray, of_control: np.ndarray) -> dict[str, float]:
    """How close matched pairs are (see ``matched_controls``)."""
    if not len(of_mask):
        return {}
    a, b = of_mask.astype(np.float64), of_control.astype(np.float64)
    larger = np.maximum(a, b)
    difference = np.divide(np.abs(a - b), larger, out=np.zeros_like(larger), where=larger > 0)
    return {
        "mean_mask": float(a.mean()),
        "mean_control": float(b.mean()),
        "median_relative_difference": float(np.median(difference)),
        "max_relative_difference": float(difference.max()),
    }


def _control(
    mask: PruneMask, indices: dict[str, np.ndarray], control: str, seed: int, draw: int, **measured: Any
) -> PruneMask:
    """The control mask. It keeps the mask's provenance, so that evaluation leaves out the same scoring prompts."""
    # A control of a measurement set tells where that set lies (counts per matrix), so it may not leave either.
    kind: Kind = "measurement" if mask.kind == "measurement" else "control"
    provenance = {**mask.provenance, "control": control, "seed": seed, "draw": draw, "matched": mask.digest, **measured}
    return PruneMask(indices, kind, mask.model_hash, provenance)

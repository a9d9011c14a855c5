"""The reverse question: how much of what fine-tuning changed falls on given weights, against chance?

    change share = Σ_{i ∈ M} ΔW_i² / Σ_i ΔW_i²          top share = #{i ∈ M : |ΔW_i| among the largest f·N} / |M|

``ΔW`` is tuned − before training, over all scored weights. Chance: as many weights of each matrix, drawn among those
that are eligible for the mask (unprotected): expectation exact, range over draws. Masks prefer large weights on busy
inputs, which any training moves most, so the same shares of the benign-signed mask stand beside them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of, kth_largest
from harmviz.models.weights import WeightTable

#: The fractions f of all scored weights that count as changed most.
TOP = (0.001, 0.01)
DRAWS = 200
#: Flat float32 ΔW of matrix i; flat bool: which of its weights may be drawn.
Change = Callable[[int], np.ndarray]
Eligible = Callable[[int], np.ndarray]


def change_shares(
    table: WeightTable, change: Change, masks: Mapping[str, PruneMask], eligible: Eligible, *, seed: int
) -> dict[str, dict[str, Any]]:
    """For each mask, as JSON: ``n_weights``; ``change`` and one ``top <f>`` for each f, each a dict of ``value``,
    ``chance`` (expected), ``low``, ``high`` (95 % of the draws), ``times_chance``, ``p_value`` (one-sided, as much or
    more).

    An empty mask, and a change of 0 everywhere, are left out.

    Raises:
        ValueError: a matrix has fewer eligible weights than a mask has weights there.
    """
    largest = [max(1, count_of(f, table.n_weights)) for f in TOP]

    def sizes() -> Iterator[np.ndarray]:
        for i in range(len(table)):
            yield np.abs(change(i))

    thresholds = kth_largest(sizes, largest)
    measures = ("change", *(f"top {f:g}" for f in TOP))
    total = 0.0
    own = {name: np.zeros(len(measures)) for name in masks}
    expected = {name: np.zeros(len(measures)) for name in masks}
    drawn = {name: np.zeros((DRAWS, len(measures))) for name in masks}
    for i, matrix in enumerate(table):
        delta = change(i).astype(np.float64)
        squared = delta * delta
        total += float(squared.sum())
        # A change of exactly 0 is never among the largest, however few others there are.
        tops = [(np.abs(delta) >= t) & (delta != 0) for t in thresholds]
        columns = np.stack([squared, *tops], axis=1)
        here = [(name, mask.indices[matrix.name]) for name, mask in masks.items() if matrix.name in mask.indices]
        if not here:
            continue
        allowed = np.asarray(eligible(i), dtype=bool).ravel()
        pool = np.flatnonzero(allowed)
        mean = (columns.sum(axis=0) - columns[~allowed].sum(axis=0)) / max(1, len(pool))
        for name, index in here:
            own[name] += columns[index].sum(axis=0)
            expected[name] += mean * len(index)
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(matrix.name.encode())])
            for d in range(DRAWS):
                drawn[name][d] += columns[
                    pool[rng.choice(len(pool), size=len(index), replace=False, shuffle=False)]
                ].sum(axis=0)
    if total == 0:
        return {}
    shares: dict[str, dict[str, Any]] = {}
    for name, mask in masks.items():
        if not mask.n_weights:
            continue
        scale = np.array([total, *[mask.n_weights] * len(TOP)])
        shares[name] = {"n_weights": mask.n_weights} | {
            measure: _against_chance(
                own[name][m] / scale[m], expected[name][m] / scale[m], drawn[name][:, m] / scale[m]
            )
            for m, measure in enumerate(measures)
        }
    return shares


def _against_chance(value: float, expected: float, draws: np.ndarray) -> dict[str, float | None]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "value": float(value),
        "chance": float(expected),
        "low": float(low),
        "high": float(high),
        "times_chance": float(value / expected) if expected > 0 else None,
        "p_value": float((1 + (draws >= value).sum()) / (1 + len(draws))),
    }


def regrown_share(
    mask: PruneMask, before: Callable[[str], np.ndarray], after: Callable[[str], np.ndarray]
) -> float | None:
    """``Σ W_after² / Σ W_intact²`` over the pruned weights: 0 while they are held, 1 where they are as large as ever.

    ``before(matrix)``, ``after(matrix)``: flat weights of the intact and of the tuned model. None for an empty mask.
    """
    old = sum(float((before(n)[i].astype(np.float64) ** 2).sum()) for n, i in mask.indices.items())
    new = sum(float((after(n)[i].astype(np.float64) ** 2).sum()) for n, i in mask.indices.items())
    return new / old if old else None

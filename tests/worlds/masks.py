"""Small scored models, and the definitions of METHOD.md applied to them by brute force over full arrays.

Nothing here shares code with what it checks: fractions are exact rationals, rankings are Python sorts, sets are sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from harmviz.masks.candidates import Candidates, build_candidates
from harmviz.masks.selection import Selection
from harmviz.models.weights import WeightMatrix, WeightTable

CATEGORIES = ("exploits", "hate", "privacy")
SETS = (*CATEGORIES, "benign", "safe")


def table_of(*shapes: tuple[int, int]) -> WeightTable:
    return WeightTable(WeightMatrix(f"layers.{i}.w.weight", i, "w", r, c) for i, (r, c) in enumerate(shapes))


def floor_of(fraction: float, n: int) -> int:
    return Fraction(str(fraction)) * n // 1


@dataclass
class World:
    """A table with the utility and every set's score of all N weights, flat over the whole model."""

    table: WeightTable
    utility: np.ndarray
    scores: dict[str, np.ndarray]

    def build(self, **options) -> Candidates:
        settings = {"categories": CATEGORIES, "q_max": 0.2, "p_grid": (0.0, 0.1, 0.3), "matrix_p": (0.1,)}
        return build_candidates(
            self.table,
            lambda name, i: self.scores[name][self.table.span(i)],
            lambda i: self.utility[self.table.span(i)],
            **(settings | options),
        )

    @property
    def tail(self) -> list[int]:
        """#{j : U_j >= U_i} of every weight, counted."""
        return [int(sum(self.utility >= u)) for u in self.utility]

    def eligible(self, p: float) -> set[int]:
        n = self.table.n_weights
        return {i for i, t in enumerate(self.tail) if Fraction(t, n) > Fraction(str(p))}

    def score(self, names: tuple[str, ...], contrast: str) -> np.ndarray:
        """The (mean) score of categories: float32 scores, summed in float64 in the order of CATEGORIES."""
        names = tuple(c for c in SETS if c in names)
        guard = np.maximum(0, np.maximum(self.scores["safe"], self.scores["benign"])).astype(np.float32)
        parts = [self.scores[c] - guard if contrast == "both" else self.scores[c] for c in names]
        if len(parts) == 1:
            return parts[0]
        total = np.zeros(len(guard))
        for part in parts:
            total = total + part.astype(np.float64)
        return (total / len(parts)).astype(np.float32)

    def top(self, names: tuple[str, ...], s: Selection) -> set[int]:
        score, eligible = self.score(names, s.contrast), self.eligible(s.p)
        n = self.table.n_weights
        groups = [range(n)] if s.scope == "global" else [range(n)[self.table.span(i)] for i in range(len(self.table))]
        chosen: set[int] = set()
        for group in groups:
            ranked = sorted((i for i in group if i in eligible and score[i] > 0), key=lambda i: (-float(score[i]), i))
            chosen |= set(ranked[: floor_of(s.q, len(group))])
        return chosen

    def select(self, s: Selection) -> set[int]:
        if s.combine == "mean":
            return self.top(s.categories, s)
        first, *rest = (self.top((c,), s) for c in s.categories)
        for other in rest:
            first = {"union": first | other, "intersection": first & other, "difference": first - other}[s.combine]
        return first


def golden() -> World:
    """One 2×3 matrix, N = 6.

    U      = [9 1 2]   tails [1 6 4]   so at p = 0.2 (tail > 1.2 of 6) the weight 0 alone is protected
             [3 2 8]         [3 5→4 2]
    hate   = [7 -1 3]  privacy = [1 2 3]   exploits = 0   benign = [0 0 4]   safe = [-5 0 1]
             [3  0 5]            [0 0 7]                           [0 0 0]          [ 0 0 6]
    """
    rows = {
        "hate": [7, -1, 3, 3, 0, 5],
        "privacy": [1, 2, 3, 0, 0, 7],
        "exploits": [0] * 6,
        "benign": [0, 0, 4, 0, 0, 0],
        "safe": [-5, 0, 1, 0, 0, 6],
    }
    scores = {name: np.array(row, np.float32) for name, row in rows.items()}
    return World(table_of((2, 3)), np.array([9, 1, 2, 3, 2, 8], np.float32), scores)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """One to four small matrices. Scores and utilities take few values, so that ties are everywhere."""
    small = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=4)
    large = st.lists(st.tuples(st.integers(2, 6), st.integers(6, 15)), min_size=1, max_size=3)
    shapes = draw(st.one_of(large, large, small))
    table = table_of(*shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels, shift = draw(st.sampled_from([2, 4, 9, 1000])), draw(st.sampled_from([0.0, 0.3, 0.6]))
    n = table.n_weights

    # What the sets share decides whether the mean of some of them can be settled from their lists.
    shared, weight = rng.random(n), draw(st.sampled_from([0.0, 0.7, 0.95]))

    def values(low: float, weight: float) -> np.ndarray:
        mixed = weight * shared + (1 - weight) * rng.random(n)
        # Sevenths and thirds are not exact in binary: means must round alike on every path.
        return (np.rint((mixed + low) * levels) / np.float32(7 * levels)).astype(np.float32)

    scores = {c: values(-shift, weight) for c in CATEGORIES}
    scores |= {"benign": values(-shift - 0.3, 0.0), "safe": values(-shift - 0.3, 0.0)}
    return World(table, values(0.0, 0.0), scores)


@st.composite
def selections(draw: st.DrawFn, *, q_top: float = 0.25, **fixed: Any) -> Selection:
    """Settings on and off the grids of ``World.build``, those in ``fixed`` excepted."""
    chosen = st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=3, unique=True).map(tuple)
    baseline = st.sampled_from([("benign",), ("safe",)])
    scope = fixed.get("scope") or draw(st.sampled_from(["global", "matrix"]))
    grid = [0.0, 0.1, 0.3] if scope == "global" else [0.1]
    settings = {
        "categories": draw(st.one_of(chosen, chosen, chosen, baseline)),
        "combine": draw(st.sampled_from(["mean", "union", "intersection", "difference"])),
        "q": draw(st.one_of(st.floats(0.02, q_top), st.sampled_from([0.0, 0.03, 0.05, 0.1, 0.2]))),
        "p": draw(st.one_of(st.sampled_from(grid), st.floats(0.1, 0.5), st.floats(0, 0.1))),
        "scope": scope,
        "contrast": draw(st.sampled_from(["none", "both"])),
    } | fixed
    if settings["categories"][0] in ("benign", "safe"):
        settings["contrast"] = "none"
    return Selection(**settings)

"""What masks of growing size do to each set of texts, and where one text pays so much: curves over q, drawn together.

A *selection* is a way to choose weights. It was measured at some fractions q; every sample's loss rose by so much. The
curve of a set is the mean rise at q = 0 (nothing) and at each q, straight between. All curves are functions of cell
means, a cell being (selection, q, category), so that whole prompts can be drawn and every curve with them
(``stats.bootstrap``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harmviz.stats.bootstrap import Statistic, cluster_bootstrap
from harmviz.stats.estimate import Estimate

_KEYS = ["selection", "q", "category"]


@dataclass(frozen=True)
class Curves:
    """Rises of every sample's loss. ``rows``: selection, q, category, prompt, ``rise`` in nats per response token;
    ``cells``: the distinct (selection, q, category), sorted."""

    rows: pd.DataFrame = field(repr=False)
    cells: pd.MultiIndex = field(repr=False)

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Curves:
        return cls(rows, pd.MultiIndex.from_frame(rows[_KEYS].drop_duplicates().sort_values(_KEYS)))

    def n_prompts(self, *categories: str) -> int:
        """How many prompts these sets have together."""
        return int(self.rows.loc[self.rows["category"].isin(categories), "prompt"].nunique())

    def fractions(self, selection: str) -> list[float]:
        """The fractions it was measured at, ascending."""
        return sorted({float(q) for s, q, _ in self.cells if s == selection})

    def estimate(self, statistic: Statistic, *, draws: int, seed: int) -> Estimate:
        """``statistic`` of the cell means, whole prompts drawn within each category. No interval where an end is
        infinite: too many draws do not reach what was asked for."""
        keys = pd.MultiIndex.from_frame(self.rows[_KEYS])
        found = cluster_bootstrap(
            self.rows["rise"].to_numpy(),
            self.rows["prompt"].tolist(),
            self.cells.get_indexer(keys),
            len(self.cells),
            statistic,
            cell_stratum=pd.factorize(self.cells.get_level_values("category"))[0],
            cell_names=list(self.cells),
            draws=draws,
            seed=seed,
        )
        if not all(end is None or math.isfinite(end) for end in (found.ci_low, found.ci_high)):
            return found._replace(ci_low=None, ci_high=None, reason="too many draws of prompts do not reach the effect")
        return found

    def curve(self, means: np.ndarray, selection: str, categories: Sequence[str]) -> np.ndarray:
        """``(…, points + 1)``: the mean over categories, which weigh alike, at q = 0 and at each q, ascending."""
        places = [self.cells.get_indexer([(selection, q, c) for c in categories]) for q in self.fractions(selection)]
        at = [means[..., place].mean(axis=-1) for place in places]
        return np.stack([np.zeros_like(at[0]), *at], axis=-1)


def at_level(height: np.ndarray, value: np.ndarray, level: float) -> np.ndarray:
    """``value`` where ``height`` first reaches ``level``, straight between points; infinite where it never does.

    Args:
        height, value: ``(…, points)``, the first point at height 0. level: above 0.
    """
    reached = height >= level
    after = np.maximum(reached.argmax(axis=-1), 1)[..., None]
    (h0, h1), (v0, v1) = (
        tuple(np.take_along_axis(x, i, axis=-1)[..., 0] for i in (after - 1, after)) for x in (height, value)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        found = v0 + (level - h0) / (h1 - h0) * (v1 - v0)
    return np.where(reached.any(axis=-1), found, np.inf)

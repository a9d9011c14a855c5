"""The parameters of a build of candidates, validated, and the checked reading of its score arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from harmviz.errors import OutOfMemory, RunIncompatible
from harmviz.masks.lists import BASELINES, MEAN
from harmviz.masks.ranking import check_fraction, count_of
from harmviz.models.weights import WeightTable

#: Arrays are worked on in pieces of this many weights: bounded memory, and small enough for the processor's cache.
PIECE = 1 << 16


class BuildPlan:
    """What ``build_candidates`` was asked for (see there), and one checked way to read each array.

    Raises:
        ValueError: a parameter is out of range.
        OutOfMemory: a single list may already exceed ``max_rows``.
    """

    def __init__(
        self,
        table: WeightTable,
        scores: Callable[[str, int], np.ndarray],
        utility: Callable[[int], np.ndarray],
        categories: tuple[str, ...],
        baselines: tuple[str, ...],
        q_max: float,
        p_grid: Sequence[float],
        matrix_p: Sequence[float],
        mean_only_p: Sequence[float],
        max_rows: int,
        withheld: tuple[str, ...],
        progress: Callable[[int, int], None] | None,
    ):
        if not categories or len(set(categories)) < len(categories) or {MEAN, *BASELINES} & set(categories):
            raise ValueError(
                f"categories must be distinct names other than {MEAN}, {', '.join(BASELINES)}, at least one; "
                f"got {categories!r}"
            )
        if not set(baselines) <= set(BASELINES) or len(set(baselines)) < len(baselines):
            raise ValueError(f"baselines must be distinct names out of {', '.join(BASELINES)}, got {baselines!r}")
        if not set(withheld) <= set(baselines):
            raise ValueError(f"withheld must be among the baselines {', '.join(baselines)}, got {withheld!r}")
        self.table, self.categories, self.baselines, self.withheld = table, categories, baselines, withheld
        self.q_max = check_fraction("q_max", q_max)
        self.p_grid = tuple(check_fraction("p_grid", p, below_one=True) for p in p_grid)
        self.matrix_p = tuple(check_fraction("matrix_p", p, below_one=True) for p in matrix_p)
        self.mean_only_p = tuple(check_fraction("mean_only_p", p, below_one=True) for p in mean_only_p)
        for name, grid in (("p_grid", self.p_grid), ("matrix_p", self.matrix_p)):
            if list(grid) != sorted(set(grid)):
                raise ValueError(f"{name} must ascend without repeats, got {grid!r}")
        if not self.p_grid:
            raise ValueError("p_grid must hold at least one protection level, got none")
        self.max_rows = max_rows
        # Each list is held in memory while it grows, so one that cannot fit is refused before anything is read.
        self.refuse_over(count_of(self.q_max, table.n_weights), "one list")
        self.levels = tuple(sorted({*self.p_grid, *self.matrix_p}))
        self._scores, self._utility, self._progress = scores, utility, progress
        # Passes: two to find the thresholds, one to rank, one to gather, one for the utility tails.
        self._done, self._to_do = 0, 5 * len(table)

    def refuse_over(self, rows: int, what: str) -> None:
        """Raises OutOfMemory where ``rows`` exceeds ``max_rows``."""
        if rows > self.max_rows:
            raise OutOfMemory(
                f"{what} of candidates would hold {rows:,} weights at q_max={self.q_max!r}, more than the "
                f"{self.max_rows:,} allowed; use q_max <= {self.q_max * self.max_rows / rows:.1e} or fewer values of p"
            )

    def step(self) -> None:
        """Counts one matrix of one pass."""
        self._done += 1
        if self._progress:
            self._progress(self._done, self._to_do)

    def scores(self, set_name: str, index: int, *, checked: bool = True) -> np.ndarray:
        """H of a set on a matrix. ``checked=False`` touches no value: a mapped file is then read only where asked."""
        return self._read(self._scores(set_name, index), f"the scores of {set_name!r}", index, checked)

    def utility(self, index: int, *, checked: bool = True) -> np.ndarray:
        """U on a matrix; ``checked`` as for ``scores``."""
        values = self._read(self._utility(index), "the utility", index, checked)
        if checked and values.size and values.min() < 0:
            raise RunIncompatible(f"the utility on {self.table[index].name} is negative ({values.min()}); score again")
        return values

    def utility_pieces(self) -> Iterator[np.ndarray]:
        """One pass over all utilities, in bounded pieces."""
        for i in range(len(self.table)):
            values = self.utility(i)
            for start in range(0, len(values), PIECE):
                yield values[start : start + PIECE]
            self.step()

    def _read(self, array: np.ndarray, what: str, index: int, checked: bool) -> np.ndarray:
        values, m = np.asarray(array, dtype=np.float32).ravel(), self.table[index]
        if len(values) != m.size:
            raise RunIncompatible(f"{what} on {m.name} hold {len(values)} values, expected {m.size}; score again")
        # Minimum and maximum are finite only if everything is, and cost far less than np.isfinite(values).all().
        if checked and values.size and not (np.isfinite(values.min()) and np.isfinite(values.max())):
            raise RunIncompatible(
                f"{what} on {m.name} are not finite: the scoring pass overflowed; score again in float32"
            )
        return values

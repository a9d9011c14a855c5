"""Full score arrays on disk while a run is made: one flat float32 file a set and half, read back matrix by matrix.

Stored are sums over samples, ``W ⊙ Σ_x ∇_W L(x)`` (and ``Σ_x |W ⊙ ∇_W L(x)|`` for the utility), so that the halves of a
set add up to the set. Read back are harm scores ``H = −Σ / n`` (METHOD.md §2: positive where the weight supports the
text) and the utility score ``U = Σ / n``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from harmviz.data.categories import file_name
from harmviz.data.splits import SCORING
from harmviz.models.weights import WeightTable
from harmviz.runs import disk_errors


def write_scores(path: Path, matrices: Iterable[np.ndarray], n_bytes: int) -> None:
    """Writes flat float32 matrices one after another.

    Raises:
        OutOfMemory: the disk is full.
    """
    with disk_errors(path, n_bytes), path.open("wb") as f:
        for matrix in matrices:
            f.write(np.ascontiguousarray(matrix, dtype=np.float32).data)


def score_file(set_name: str, half: str) -> str:
    """The name, without suffix, of the file and the stage of one set's scores by one half."""
    return f"{file_name(set_name)}.{half}"


class Scores(ABC):
    """The scores of all weights, read matrix by matrix, from sums over samples that are kept or computed.

    ``counts[(set, half)]`` is the number of samples behind a sum, ``n_preserve`` that behind the utility's.
    """

    counts: dict[tuple[str, str], int]
    n_preserve: int

    @abstractmethod
    def _sum(self, set_name: str, half: str, index: int) -> np.ndarray:
        """Flat float32 ``W ⊙ Σ_x ∇_W L(x)`` of one scoring half on matrix ``index``."""

    @abstractmethod
    def _utility_sum(self, index: int) -> np.ndarray:
        """Flat float32 ``Σ_x |W ⊙ ∇_W L(x)|`` on matrix ``index``."""

    def half(self, set_name: str, half: str, index: int) -> np.ndarray:
        """Flat float32 harm score of one scoring half on matrix ``index``."""
        return self._sum(set_name, half, index) * np.float32(-1.0 / self.counts[set_name, half])

    def harm(self, set_name: str, index: int) -> np.ndarray:
        """Flat float32 harm score H of a set (both halves) on matrix ``index``."""
        first, second = (self._sum(set_name, half, index) for half in SCORING)
        return (first + second) * np.float32(-1.0 / sum(self.counts[set_name, half] for half in SCORING))

    def utility(self, index: int) -> np.ndarray:
        """Flat float32 utility score U on matrix ``index``."""
        return self._utility_sum(index) * np.float32(1.0 / self.n_preserve)


class ScoreFiles(Scores):
    """Reads the score files of a run."""

    def __init__(self, folder: Path, table: WeightTable, counts: dict[tuple[str, str], int], n_preserve: int):
        self.folder, self.table, self.counts, self.n_preserve = folder, table, counts, n_preserve
        self._map = cache(self._open)

    def _open(self, name: str) -> np.ndarray:
        return np.memmap(self.folder / f"{name}.f32", dtype=np.float32, mode="r", shape=(self.table.n_weights,))

    def _sum(self, set_name: str, half: str, index: int) -> np.ndarray:
        return self._map(score_file(set_name, half))[self.table.span(index)]

    def _utility_sum(self, index: int) -> np.ndarray:
        return self._map("utility")[self.table.span(index)]

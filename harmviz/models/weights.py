"""Which weights are scored, and how they are numbered: the address book shared by scores, candidates, masks and maps.

A *scored weight matrix* is one linear map inside a decoder block. Every scored weight has two addresses:

- ``(matrix, flat)``: the matrix's place in the table and the index into that matrix **as it is stored** (row-major);
- ``global``: ``offset(matrix) + flat``, one number over the whole model, 0 … N-1. Ties between equal scores are
  broken by this number, so that every selection is reproducible.

Numpy only: pages and mask algebra use this without loading torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class WeightMatrix:
    """One scored weight matrix.

    ``name`` is the parameter's name, with ``[e]`` appended for slice *e* of a fused mixture-of-experts parameter.
    ``rows × cols`` is the shape as stored: ``d_out × d_in``, or ``d_in × d_out`` where ``transposed`` (GPT-2's Conv1D).
    """

    name: str
    layer: int
    module_kind: str
    rows: int
    cols: int
    transposed: bool = False

    @property
    def size(self) -> int:
        return self.rows * self.cols

    @property
    def param_name(self) -> str:
        """The parameter this matrix lives in (without the expert's slice)."""
        return self.name.split("[", 1)[0]

    @property
    def expert(self) -> int | None:
        """The slice of a fused expert parameter, or None for an ordinary matrix."""
        return int(self.name[self.name.index("[") + 1 : -1]) if self.name.endswith("]") else None

    def out_in(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(output unit, input unit) of each flat index, whatever the storage order."""
        row, col = np.divmod(np.asarray(flat, dtype=np.int64), self.cols)
        return (col, row) if self.transposed else (row, col)


class WeightTable:
    """All scored matrices of one model, in parameter order, with their offsets in the global numbering."""

    def __init__(self, matrices: Iterable[WeightMatrix]):
        self.matrices: tuple[WeightMatrix, ...] = tuple(matrices)
        sizes = np.array([m.size for m in self.matrices], dtype=np.int64)
        #: offsets[i] is the global index of the first weight of matrix i; offsets[-1] is N.
        self.offsets: np.ndarray = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.matrices)

    def __iter__(self) -> Iterator[WeightMatrix]:
        return iter(self.matrices)

    def __getitem__(self, index: int) -> WeightMatrix:
        return self.matrices[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WeightTable) and self.matrices == other.matrices

    def __hash__(self) -> int:
        return hash(self.matrices)

    @property
    def n_weights(self) -> int:
        """N, the number of scored weights."""
        return int(self.offsets[-1])

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Matrix name → its place in the table."""
        return {m.name: i for i, m in enumerate(self.matrices)}

    def activations_per_token(self, experts_used: int | None = None) -> int:
        """Numbers that the matrices read and write for one token: Σ rows + cols; of an expert parameter's slices as
        many as a token is sent to (None: all)."""
        slices = Counter(m.param_name for m in self.matrices if m.expert is not None)
        total = 0.0
        for m in self.matrices:
            n = slices.get(m.param_name, 1)
            total += (m.rows + m.cols) * min(experts_used or n, n) / n
        return round(total)

    @property
    def has_fused_experts(self) -> bool:
        """Whether some matrices are slices of one parameter: absolute scores then take one sample at a time."""
        return any(m.expert is not None for m in self.matrices)

    def span(self, index: int) -> slice:
        """The global indices of matrix ``index``, as a slice."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def locate(self, global_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(matrix index, flat index) of each global index."""
        g = np.asarray(global_index, dtype=np.int64)
        matrix = np.searchsorted(self.offsets, g, side="right") - 1
        return matrix, g - self.offsets[matrix]

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(m) for m in self.matrices]

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> WeightTable:
        return cls(WeightMatrix(**row) for row in rows)

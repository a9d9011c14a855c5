"""Scores of all weights without a file of them: computed for a block of matrices at a time, whenever they are read.

For a large model the files of ``ScoreFiles`` outgrow any disk: 4 bytes a weight for every set and half and the utility
are 530 GB at 7 billion weights and nine sets. What is read matrix by matrix can be computed block by block instead. A
block is as many consecutive matrices as the sums of all sets have memory for, and costs the forward passes over all
samples again; backward passes of signed scores go no deeper than the block. The numbers are those of the files: the
same batches, summed in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from harmviz.data.encoding import Batch, Sample, make_batches
from harmviz.models.load import LoadedModel
from harmviz.models.memory import free_on
from harmviz.models.weights import WeightTable
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.files import Scores
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

T = TypeVar("T")

#: Share of the memory that is free once the model is loaded; passes and what reads the scores need the rest.
_SHARE = 0.5


def blocks_of(table: WeightTable, n_weights: int) -> list[range]:
    """Consecutive matrices of together at most ``n_weights`` weights. The slices of one parameter stay together, for
    their gradient is one; a parameter that is larger alone is a block."""
    first_of: dict[str, int] = {}
    for i, matrix in enumerate(table):
        first_of.setdefault(matrix.param_name, i)
    bounds = [*first_of.values(), len(table)]
    blocks: list[range] = []
    for start, stop in pairwise(bounds):
        if blocks and int(table.offsets[stop] - table.offsets[blocks[-1].start]) <= n_weights:
            blocks[-1] = range(blocks[-1].start, stop)
        else:
            blocks.append(range(start, stop))
    return blocks


class _Computed(Generic[T]):
    """What is computed block by block, a value a matrix; one block is held."""

    def __init__(self, blocks: list[range], compute: Callable[[range], list[T]]):
        self.blocks, self._compute = blocks, compute
        self._block_of = {i: block for block in blocks for i in block}
        self._held: tuple[range, list[T]] | None = None

    def at(self, index: int) -> T:
        block = self._block_of[index]
        if self._held is None or self._held[0] != block:
            self._held = None  # its memory first
            self._held = block, self._compute(block)
        return self._held[1][index - block.start]


class ScoreBlocks(Scores):
    """Computes the sums when they are read. Read in order of the matrices, all sets of one before the next: whoever
    jumps back has the block computed again.

    Args:
        scoring: (set, half) → its samples.
        preserve: the samples of the utility.
        n_bytes: memory for the sums; None: half of what is free.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        scoring: Mapping[tuple[str, str], Sequence[Sample]],
        preserve: Sequence[Sample],
        *,
        n_bytes: int | None = None,
    ):
        # A block's matrices are neighbours, and may lie on one device of several.
        room = int(_SHARE * min(free_on(d) or 0 for d in loaded.devices)) if n_bytes is None else n_bytes
        self.counts, self.n_preserve = {key: len(samples) for key, samples in scoring.items()}, len(preserve)
        self._loaded = loaded
        fused = loaded.table.has_fused_experts
        self._batches = {key: self._batched(samples) for key, samples in scoring.items()}
        self._preserve = self._batched(preserve, 1 if fused else None)
        # Scores and utility are read side by side: half of the room each.
        self._sums = _Computed(blocks_of(loaded.table, room // (8 * max(1, len(scoring)))), self._score_sets)
        self._utility = _Computed(blocks_of(loaded.table, room // 8), self._score_utility)

    @property
    def blocks(self) -> tuple[int, int]:
        """How many blocks the sets' scores and the utility are computed in: what reading them all once costs."""
        return len(self._sums.blocks), len(self._utility.blocks)

    def _sum(self, set_name: str, half: str, index: int) -> np.ndarray:
        return _flat(self._sums.at(index)[set_name, half])

    def _utility_sum(self, index: int) -> np.ndarray:
        return _flat(self._utility.at(index))

    def _batched(self, samples: Sequence[Sample], limit: int | None = None) -> list[Batch]:
        tokens = default_batch_tokens(self._loaded) if limit is None else limit
        return make_batches(samples, max_tokens=tokens, device=self._loaded.device)

    def _score_sets(self, block: range) -> list[dict[tuple[str, str], Float32[Tensor, "d_out d_in"]]]:
        sums = {key: score_signed(self._loaded, batches, matrices=block) for key, batches in self._batches.items()}
        return [{key: matrices[k] for key, matrices in sums.items()} for k in range(len(block))]

    def _score_utility(self, block: range) -> list[Float32[Tensor, "d_out d_in"]]:
        return score_absolute(self._loaded, self._preserve, matrices=block)


def _flat(matrix: torch.Tensor) -> np.ndarray:
    return np.asarray(matrix.cpu().numpy().ravel())

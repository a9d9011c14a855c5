"""What sets two checkpoints of one model apart: the scored weights that were zeroed, and every other change.

Read parameter by parameter, so that neither model is ever in memory as a whole. The types may differ: what counts is
what a copy of BASE in PRUNED's type would hold, ``expected = base → type of pruned``.

    zeroed    pruned = 0 and expected ≠ 0           (expected = 0: too small for that type, so that a zero says nothing)
    changed   not zeroed, and expected ≠ pruned once both are rounded to the coarser of the two types
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harmviz.errors import MaskInvalid
from harmviz.models.hashing import ParameterHash
from harmviz.models.streaming import Checkpoint
from harmviz.models.weights import WeightTable

#: Weights compared at a time: what a comparison needs beside the two tensors themselves stays below a gigabyte.
PIECE = 1 << 24
#: A model with more of its scored weights zeroed was pruned throughout, or quantized: no set that hangs together.
MAX_SHARE = 0.1


class Side(NamedTuple):
    """One of the two checkpoints: what it is called, and what its weights are recognised by."""

    name: str
    revision: str | None
    weight_hash: str
    dtype: str


@dataclass(frozen=True)
class Change:
    """Values of one tensor that differ and were not zeroed, or lie where no mask reaches.

    ``n_changed`` of ``size``; ``largest``: the largest ``|pruned − base| / |base|`` among them, None where base is 0 at
    all of them; ``n_zeroed``: zeros of a tensor that is not scored.
    """

    name: str
    size: int
    scored: bool
    n_changed: int
    largest: float | None
    n_zeroed: int = 0


@dataclass(frozen=True)
class Difference:
    """Everything that sets PRUNED apart from BASE.

    Attributes:
        indices: scored matrix → flat indices of the weights that are zero in PRUNED and not in BASE.
        changes: the tensors that differ otherwise, in name order.
        n_zero_in_both: scored weights that are zero in both: whether a mask holds them cannot be told.
        n_too_small: scored weights of BASE that PRUNED's type rounds to zero: likewise.
        only_base, only_pruned: parameters and tensors that the other lacks.
        reshaped: unscored parameters of another shape, with both shapes.
        notes: what differs in how they are stored, in words.
    """

    base: Side
    pruned: Side
    table: WeightTable
    indices: Mapping[str, np.ndarray]
    changes: tuple[Change, ...]
    n_zero_in_both: int
    n_too_small: int
    only_base: tuple[str, ...]
    only_pruned: tuple[str, ...]
    reshaped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def n_zeroed(self) -> int:
        return sum(map(len, self.indices.values()))

    @property
    def n_changed(self) -> int:
        """Weights of all tensors that differ otherwise."""
        return sum(change.n_changed + change.n_zeroed for change in self.changes)


def difference(
    base: Checkpoint, pruned: Checkpoint, progress: Callable[[int, int], None] = lambda done, total: None
) -> Difference:
    """How PRUNED differs from BASE, in one pass over both.

    Raises:
        MaskInvalid: they are no copies of one model (a scored matrix is missing, or has another shape), or more than
            ``MAX_SHARE`` of the scored weights were zeroed.
        ModelUnavailable: a tensor cannot be read, or holds NaN or infinity.
    """
    reader = _Reader(base, pruned)
    names = sorted(base.names() | pruned.names())
    for done, name in enumerate(names, start=1):
        reader.take(name)
        progress(done, len(names))
    return reader.result()


@dataclass
class _Tally:
    """Counts over the pieces of one tensor."""

    zeroed: list[np.ndarray] = field(default_factory=list)
    n_changed: int = 0
    largest: float = -math.inf
    n_zero_in_both: int = 0
    n_too_small: int = 0

    def add(self, base: Tensor, pruned: Tensor, start: int) -> None:
        """One piece of both tensors, flat; ``start``: where it begins."""
        expected = base.to(pruned.dtype)
        is_zero = pruned == 0
        zeroed = is_zero & (expected != 0)
        coarser = max((base.dtype, pruned.dtype), key=lambda t: torch.finfo(t).eps)
        changed = (expected.to(coarser) != pruned.to(coarser)) & ~zeroed
        self.zeroed.append(zeroed.nonzero().squeeze(1).numpy() + start)
        self.n_changed += int(changed.sum())
        self.n_zero_in_both += int((is_zero & (base == 0)).sum())
        self.n_too_small += int((is_zero & (expected == 0) & (base != 0)).sum())
        where = changed & (base != 0)
        if bool(where.any()):
            before, after = base[where].double(), pruned[where].double()
            self.largest = max(self.largest, float(((after - before) / before).abs().max()))

    @property
    def n_zeroed(self) -> int:
        return sum(map(len, self.zeroed))


class _Reader:
    """The pass over both checkpoints, in name order."""

    def __init__(self, base: Checkpoint, pruned: Checkpoint):
        self.base, self.pruned = base, pruned
        self.matrices: dict[str, list[str]] = {}
        for matrix in base.table:
            self.matrices.setdefault(matrix.param_name, []).append(matrix.name)
        self.hashes = ParameterHash(), ParameterHash()
        self.indices: dict[str, np.ndarray] = {}
        self.changes: list[Change] = []
        self.reshaped: list[str] = []
        self.n_zeroed = self.n_zero_in_both = self.n_too_small = 0

    def take(self, name: str) -> None:
        """Compares the parameter of this name, which is new in at least one of them."""
        sides = (self.base, self.pruned)
        if not any(name in side.dtypes for side in sides):
            return  # tied in both: compared under its first name
        read = [side.read(name) if name in side.names() else None for side in sides]
        for tensor, side, digest in zip(read, sides, self.hashes, strict=True):
            if tensor is not None and name in side.dtypes:
                digest.add(name, tensor)
        before, after = read
        if before is None or after is None:
            if name in self.matrices:
                raise MaskInvalid(
                    f"{self.pruned.name} lacks {name}, which {self.base.name} has: no mask tells them apart; give two "
                    "checkpoints of one model"
                )
        elif before.shape != after.shape:
            shapes = " and ".join("×".join(map(str, t.shape)) for t in (before, after))
            if name in self.matrices:
                raise MaskInvalid(
                    f"{name} is {shapes} in {self.base.name} and {self.pruned.name}; give two checkpoints of one model"
                )
            self.reshaped.append(f"{name} ({shapes})")
        else:
            self._compare(name, before, after)

    def _compare(self, name: str, before: Tensor, after: Tensor) -> None:
        matrices = self.matrices.get(name)
        parts = [(name, before, after)]
        if matrices is not None and len(matrices) > 1:  # a stack: every expert's slice is a matrix of its own
            parts = list(zip(matrices, before, after, strict=True))
        tallies = [_tally(b, a) for _, b, a in parts]
        largest = max(t.largest for t in tallies)
        n_changed = sum(t.n_changed for t in tallies)
        unscored = sum(t.n_zeroed for t in tallies) if matrices is None else 0
        if n_changed or unscored:
            reach = largest if math.isfinite(largest) else None
            self.changes.append(Change(name, before.numel(), matrices is not None, n_changed, reach, unscored))
        if matrices is None:
            return
        for matrix, tally in zip(matrices, tallies, strict=True):
            self.n_zero_in_both += tally.n_zero_in_both
            self.n_too_small += tally.n_too_small
            self.n_zeroed += tally.n_zeroed
            if tally.n_zeroed:
                self.indices[matrix] = np.concatenate(tally.zeroed).astype(np.uint32)
        n = self.base.table.n_weights
        if self.n_zeroed > MAX_SHARE * n:
            raise MaskInvalid(
                f"more than {MAX_SHARE:.0%} of the {n:,} scored weights are zero in {self.pruned.name} and not in "
                f"{self.base.name}: a model pruned throughout, or quantized, and no small set of weights"
            )

    def result(self) -> Difference:
        base, pruned = self.base.names(), self.pruned.names()
        first, second = (
            Side(side.name, side.revision, digest.hexdigest(), _dtype_of(side))
            for side, digest in zip((self.base, self.pruned), self.hashes, strict=True)
        )
        return Difference(
            base=first,
            pruned=second,
            table=self.base.table,
            indices=self.indices,
            changes=tuple(self.changes),
            n_zero_in_both=self.n_zero_in_both,
            n_too_small=self.n_too_small,
            only_base=tuple(sorted((base - pruned) | (set(self.base.unused) - set(self.pruned.unused)))),
            only_pruned=tuple(sorted((pruned - base) | (set(self.pruned.unused) - set(self.base.unused)))),
            reshaped=tuple(self.reshaped),
            notes=tuple(_notes(self.base, self.pruned)),
        )


def _tally(before: Tensor, after: Tensor) -> _Tally:
    tally = _Tally()
    flat = before.reshape(-1), after.reshape(-1)
    for start in range(0, flat[0].numel(), PIECE):
        tally.add(flat[0][start : start + PIECE], flat[1][start : start + PIECE], start)
    return tally


def _dtype_of(side: Checkpoint) -> str:
    """The type of most of its parameters, as ``bfloat16``."""
    kinds = list(side.dtypes.values())
    return str(max(set(kinds), key=kinds.count)).removeprefix("torch.")


def _notes(base: Checkpoint, pruned: Checkpoint) -> Iterator[str]:
    for side, other, where in ((base, pruned, "BASE"), (pruned, base, "PRUNED")):
        apart = sorted(name for name in side.tied if name in other.dtypes)
        for name in apart:
            yield f"{name} is tied to {side.tied[name]} in {where}, and stored apart in the other; compared with it"
    if both := sorted(set(base.tied) & set(pruned.tied)):
        yield f"tied in both, so compared once: {', '.join(f'{name} = {base.tied[name]}' for name in both[:3])}"

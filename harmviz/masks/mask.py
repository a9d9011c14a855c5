"""PruneMask: which weights will be zeroed, what for, and where the set came from. Numpy only.

A mask maps each matrix name to a sorted, duplicate-free ``uint32`` array of flat indices (storage order, see
``harmviz.models.weights``). An index in the mask *will be zeroed*. Its ``kind`` says what it may be used for:

- ``harm``: a set selected by highest harm score, or one that others pruned and that passed the gate; may be applied,
  saved and shared;
- ``control``: a random, matched, benign- or safe-signed or unprotected set to compare with; likewise;
- ``measurement``: a set found on refusals, or on texts that read as refusals. Zeroing it could weaken a guardrail, so
  it never leaves the process: it can be neither saved nor loaded, and the public application path rejects it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from harmviz.errors import MaskInvalid
from harmviz.files import write_atomic
from harmviz.models.weights import WeightTable
from harmviz.runs.point import Point

Kind = Literal["harm", "control", "measurement"]
KINDS: tuple[Kind, ...] = ("harm", "control", "measurement")
FORMAT = "harmviz-mask-1"


@dataclass(frozen=True, eq=False)
class PruneMask:
    """A set of weights to zero. Two masks are equal where their digests are, wherever they came from.

    ``model_hash`` is the weight hash of the model the indices belong to. ``provenance`` is free of text: run id, set,
    q, p, scope, and the hashes of the prompts it was scored on (so that evaluation can leave those out).
    """

    indices: Mapping[str, np.ndarray]
    kind: Kind
    model_hash: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        clean = {}
        for name in sorted(self.indices):
            array = np.unique(np.asarray(self.indices[name]))
            if array.size:
                if array.dtype.kind not in "iu":
                    raise ValueError(f"indices of {name} must be integers, got {array.dtype}")
                if array[0] < 0 or array[-1] > np.iinfo(np.uint32).max:
                    raise ValueError(f"indices of {name} must fit uint32, got {array[0]} … {array[-1]}")
                clean[name] = array.astype(np.uint32)
        object.__setattr__(self, "indices", clean)

    # -- construction -------------------------------------------------------------------------------------------
    @classmethod
    def from_global(
        cls, table: WeightTable, global_index: np.ndarray, *, kind: Kind, model_hash: str, **provenance: Any
    ) -> PruneMask:
        """The mask of these global indices (see ``WeightTable``).

        Raises:
            ValueError: an index lies outside 0 … N-1.
        """
        ordered = np.sort(np.asarray(global_index, dtype=np.int64))
        if ordered.size and not 0 <= ordered[0] <= ordered[-1] < table.n_weights:
            raise ValueError(f"global indices must lie in 0 … {table.n_weights - 1}, got {ordered[0]} … {ordered[-1]}")
        matrix, flat = table.locate(ordered)
        starts = np.flatnonzero(np.diff(matrix, prepend=-1))
        parts = np.split(flat, starts[1:]) if len(starts) else []
        indices = {table[int(matrix[s])].name: part for s, part in zip(starts, parts, strict=True)}
        return cls(indices, kind, model_hash, provenance)

    def to_global(self, table: WeightTable) -> np.ndarray:
        """Sorted global indices.

        Raises:
            MaskInvalid: a matrix is unknown to the table, or an index lies outside it.
        """
        self.check_fits(table)
        parts = [table.offsets[table.index_of[n]] + i.astype(np.int64) for n, i in self.indices.items()]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)

    # -- facts --------------------------------------------------------------------------------------------------
    @property
    def n_weights(self) -> int:
        return sum(len(i) for i in self.indices.values())

    @property
    def point(self) -> Point | None:
        """The address that it was selected at, or that its control belongs to; None for a mask of another origin."""
        facts = self.provenance
        if any(facts.get(name) is None for name in ("set", "q", "p", "scope", "contrast")):
            return None
        return Point(facts["set"], facts["q"], facts["p"], facts["scope"], facts["contrast"])

    @cached_property
    def digest(self) -> str:
        """sha256 over kind, model hash and indices: equal digests mean the same effect on the same model."""
        h = hashlib.sha256(f"{FORMAT}\0{self.kind}\0{self.model_hash}".encode())
        for name, index in self.indices.items():
            h.update(f"\0{name}\0{len(index)}\0".encode())
            h.update(index.astype("<u4").tobytes())
        return h.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PruneMask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def check_fits(self, table: WeightTable) -> None:
        """Raises MaskInvalid where a matrix is not in the table or an index lies outside its matrix."""
        for name, index in self.indices.items():
            place = table.index_of.get(name)
            if place is None:
                raise MaskInvalid(
                    f"mask names the weight {name!r}, which this model does not have; use a mask made for it"
                )
            if int(index[-1]) >= table[place].size:
                raise MaskInvalid(
                    f"mask index {int(index[-1])} lies outside {name} ({table[place].size} weights); "
                    "use a mask made for this model"
                )

    # -- set algebra --------------------------------------------------------------------------------------------
    def _combine(self, other: PruneMask, op: Callable[[np.ndarray, np.ndarray], np.ndarray], symbol: str) -> PruneMask:
        if self.model_hash != other.model_hash:
            raise MaskInvalid("masks of two different models cannot be combined; make both from runs of one model")
        none = np.empty(0, dtype=np.uint32)
        names = {**self.indices, **other.indices}
        indices = {n: op(self.indices.get(n, none), other.indices.get(n, none)) for n in names}
        # The stricter kind wins, so that algebra cannot launder a measurement set into something that may leave.
        kind = max(self.kind, other.kind, key=KINDS.index)
        return PruneMask(indices, kind, self.model_hash, {"op": symbol, "of": [self.digest, other.digest]})

    def __or__(self, other: PruneMask) -> PruneMask:
        return self._combine(other, np.union1d, "union")

    def __and__(self, other: PruneMask) -> PruneMask:
        return self._combine(other, lambda a, b: np.intersect1d(a, b, assume_unique=True), "intersection")

    def __sub__(self, other: PruneMask) -> PruneMask:
        return self._combine(other, lambda a, b: np.setdiff1d(a, b, assume_unique=True), "difference")

    # -- files --------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the mask as safetensors, atomically.

        Raises:
            MaskInvalid: the mask is of kind ``measurement``, which never leaves the process.
            OSError: the file cannot be written (nothing half-written is left).
        """
        if self.kind == "measurement":
            raise MaskInvalid("a measurement-only mask cannot be exported: it marks weights that refusals rest on")
        header = {
            "format": FORMAT,
            "kind": self.kind,
            "model_hash": self.model_hash,
            "digest": self.digest,
            "provenance": dict(self.provenance),
        }
        # One entry, because safetensors writes several in an order that differs from run to run.
        meta = {"harmviz": json.dumps(header, sort_keys=True)}
        target = Path(path)
        write_atomic(target, save(dict(self.indices) or {"__empty__": np.empty(0, np.uint32)}, metadata=meta))
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PruneMask:
        """Reads a mask written by ``save``.

        Raises:
            MaskInvalid: the file is missing, truncated, not a mask, altered since it was written, or measurement-only.
        """
        where = Path(path)
        if not where.is_file():
            raise MaskInvalid(f"mask file {where} does not exist; make one with `python -m harmviz mask`")
        try:
            with safe_open(where, framework="numpy") as f:
                meta = json.loads((f.metadata() or {}).get("harmviz", "{}"))
                arrays = {name: f.get_tensor(name) for name in f.keys() if name != "__empty__"}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as e:
            raise MaskInvalid(f"mask file {where} cannot be read ({e}); it is truncated or no safetensors file") from e
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise MaskInvalid(f"{where} is not a harmviz mask (need format {FORMAT!r})")
        if meta.get("kind") == "measurement":
            raise MaskInvalid(f"{where} is measurement-only and cannot be used as a mask")
        if bad := [n for n, a in arrays.items() if a.dtype != np.uint32 or a.ndim != 1]:
            raise MaskInvalid(f"{where}: the indices of {bad[0]} are not a flat uint32 array")
        try:
            if not isinstance(provenance := meta.get("provenance"), dict):
                raise ValueError("no provenance")
            mask = cls(arrays, meta["kind"], meta["model_hash"], provenance)
        except (KeyError, ValueError) as e:
            raise MaskInvalid(f"{where}: damaged mask header ({e})") from e
        if mask.digest != meta.get("digest"):
            raise MaskInvalid(
                f"{where} was altered after it was written (digest differs); export it again from its run"
            )
        return mask

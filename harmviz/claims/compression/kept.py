"""``checkpoints.safetensors``: what a result measured of each checkpoint, for a later result to take over.

Seeds come one after another: a result of six holds what one of three of them has measured, and need not measure it
again, nor have the weights of those checkpoints any more. Whether two measurements are the same is told by a digest of
all that determines them; what the arrays are, ``measure.measure_checkpoint`` says. A few kilobytes a checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from harmviz.claims.compression.series import Checkpoint, Series
from harmviz.claims.compression.settings import CompressionSpec
from harmviz.claims.compression.splits import SplitRows
from harmviz.errors import RunIncompatible
from harmviz.files import canonical_json
from harmviz.runs import Run, verify_run
from harmviz.runs.making import identity_of

FILE = "checkpoints.safetensors"
#: Where a manifest's method says which checkpoints are in the file: digest → identity of the weights.
WEIGHTS = "measured_weights"
#: Settings that determine no measurement: which rows a seed draws is in the rows themselves.
_NOT_MEASURED = ("seed", "benign_limit")
Arrays = Mapping[str, np.ndarray]


def digest_of(
    series: Series,
    split: int,
    checkpoint: Checkpoint,
    rows: SplitRows,
    spec: CompressionSpec,
    device: str,
    version: int,
) -> str:
    """sha256 of what determines a measurement: weights, start model, rows by role, settings, device and method."""
    settings = {name: value for name, value in spec.parameters().items() if name not in _NOT_MEASURED}
    facts: dict[str, Any] = {
        "weights": series.identity(split, checkpoint),
        "start": {**identity_of(series.facts), "dtype": series.facts["dtype"]},
        "rows": rows.row_ids,
        "settings": settings,
        "device": device,
        "version": version,
    }
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


def to_bytes(measured: Mapping[str, Arrays]) -> bytes:
    """The arrays of each digest as one file."""
    return save(
        {f"{d}/{name}": np.ascontiguousarray(a) for d, arrays in measured.items() for name, a in arrays.items()}
    )


@dataclass(frozen=True)
class Earlier:
    """What earlier results have measured. ``arrays`` and ``runs``: digest → arrays, the run they are from; ``weights``:
    identities of the checkpoints."""

    arrays: Mapping[str, Arrays] = field(default_factory=dict, repr=False)
    weights: Collection[str] = ()
    runs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Earlier:
        """
        Raises:
            RunIncompatible: one is no result of this experiment, keeps no checkpoints, or is damaged.
        """
        arrays: dict[str, dict[str, np.ndarray]] = {}
        weights: set[str] = set()
        of_run: dict[str, str] = {}
        for run in runs:
            method = run.manifest["method"]
            if WEIGHTS not in method:
                raise RunIncompatible(
                    f"run {run.id} keeps nothing of its checkpoints (it is no compression result, or was made before "
                    "they were kept); give one that does, or leave out --with"
                )
            if problems := verify_run(run):
                raise RunIncompatible(f"run {run.id} is damaged ({problems[0]}); restore it, or leave out --with")
            try:
                stored = load_file(run.file(FILE))
            except (SafetensorError, OSError) as e:
                raise RunIncompatible(f"run {run.id}: {FILE} cannot be read; restore it, or leave out --with") from e
            for name, array in stored.items():
                digest, _, part = name.partition("/")
                arrays.setdefault(digest, {})[part] = array
                of_run[digest] = run.id
            weights |= set(method[WEIGHTS].values())
        return cls(arrays, weights, of_run)


#: There is no earlier result.
NOTHING = Earlier()

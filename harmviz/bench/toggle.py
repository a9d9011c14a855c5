"""Zeroing a mask in place and restoring it, at q = 1e-4; beside reading the model's files again to compare."""

from __future__ import annotations

import numpy as np

from harmviz.bench.figure import Figure, Reference
from harmviz.bench.floors import toggle_bytes
from harmviz.bench.subject import Subject
from harmviz.bench.timing import timed
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.models.load import LoadedModel

Q = 1e-4
RELOADS = 3


def spread_mask(loaded: LoadedModel, q: float, seed: int = 0) -> PruneMask:
    """A mask of ``⌊q·N⌋`` weights (at least one) drawn over the whole model: the dearest case, since it touches every
    matrix."""
    n = loaded.table.n_weights
    index = np.random.default_rng(seed).choice(n, size=max(1, count_of(q, n)), replace=False)
    return PruneMask.from_global(loaded.table, index, kind="control", model_hash=loaded.weight_hash)


def bench(subject: Subject) -> list[Figure]:
    """Milliseconds to zero and restore, mask prepared anew each time."""
    loaded, device = subject.loaded, subject.loaded.device
    mask = spread_mask(loaded, Q)

    def toggle() -> None:
        with pruned(loaded, mask):
            pass

    toggled = timed({"": toggle}, device)[""]
    reference = None
    if subject.reload is not None:
        reloaded = timed({"": subject.reload}, device, trials=RELOADS)[""]
        reference = Reference(1e3 * reloaded.seconds, "the model's files read again")
    return [
        Figure(
            "zero and restore",
            1e3 * toggled.seconds,
            "ms",
            floor=1e3 * toggle_bytes(mask.n_weights, device.type) / subject.rates.bandwidth,
            reference=reference,
            peak_bytes=toggled.peak_bytes,
            trials=toggled.trials,
        ),
        Figure("weights", mask.n_weights),
        Figure("matrices touched", len(mask.indices)),
    ]

"""Zeroing a mask in place and restoring it, at q = 1e-4."""

from __future__ import annotations

import numpy as np

from harmviz.bench.timing import medians, synchronised
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.models.load import LoadedModel, load_model


def spread_mask(loaded: LoadedModel, q: float, seed: int = 0) -> PruneMask:
    """A mask of ``⌊q·N⌋`` weights drawn over the whole model: the dearest case, since it touches every matrix."""
    n = loaded.table.n_weights
    index = np.random.default_rng(seed).choice(n, size=count_of(q, n), replace=False)
    return PruneMask.from_global(loaded.table, index, kind="control", model_hash=loaded.weight_hash)


def bench() -> dict[str, tuple[float, str]]:
    """Milliseconds to zero and restore, mask prepared anew each time."""
    loaded = load_model()
    mask = spread_mask(loaded, 1e-4)

    def toggle() -> None:
        with pruned(loaded, mask):
            pass

    timed = medians({"toggle": synchronised(toggle, loaded.device.type)})
    return {
        "zero and restore": (1e3 * timed["toggle"], "ms"),
        "weights": (mask.n_weights, ""),
        "matrices touched": (len(mask.indices), ""),
    }

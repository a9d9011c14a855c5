"""Losses of the held-out samples under masks, each measured once and kept while the run is made."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from harmviz.claims.mapping.sample_losses import Measured
from harmviz.claims.mapping.samples import MeasuredSet
from harmviz.claims.mapping.settings import SKIPS
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.scoring.loss import response_losses

if TYPE_CHECKING:
    from harmviz.claims.mapping.stages import MapWork


class Losses:
    """``losses(mask, split)`` → ``[n_samples, n_skips]`` float64, one stage of the run per (mask, split).

    Splits: ``validation``, ``report``, ``controls``, the fixed third of the report prompts on which drawn controls are
    measured, and ``twins``, the author-matched pairs.
    """

    def __init__(self, run: MapWork):
        self.run = run
        self.sets: dict[str, MeasuredSet] = {
            **run.samples.held_out,
            "controls": run.samples.control_subset,
            "twins": run.samples.twins,
        }
        self._known: dict[str, Measured] = {}

    def of(self, mask: PruneMask | None, split: str) -> np.ndarray:
        """Losses under ``mask`` (None: intact)."""
        run, samples = self.run, self.sets[split].samples
        key = f"{'intact' if mask is None else mask.digest[:20]}.{split}"
        if key in self._known:
            return self._known[key].losses

        def measure() -> dict[str, np.ndarray]:
            report = run.making.progress.within(len(samples))
            with nullcontext() if mask is None else pruned(run.loaded, mask, allow_measurement=True):
                return {"losses": response_losses(run.loaded, samples, skips=SKIPS, progress=report)}

        losses = run.making.arrays(f"measure.{key}", float(len(samples)), measure)["losses"]
        self._known[key] = Measured(mask, split, self.sets[split], losses)
        return losses

    @property
    def measured(self) -> list[Measured]:
        """All that was asked for so far, in that order."""
        return list(self._known.values())

    def delta(self, mask: PruneMask, split: str, skip: int) -> np.ndarray:
        """``[n_samples]``: ΔL = pruned − intact, nats/token, with this many opening tokens left out."""
        column = SKIPS.index(skip)
        return self.of(mask, split)[:, column] - self.of(None, split)[:, column]

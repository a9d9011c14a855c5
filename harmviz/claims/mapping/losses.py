"""Losses of the held-out samples under masks, each measured once and kept while the run is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save

from harmviz.claims.mapping.samples import MeasuredSet
from harmviz.claims.mapping.settings import SKIPS
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.scoring.loss import response_losses

if TYPE_CHECKING:
    from harmviz.claims.mapping.measure import Job


class Losses:
    """``losses(mask, split)`` → ``[n_samples, n_skips]`` float64, one stage of the run per (mask, split).

    Splits: ``validation``, ``report``, and ``controls``, the fixed third of the report prompts on which drawn controls
    are measured.
    """

    def __init__(self, job: Job):
        self.job = job
        self.sets: dict[str, MeasuredSet] = {**job.samples.held_out, "controls": job.samples.control_subset}
        self._known: dict[str, np.ndarray] = {}

    def of(self, mask: PruneMask | None, split: str) -> np.ndarray:
        """Losses under ``mask`` (None: intact)."""
        job, samples = self.job, self.sets[split].samples
        key = f"{'intact' if mask is None else mask.digest[:20]}.{split}"
        if key in self._known:
            return self._known[key]
        target = f"scratch/losses/{key}.safetensors"

        def work() -> None:
            report = job.progress.within(len(samples))
            if mask is None:
                found = response_losses(job.loaded, samples, skips=SKIPS, progress=report)
            else:
                with pruned(job.loaded, mask):
                    found = response_losses(job.loaded, samples, skips=SKIPS, progress=report)
            job.partial.write(target, save({"losses": found}))

        job.stage(f"measure.{key}", float(len(samples)), work)
        self._known[key] = load_file(job.partial.path(target))["losses"]
        return self._known[key]

    def delta(self, mask: PruneMask, split: str, skip: int) -> np.ndarray:
        """``[n_samples]``: ΔL = pruned − intact, nats/token, with this many opening tokens left out."""
        column = SKIPS.index(skip)
        return self.of(mask, split)[:, column] - self.of(None, split)[:, column]

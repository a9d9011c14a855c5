"""The causal check of a run: measured ``ΔL/ε`` against ``ΣH``, on the scoring samples themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.stages import MapWork
from harmviz.data.encoding import Sample
from harmviz.data.splits import SCORING
from harmviz.masks.apply import pruned
from harmviz.masks.candidates import Candidates
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, make_mask
from harmviz.models.load import LoadedModel
from harmviz.runs import Row
from harmviz.scoring.causal import CausalCheck, causal_check
from harmviz.scoring.loss import response_losses


def check_mask_causally(
    loaded: LoadedModel, mask: PruneMask, predicted: float, groups: Sequence[Sequence[Sample]]
) -> CausalCheck:
    """The check for a mask whose score is the mean over ``groups`` (categories) of each group's mean over samples."""
    flat = [s for group in groups for s in group]
    weights = np.concatenate([np.full(len(g), 1 / (len(groups) * len(g))) for g in groups])

    def loss() -> float:
        return float(weights @ response_losses(loaded, flat)[:, 0])

    def loss_at(epsilon: float) -> float:
        with pruned(loaded, mask, strength=epsilon):
            return loss()

    return causal_check(predicted, loss(), loss_at)


def fixed_point_mask(found: Candidates, spec: RunSpec, model_hash: str) -> tuple[PruneMask, float]:
    """The plain ``mean(all)`` mask at the fixed point, and ΣH over it."""
    q, p = spec.fixed_point
    mask = make_mask(found, Selection(found.categories, q=q, p=p), model_hash=model_hash)
    rows = np.searchsorted(found.global_index, mask.to_global(found.table))
    return mask, float(found.score("mean", rows=rows).sum(dtype=np.float64))


def causal_rows(run: MapWork, found: Candidates) -> list[Row]:
    """Rows ``predicted``, ``measured`` and ``relative_error`` for ``mean(all)`` at the fixed point, plain selection.

    Only in float32: in bfloat16 the rounding of a small ε drowns what is to be measured, and the rows say not measured.
    """
    q, p = run.spec.fixed_point
    mask, predicted = fixed_point_mask(found, run.spec, run.loaded.weight_hash)
    groups = [[s for half in SCORING for s in run.samples.scoring[c, half]] for c in run.samples.categories]
    common: dict[str, Any] = {
        "experiment": "causal",
        "mask": "mean(all)",
        "category": "harm",
        "unit": "nats/token",
        "q": q,
        "p": p,
        "scope": "global",
        "contrast": "none",
        "skip_tokens": run.spec.skip_tokens,
        "n_weights": mask.n_weights,
        "n": sum(map(len, groups)),
    }
    if run.loaded.dtype != torch.float32:
        return [Row(metric="measured", value=None, **common), Row(metric="predicted", value=predicted, **common)]

    def work() -> dict[str, float | None]:
        check = check_mask_causally(run.loaded, mask, predicted, groups)
        return {"measured": check.measured, "relative_error": check.relative_error}

    info = run.stage("causal", 5.0 * sum(map(len, groups)), work)
    return [
        Row(metric="predicted", value=predicted, **common),
        Row(metric="measured", value=info["measured"], **common),
        Row(metric="relative_error", value=info["relative_error"], **{**common, "unit": "fraction"}),
    ]

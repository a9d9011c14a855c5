"""The causal check of a run: measured ``ΔL/ε`` against ``ΣH``, on the scoring samples themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harmviz.claims.mapping.effects import NATS
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.stages import MapWork
from harmviz.data.encoding import Sample
from harmviz.data.splits import SCORING
from harmviz.masks.apply import pruned
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import MEAN
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, make_mask
from harmviz.models.load import LoadedModel
from harmviz.runs import Row
from harmviz.runs.point import MEAN_OF_ALL, Point
from harmviz.runs.rows import Where
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


def fixed_point_mask(
    candidates: Candidates, spec: RunSpec, model_hash: str, category: str = MEAN
) -> tuple[PruneMask, float]:
    """The plain ``mean(all)`` mask at the fixed point, and ΣH over it, of one category's H or of their mean."""
    q, p = spec.fixed_point
    mask = make_mask(candidates, Selection(candidates.categories, q=q, p=p), model_hash=model_hash)
    rows = np.searchsorted(candidates.global_index, mask.to_global(candidates.table))
    return mask, float(candidates.score(category, rows=rows).sum(dtype=np.float64))


def causal_rows(run: MapWork, candidates: Candidates) -> list[Row]:
    """Rows ``predicted``, ``measured`` and ``relative_error`` for ``mean(all)`` at the fixed point, plain selection.

    Only in float32: in bfloat16 the rounding of a small ε drowns what is to be measured, and the rows say not measured.
    """
    import torch

    mask, predicted = fixed_point_mask(candidates, run.spec, run.loaded.weight_hash)
    groups = [[s for half in SCORING for s in run.samples.scoring[c, half]] for c in run.samples.categories]
    n = sum(map(len, groups))
    where = Where(
        experiment="causal",
        point=Point(MEAN_OF_ALL, *run.spec.fixed_point),
        n_weights=mask.n_weights,
        skip_tokens=run.spec.skip_tokens,
    )

    def row(metric: str, value: float | None, unit: str = NATS) -> Row:
        return where.value(metric, value, unit=unit, category="harm", n=n)

    if run.loaded.dtype != torch.float32:
        return [row("measured", None), row("predicted", predicted)]

    def work() -> dict[str, float | None]:
        check = check_mask_causally(run.loaded, mask, predicted, groups)
        return {"measured": check.measured, "relative_error": check.relative_error}

    check = run.stage("causal", 5.0 * n, work)
    return [
        row("predicted", predicted),
        row("measured", check["measured"]),
        row("relative_error", check["relative_error"], "fraction"),
    ]

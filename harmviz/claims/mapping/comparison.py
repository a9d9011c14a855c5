"""Other scores, same selection: absolute SNIP, Wanda and magnitude at the headline point, for comparison.

Each ranks the eligible weights by its own score of the harmful scoring samples (highest first) and keeps as many as the
plain headline mask has. They say nothing about harm by themselves: that is what their controls-free rows show. Absolute
SNIP and Wanda come from the same passes over the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from harmviz.claims.mapping.stages import MapWork
from harmviz.claims.mapping.work import ABSOLUTE_UNITS
from harmviz.data.encoding import make_batches
from harmviz.data.splits import SCORING
from harmviz.masks.candidates import Candidates
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import TopK, count_of
from harmviz.masks.selection import Selection
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.wanda import InputNorms, score_magnitude


def comparison_masks(
    run: MapWork, candidates: Candidates, selection: Selection, provenance: dict[str, Any]
) -> Iterator[tuple[str, PruneMask]]:
    """(label, mask) of each other score. A model with fused experts has no Wanda score and is left without it."""
    loaded = run.loaded
    fused = loaded.table.has_fused_experts
    samples = [s for half in SCORING for c in run.samples.categories for s in run.samples.scoring[c, half]]

    def best(scores: Iterable[Any]) -> np.ndarray:
        top = TopK(count_of(selection.q, loaded.table.n_weights))
        for i, matrix in enumerate(scores):
            allowed = candidates.eligible(i, selection.p)
            top.add(matrix.cpu().numpy().ravel() * allowed, int(loaded.table.offsets[i]))
        return top.result()[0].astype(np.int64)

    units = ABSOLUTE_UNITS * len(samples)

    def of_passes() -> dict[str, np.ndarray]:
        limit = 1 if fused else default_batch_tokens(loaded)
        batches = make_batches(samples, max_tokens=limit, device=loaded.device)
        norms = None if fused else InputNorms(loaded)
        absolute = score_absolute(loaded, batches, norms=norms, progress=run.making.progress.within(units))
        return {"snip_abs": best(absolute), **({"wanda": best(norms.scores())} if norms is not None else {})}

    passes = run.making.arrays("comparison.snip_abs-wanda", units, of_passes)
    magnitude = run.making.arrays("comparison.magnitude", 0.0, lambda: {"magnitude": best(score_magnitude(loaded))})
    for name, index in {"snip_abs": passes.pop("snip_abs"), **magnitude, **passes}.items():
        mask = PruneMask.from_global(
            loaded.table, index, kind="control", model_hash=loaded.weight_hash, **provenance, set=f"{name}(all)"
        )
        yield f"{name}(all)", mask

"""Other scores, same selection: absolute SNIP, Wanda and magnitude at the headline point, for comparison.

Each ranks the eligible weights by its own score of the harmful scoring samples (highest first) and keeps as many as the
plain headline mask has. They say nothing about harm by themselves: that is what their controls-free rows show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from harmviz.scoring.wanda import score_magnitude, score_wanda


def comparison_masks(
    run: MapWork, candidates: Candidates, selection: Selection, provenance: dict[str, Any]
) -> Iterator[tuple[str, PruneMask]]:
    """(label, mask) of each other score. A model with fused experts has no Wanda score and is left without it."""
    loaded = run.loaded
    fused = any(m.expert is not None for m in loaded.table)
    samples = [s for half in SCORING for c in run.samples.categories for s in run.samples.scoring[c, half]]

    def batches(limit: int) -> list[Any]:
        return make_batches(samples, max_tokens=limit, device=loaded.device)

    limit = default_batch_tokens(loaded)
    scorers: dict[str, Callable[[], list[Any]]] = {
        "snip_abs": lambda: score_absolute(
            loaded, batches(1 if fused else limit), progress=run.making.progress.within(ABSOLUTE_UNITS * len(samples))
        ),
        "magnitude": lambda: score_magnitude(loaded),
    }
    if not fused:
        scorers["wanda"] = lambda: score_wanda(loaded, batches(limit))
    for name, scorer in scorers.items():

        def best(scorer: Callable[[], list[Any]] = scorer) -> dict[str, np.ndarray]:
            top = TopK(count_of(selection.q, loaded.table.n_weights))
            for i, matrix in enumerate(scorer()):
                allowed = candidates.eligible(i, selection.p)
                top.add(matrix.cpu().numpy().ravel() * allowed, int(loaded.table.offsets[i]))
            return {"index": top.result()[0].astype(np.int64)}

        units = (ABSOLUTE_UNITS if name == "snip_abs" else 1.0) * len(samples)
        index = run.making.arrays(f"comparison.{name}", units, best)["index"]
        mask = PruneMask.from_global(
            loaded.table, index, kind="control", model_hash=loaded.weight_hash, **provenance, set=f"{name}(all)"
        )
        yield f"{name}(all)", mask

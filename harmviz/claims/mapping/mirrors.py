"""Mirror controls: the contrastive selection turned round, so that what a harm mask does can be told from what any
contrast does.

    mirror_safe   = H_safe   − max(0, mean_c H_c, H_benign)
    mirror_benign = H_benign − max(0, mean_c H_c, H_safe)

ranked, protected and cut like the contrastive harm mask, to the same q and p. A harm mask is specific to harm only if
its mirrors are less specific to *their* texts and leave harm alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from harmviz.claims.mapping.stages import MapWork
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import guard_score, mean_score
from harmviz.masks.mask import Kind, PruneMask
from harmviz.masks.ranking import TopK, count_of
from harmviz.masks.selection import Selection

#: Control → the harmless text that is selected for, and the one that guards.
MIRRORS = {"mirror_safe": ("safe", "benign"), "mirror_benign": ("benign", "safe")}


def mirror_score(of: np.ndarray, harm: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``of − max(0, harm, other)``, float32, elementwise."""
    return of - guard_score(harm, other)


def mirror_masks(
    run: MapWork, candidates: Candidates, selection: Selection, provenance: dict[str, Any]
) -> Iterator[tuple[str, PruneMask]]:
    """(control, mask) of each mirror at this point: a pass over the stored scores each."""
    scores, categories = run.scores, run.samples.categories
    for control, (chosen, other) in MIRRORS.items():

        def score(i: int, chosen: str = chosen, other: str = other) -> np.ndarray:
            mean = mean_score([scores.harm(c, i) for c in categories])
            return mirror_score(scores.harm(chosen, i), mean, scores.harm(other, i))

        yield control, ranked_mask(run, candidates, selection, score, control, **provenance)


def ranked_mask(
    run: MapWork,
    candidates: Candidates,
    selection: Selection,
    score: Callable[[int], np.ndarray],
    control: str,
    *,
    kind: Kind = "control",
    **provenance: Any,
) -> PruneMask:
    """The ``⌊q·N⌋`` eligible weights of the highest score, matrix by matrix ``score(i)`` (flat), at this point: a
    pass over scores that only the run itself has. For measuring; it is not stored with the run."""
    table = run.loaded.table

    def best() -> dict[str, np.ndarray]:
        top = TopK(count_of(selection.q, table.n_weights))
        for i in range(len(table)):
            top.add(score(i) * candidates.eligible(i, selection.p), int(table.offsets[i]))
        return {"index": top.result()[0].astype(np.int64)}

    index = run.making.arrays(f"{control}.{selection.q:g}.{selection.p:g}", 0.0, best)["index"]
    return PruneMask.from_global(
        table, index, kind=kind, model_hash=run.loaded.weight_hash, **provenance, control=control
    )

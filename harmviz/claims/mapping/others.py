"""Masks of unknown origin: read off two checkpoints, judged by what they do before they may leave the process.

Nobody says how others chose the weights that they pruned, so that a mask read off their checkpoint is judged as every
set of a run is (``harmviz.claims.mapping.gate``): if zeroing it makes declining clearly less likely it is for
measurement only, and is written nowhere. What passes is a mask like any other, of kind ``harm``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harmviz.claims.mapping.gate import LIMIT, Gate, Judged
from harmviz.errors import MaskInvalid
from harmviz.masks.mask import PruneMask
from harmviz.runs import Point

if TYPE_CHECKING:
    from harmviz.models.differing import Difference, Side
    from harmviz.models.load import LoadedModel

#: What the provenance of such a mask calls its origin.
ORIGIN = "checkpoints"


def mask_between(found: Difference) -> PruneMask:
    """The mask of the weights that are zero in PRUNED and not in BASE, with what it was read off.

    Raises:
        MaskInvalid: there is no such weight.
    """
    if not found.n_zeroed:
        raise MaskInvalid(
            f"no scored weight is zero in {found.pruned.name} and not in {found.base.name} ({len(found.changes)} "
            f"tensors differ otherwise, in {found.n_changed:,} values); give the intact model first, then the pruned"
        )
    provenance = {
        "origin": ORIGIN,
        "base": _side(found.base),
        "pruned": _side(found.pruned),
        "other_changes": {"tensors": len(found.changes), "values": found.n_changed},
    }
    return PruneMask(found.indices, "harm", found.base.weight_hash, provenance)


def _side(side: Side) -> dict[str, Any]:
    return dict(side._asdict())


def judged(mask: PruneMask, loaded: LoadedModel, *, seed: int = 0) -> tuple[PruneMask, Judged]:
    """(the mask with the gate's verdict in its provenance, what it does to declining), beside random masks of its size.

    Raises:
        MaskInvalid: it is measurement-only, or was made for other weights.
        SelectionInexact: a matrix has too few weights left for a random mask of its size.
    """
    gate = Gate(loaded, lambda i: np.ones(loaded.table[i].size, dtype=bool), seed=seed)
    verdict = gate.judge(ORIGIN, Point(ORIGIN, mask.n_weights / loaded.table.n_weights, 0.0), mask)
    if verdict.fails:
        raise MaskInvalid(f"{verdict.reason}. It is not written, and no index of it is shown")
    of_gate = {
        "beyond": verdict.beyond.value,
        "ci_low": verdict.beyond.ci_low,
        "ci_high": verdict.beyond.ci_high,
        "n": verdict.beyond.n,
        "limit": LIMIT,
    }
    return replace(mask, provenance={**mask.provenance, "gate": of_gate}), verdict

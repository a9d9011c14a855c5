"""A mask laid over those of a run, or over another mask: overlap beside chance, ceiling and what the sizes allow.

Beside each mask that a run selected stands the run's contrastive and plain selection of as many weights as the given
mask has, where the stored lists settle it: overlap of masks of two sizes is capped by their sizes. Drawn controls are
left out; chance says more. The *ceiling* is what the run stored as the overlap of its own two scoring halves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harmviz.errors import HarmvizError, RunIncompatible
from harmviz.masks.candidates import Candidates
from harmviz.masks.controls import DRAWN
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, largest_exact_q, make_mask
from harmviz.masks.sharing import Shared, shared
from harmviz.models.weights import WeightTable
from harmviz.runs import Run, list_runs, open_run
from harmviz.runs.point import SELECTOR_WORDS, Contrast

_CONTRASTS: tuple[Contrast, ...] = ("none", "both")


@dataclass(frozen=True)
class Laid:
    """What the mask shares with one other.

    ``ceiling``: Jaccard of the masks of the other's two scoring halves, None where it was not stored at its q;
    ``same_weights``: whether both are masks of one model, bit for bit.
    """

    name: str
    shared: Shared
    ceiling: float | None
    same_weights: bool


def lay_over(mask: PruneMask, which: str, table: WeightTable | None = None) -> list[Laid]:
    """The mask beside the mask in a file, or beside every selected mask of a run.

    Args:
        which: a mask file, or a run as ``open_run`` takes it.
        table: the matrices of the mask's model, where they are known already.

    Raises:
        MaskInvalid: the file is no mask, or the masks are of models of different shapes.
        RunNotFound, RunIncompatible: no such run, or it has no mask.
    """
    if Path(which).expanduser().is_file():
        other = PruneMask.load(Path(which).expanduser())
        of_file = table if table is not None else _table_of(mask, other)
        return [_laid(Path(which).stem, mask, other, of_file, _run_of(other))]
    run = open_run(which)
    others = dict(_masks_of(run, mask.n_weights))
    if not others:
        raise RunIncompatible(f"run {run.id} stores no mask to compare with; give a map run, or a mask file")
    known = table if table is not None else (run.table if len(run.table) else _table_of(*others.values()))
    return [_laid(name, mask, other, known, run) for name, other in others.items()]


def _laid(name: str, mask: PruneMask, other: PruneMask, table: WeightTable | None, run: Run | None) -> Laid:
    return Laid(name, shared(mask, other, table), _ceiling(other, run), mask.model_hash == other.model_hash)


def _masks_of(run: Run, n_weights: int) -> Iterator[tuple[str, PruneMask]]:
    """The run's selected masks by name, and, where it has its candidates, its selections of ``n_weights`` weights."""
    for name, path in run.masks().items():
        if not name.endswith(tuple(f".{drawn}" for drawn in DRAWN)):
            yield name, PruneMask.load(path)
    if not run.has_candidates:
        return
    candidates = Candidates.load(run.candidates_path)
    for contrast in _CONTRASTS:
        if contrast == "both" and not candidates.has_contrast:
            continue
        # A hair above n / N, so that rounding down gives n and not n − 1.
        q = n_weights / candidates.table.n_weights * (1 + 1e-12)
        p = min(candidates.p_grid, key=lambda level: abs(level - 0.01))
        selection = Selection(candidates.categories, q=min(q, 1.0), p=p, contrast=contrast)
        if q <= largest_exact_q(candidates, selection)[0]:
            facts = {"model_hash": run.manifest["model"]["weight_hash"], "run_id": run.id}
            yield f"{SELECTOR_WORDS[contrast].short}, of equal size", make_mask(candidates, selection, **facts)


def _run_of(mask: PruneMask) -> Run | None:
    """The run that the mask was selected in, where it is stored here."""
    try:
        return open_run(str(mask.provenance["run_id"]))
    except (KeyError, HarmvizError):
        return None


def _table_of(*masks: PruneMask) -> WeightTable | None:
    """The matrices of these masks' model, out of any map run of it that is stored here."""
    hashes = {mask.model_hash for mask in masks}
    return next((r.table for r in list_runs() if len(r.table) and r.manifest["model"]["weight_hash"] in hashes), None)


def _ceiling(mask: PruneMask, run: Run | None) -> float | None:
    """The stored overlap of the masks of two scoring halves at the mask's set, ranking and q.

    Halves are stored at one protection level, so that p may differ.
    """
    point = mask.point
    if run is None or point is None:
        return None
    rows = run.results()
    at = (rows["metric"] == "jaccard_ceiling") & (rows["mask"] == point.set) & (rows["contrast"] == point.contrast)
    values = rows[at & ((rows["q"] / point.q - 1).abs() < 1e-6)]["value"]
    return float(values.iloc[0]) if len(values) and math.isfinite(values.iloc[0]) else None

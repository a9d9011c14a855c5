"""Who stands beside the intact model: the mask, a second one, a random control. From settings to panes; draws nothing.

The random control has as many weights per matrix as the mask, drawn from those that may be pruned: what it changes too
is owed to pruning as such, not to these weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harmviz.display import text
from harmviz.errors import MaskInvalid
from harmviz.masks.candidates import Candidates
from harmviz.masks.controls import random_control
from harmviz.masks.lists import Contrast
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, make_mask
from harmviz.paths import masks_root
from harmviz.playground.panes import PaneLabel
from harmviz.runs import Run
from harmviz.ui.mask_settings import CONTRASTS, settled
from harmviz.worker import Pane

#: The second mask that is no stored one: the same settings, selected the other way.
OTHER_SELECTION = "other-selection"
#: How the names of masks begin that lie in the cache's folder of masks.
FROM_FILE = "file:"
INTACT = (Pane("intact"), PaneLabel("intact", "Intact", "the model as it is", "intact"))


@dataclass(frozen=True)
class Lineup:
    """What is asked for beside the intact model.

    Attributes:
        first: the mask: a selection from the run's candidates, the name of a stored mask, or None.
        shows_first: whether the mask has a pane of its own; a control of it may stand there without.
        second: ``OTHER_SELECTION``, the name of a stored mask, or None.
        control: whether a random control of ``first`` stands beside it: a draw of its own, or ``stored_control``.
        strength: how far the masks are turned down, 0 (intact) to 1 (zeroed).
        seed: of the random control's draw.
        stored_control: the name of a stored mask that is the random control of ``first``.
    """

    first: Selection | str | None = None
    shows_first: bool = True
    second: str | None = None
    control: bool = False
    strength: float = 1.0
    seed: int = 0
    stored_control: str | None = None


def panes_of(
    run: Run | None, candidates: Candidates | None, lineup: Lineup
) -> tuple[tuple[Pane, ...], tuple[PaneLabel, ...]]:
    """The panes and how each is introduced, the intact model first.

    Raises:
        SelectionInexact: the stored lists do not settle a mask, or a matrix has too few weights for a control.
        MaskInvalid: a stored mask cannot be used, or a mask holds no weight at all.
        RunIncompatible: the run lacks a file.
    """
    panes = [INTACT]
    if run is None or lineup.first is None:
        return _unzipped(panes)
    first = mask_of(run, candidates, lineup.first)
    if lineup.shows_first:
        panes.append(_pane("mask", "Pruned", first, _caption(candidates, lineup.first), lineup))
    if lineup.second is not None:
        which = other_selection(lineup.first) if lineup.second == OTHER_SELECTION else lineup.second
        second = mask_of(run, candidates, which)
        panes.append(_pane("second", "Pruned, second mask", second, _caption(candidates, which), lineup))
    drawn = None
    if lineup.control and lineup.stored_control is not None:
        drawn = mask_of(run, candidates, lineup.stored_control)
    elif lineup.control and candidates is not None:
        p = float(first.provenance.get("p", 0.0))
        drawn = random_control(first, candidates.table, lambda i: candidates.eligible(i, p), seed=lineup.seed)
    if drawn is not None:
        panes.append(_pane("random", "Random control", drawn, "as many weights, drawn at random", lineup))
    return _unzipped(panes)


def _unzipped(labelled: list[tuple[Pane, PaneLabel]]) -> tuple[tuple[Pane, ...], tuple[PaneLabel, ...]]:
    return tuple(pane for pane, _ in labelled), tuple(label for _, label in labelled)


def other_selection(first: Selection | str) -> Selection:
    """The same settings, contrastive instead of as in the paper, or the reverse.

    Raises:
        MaskInvalid: the mask is a stored one, which has no settings to change.
    """
    if isinstance(first, str):
        raise MaskInvalid("a stored mask has no other selection; choose a second mask from the stored ones")
    other: Contrast = "none" if first.contrast == "both" else "both"
    return replace(first, contrast=other)


def stored_masks(run: Run) -> dict[str, Path]:
    """Name → file of the masks that can be played by name: the run's own, then those in the cache's folder of masks
    that are made for its model. What lies there and is no mask is passed over."""
    return run.masks() | {f"{FROM_FILE}{path.stem}": path for path in _files_for(run.manifest["model"]["weight_hash"])}


def _files_for(weight_hash: str) -> Iterator[Path]:
    for path in sorted(masks_root().glob("*.safetensors")):
        try:
            fits = PruneMask.load(path).model_hash == weight_hash
        except MaskInvalid:
            continue
        if fits:
            yield path


def mask_of(run: Run, candidates: Candidates | None, which: Selection | str) -> PruneMask:
    """The mask of a selection, or the stored one of this name.

    Raises:
        SelectionInexact, MaskInvalid, RunIncompatible: as ``panes_of``.
    """
    if isinstance(which, str):
        stored = stored_masks(run)
        if which not in stored:
            raise MaskInvalid(
                f"run {run.id} stores no mask {which!r}; choose one of {', '.join(stored) or 'another run'}"
            )
        mask = PruneMask.load(stored[which])
    elif candidates is None:
        raise MaskInvalid(f"run {run.id} has no candidates to select from; choose one of its stored masks")
    else:
        exact, _ = settled(candidates, which)
        weight_hash = run.manifest["model"]["weight_hash"]
        mask = make_mask(candidates, exact, model_hash=weight_hash, run_id=run.id)
    if not mask.n_weights:
        raise MaskInvalid("this mask holds no weight; choose a larger q, or other types")
    return mask


def _pane(
    name: Literal["mask", "second", "random"], title: str, mask: PruneMask, caption: str, lineup: Lineup
) -> tuple[Pane, PaneLabel]:
    how = "" if lineup.strength == 1 else f" · strength {lineup.strength:g}"
    label = PaneLabel("control" if mask.kind == "control" else "harm", title, caption + how, name)
    return Pane(name, mask, lineup.strength), label


def _caption(candidates: Candidates | None, which: Selection | str) -> str:
    if isinstance(which, str):
        return stored_name(which)
    types = candidates.categories if candidates is not None else ()
    n, every = len(which.categories), len(which.categories) == len(types) and which.combine != "difference"
    names = "all types" if every else ", ".join(text.set_name(c) for c in which.categories)
    combined = "" if n == 1 or which.combine == "mean" else f" ({which.combine})"
    return f"{names}{combined}, {CONTRASTS[which.contrast]}"


def stored_name(name: str) -> str:
    """How a stored mask reads: ``headline-plain.benign_signed`` → "chosen, as in the paper: benign-signed control"."""
    if name.startswith(FROM_FILE):
        return f"from a file: {name.removeprefix(FROM_FILE)}"
    base, _, control = name.partition(".")
    known = {
        "headline-plain": "chosen, as in the paper",
        "headline-contrastive": "chosen, contrastive",
        "scene": "chosen on other requests",
    }
    chosen = known.get(base, base)
    return f"{chosen}: {control.replace('_', '-')} control" if control else chosen

"""The masks an experiment compares: chosen points of a stored map run beside controls drawn for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harmviz.errors import RunIncompatible, SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.controls import benign_signed, random_control
from harmviz.masks.lists import Contrast
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, make_mask
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from harmviz.runs.making import identity_of
from harmviz.runs.manifest import CANDIDATES


@dataclass(frozen=True)
class Parent:
    """A map run of a model that is loaded, with what its masks are selected from."""

    run: Run
    loaded: LoadedModel
    candidates: Candidates

    def mask(self, q: float, p: float, contrast: Contrast = "both", categories: Sequence[str] = ()) -> PruneMask:
        """The mask of the mean over ``categories`` (all by default) at this point.

        Raises:
            ValueError, SelectionInexact: as ``harmviz.masks.selection.select``.
        """
        chosen = Selection(tuple(categories) or self.candidates.categories, q=q, p=p, contrast=contrast)
        return make_mask(self.candidates, chosen, **self._about)

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "model_hash": self.loaded.weight_hash,
            "run_id": self.run.id,
            "scoring_prompts": list(self.run.manifest["data"]["scoring_prompts"]),
        }

    def benign_signed(self, q: float, p: float) -> PruneMask | None:
        """What the same rule selects from harmless answers at this point;

        None where the run did not score them, or settles no weight there.
        """
        if "benign" not in self.candidates.listed_baselines:
            return None
        try:
            mask = benign_signed(self.candidates, Selection(self.candidates.categories, q=q, p=p), **self._about)
        except SelectionInexact:
            return None
        return mask if mask.n_weights else None

    def random(self, mask: PruneMask, p: float, *, seed: int, draw: int = 0) -> PruneMask:
        """As many weights per matrix as ``mask`` has, drawn among the eligible ones outside it."""

        def eligible(i: int) -> np.ndarray:
            return self.candidates.eligible(i, p)

        return random_control(mask, self.candidates.table, eligible, seed=seed, draw=draw)


def check_parent(run: Run) -> None:
    """Nothing, if masks can be selected from this run. Commands ask before they load its model.

    Raises:
        RunIncompatible: it is no map run, or its candidates were deleted; the message says what to do.
    """
    if run.kind != "map":
        raise RunIncompatible(
            f"run {run.id} is an {run.kind}, and masks come from map runs; `python -m harmviz runs` lists them"
        )
    run.file(CANDIDATES)


def open_parent(run: Run, loaded: LoadedModel) -> Parent:
    """The map run with its candidates, checked to be of the loaded model.

    Raises:
        RunIncompatible: as ``check_parent``, or a run of another model; the message names both.
    """
    check_parent(run)
    check_same_model(run, loaded)
    return Parent(run, loaded, Candidates.load(run.candidates_path))


def check_same_model(run: Run, loaded: LoadedModel) -> None:
    """Nothing, if the run was made with the loaded model: its weights, and its tokenizer and chat template too. (Older
    runs name their weights alone.)

    Raises:
        RunIncompatible: it was not; the message says what differs.
    """
    made_with = identity_of(run.manifest["model"])
    for name, what in (("weight_hash", "other weights"), ("tokenizer_hash", "another tokenizer or chat template")):
        theirs, ours = made_with.get(name), getattr(loaded, name)
        if theirs is not None and theirs != ours:
            raise RunIncompatible(
                f"run {run.id} was made with {what} ({theirs[:12]}…) than {loaded.name} has "
                f"({ours[:12]}…); give the run of this very model, or the model of this run"
            )

"""The rankings that a scene's masks are selected by, and the masks of its grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from harmviz.claims.mapping.twin_answers import AUTHOR, Answered, everyday_opened_by, opened_by
from harmviz.claims.mapping.work import TWIN_ANSWER_UNITS
from harmviz.claims.parent import Parent
from harmviz.claims.scene.guard import Guard
from harmviz.claims.scene.sets import scoring_everyday, scoring_twins
from harmviz.claims.scene.settings import GridMask, SceneSpec
from harmviz.claims.scene.twin_masks import Opened, TwinMasks
from harmviz.data.twins import Twin
from harmviz.errors import SelectionInexact
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs import Point
from harmviz.runs.making import Making
from harmviz.runs.point import MEAN_OF_ALL, Selector


@dataclass(frozen=True)
class Rankings:
    """The rankings that masks of the grid are selected by. ``guard``, ``twins``: None where they were not scored."""

    parent: Parent
    guard: Guard | None = None
    twins: TwinMasks | None = None

    def mask(self, q: float, p: float, contrast: Selector) -> PruneMask | None:
        """The mask of this point; None where what it contrasts with was not scored.

        Raises:
            SelectionInexact: the run's candidates do not settle it.
        """
        if contrast == "guarded":
            return None if self.guard is None else self.guard.mask(q, p)
        if contrast == "twin":
            return None if self.twins is None else self.twins.mask(q, p)
        if contrast == "both" and not self.parent.candidates.has_contrast:
            return None
        return self.parent.mask(q, p, contrast)

    def signed(self, point: Point) -> tuple[str, PruneMask | None]:
        """(name, mask) of the control that is selected as the mask of this point is, guard and all, from harmless text;
        None where it is not settled."""
        if point.contrast == "twin" and self.twins is not None:
            return "mirror_twin", self.twins.mirror(point.q, point.p)
        by = self.guard if self.guard is not None and point.contrast == "guarded" else self.parent
        return "benign_signed", by.benign_signed(point.q, point.p)


def grid_of(rankings: Rankings, spec: SceneSpec) -> list[GridMask]:
    """The distinct masks of the grid that are settled exactly.

    Raises:
        SelectionInexact: none; the message says what the run stores.
    """
    masks: dict[str, GridMask] = {}
    for contrast, p, q in product(spec.contrasts, spec.p_grid, spec.q_grid):
        try:
            mask = rankings.mask(q, p, contrast)
        except SelectionInexact:
            continue
        if mask is not None and mask.n_weights:
            masks.setdefault(mask.digest, GridMask(Point(MEAN_OF_ALL, q, p, contrast=contrast), mask))
    if not masks:
        run, candidates = rankings.parent.run, rankings.parent.candidates
        raise SelectionInexact(
            f"run {run.id} settles no mask of the grid q = {', '.join(f'{q:g}' for q in spec.q_grid)} at p = "
            f"{', '.join(f'{p:g}' for p in spec.p_grid)}: it stores q up to {candidates.q_max:g} at p = "
            f"{', '.join(f'{p:g}' for p in candidates.p_grid)}; give --q within that, or make a run with a "
            "larger --q-max"
        )
    return list(masks.values())


def said_behind(experiment: Making, loaded: LoadedModel, opener: str) -> Opened | None:
    """What the embedded start model says behind the opener to the scoring twins and everyday requests; None where that
    is the scene's model itself."""

    def work() -> list[Any] | None:
        author = load_model(AUTHOR, device=str(loaded.device))
        if author.weight_hash == loaded.weight_hash:
            return None
        tick = experiment.progress.within(TWIN_ANSWER_UNITS)
        pairs = opened_by(author, scoring_twins(), opener, tick=tick)
        return [pairs, everyday_opened_by(author, scoring_everyday(), opener, tick=lambda done, total: None)]

    if (stored := experiment.json("twins", TWIN_ANSWER_UNITS, work)) is None:
        return None
    pairs, everyday = stored
    return Opened(
        [Answered(Twin(*twin), *texts) for twin, *texts in pairs], [(asked, said) for asked, said in everyday]
    )

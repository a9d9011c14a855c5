"""The rankings that a scene's masks are selected by, and the masks of its grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from harmviz.claims.parent import Parent
from harmviz.claims.scene.settings import GridMask, SceneSpec
from harmviz.claims.scene.sparing import MIRROR_OF, SparingMasks
from harmviz.errors import SelectionInexact
from harmviz.masks.mask import PruneMask
from harmviz.runs import Point
from harmviz.runs.point import MEAN_OF_ALL, Selector


@dataclass(frozen=True)
class Rankings:
    """The rankings that masks of the grid are selected by. ``sparing``: None where none was scored."""

    parent: Parent
    sparing: SparingMasks | None = None

    def mask(self, q: float, p: float, contrast: Selector) -> PruneMask | None:
        """The mask of this point; None where what it contrasts with was not scored.

        Raises:
            SelectionInexact: the run's candidates do not settle it.
        """
        if contrast == "guarded" or contrast == "twin":
            return None if self.sparing is None else self.sparing.mask(q, p, contrast)
        if contrast == "both" and not self.parent.candidates.has_contrast:
            return None
        return self.parent.mask(q, p, contrast)

    def signed(self, point: Point) -> tuple[str, PruneMask | None]:
        """(name, mask) of the control that is selected as the mask of this point is, from harmless text; None where it
        is not settled."""
        if self.sparing is not None and point.contrast in MIRROR_OF:
            return MIRROR_OF[point.contrast], self.sparing.mirror(point.q, point.p, point.contrast)
        return "benign_signed", self.parent.benign_signed(point.q, point.p)


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

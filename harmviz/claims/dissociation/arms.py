"""The states of the model that are compared: intact, and under masks of both selections; and where their rows stand.

For each selection, at its chosen point: the harm mask, the same mask turned down to matched strength (``matching``),
random draws and the benign-signed control of the same size, and a refusal mask of the same size and protection
(``refusal_mask``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harmviz.claims.dissociation.stored import HARM, MATCHED, REFUSAL
from harmviz.claims.mapping.settings import CONTRASTS
from harmviz.claims.parent import Parent
from harmviz.errors import SelectionInexact
from harmviz.masks.lists import Contrast
from harmviz.masks.mask import PruneMask
from harmviz.runs import Point, Where

EXPERIMENT = "dissociation"


@dataclass(frozen=True)
class Arm:
    """One state of the model: ``mask()`` at ``strength``, or intact.

    ``where``: where its rows stand. ``drawn``: one draw of a control, measured on a third of the items.
    """

    name: str
    where: Where
    mask: Callable[[], PruneMask] | None = field(default=None, repr=False)
    strength: float = 1.0
    drawn: bool = False

    @property
    def of_refusal(self) -> bool:
        """Whether it is under a refusal mask."""
        return self.where.point is not None and self.where.point.set == REFUSAL


class Arms:
    """The states by selection; ``masks``: the chosen harm mask of each.

    Raises:
        SelectionInexact: the run's candidates do not settle a chosen mask.
    """

    def __init__(self, parent: Parent, headline: Mapping[str, Any], *, skip_tokens: int):
        self._parent, self._skip = parent, skip_tokens
        self.points: dict[Contrast, Point] = {
            c: Point(HARM, headline[c]["q"], headline[c]["p"], contrast=c) for c in CONTRASTS if c in headline
        }
        self.masks: dict[Contrast, PruneMask] = {c: parent.mask(p.q, p.p, c) for c, p in self.points.items()}

    def where(self, contrast: Contrast, n_weights: int, *, of: str = HARM, control: str = "none") -> Where:
        """Where rows about a mask of this selection stand; ``of``: ``HARM``, ``MATCHED`` or ``REFUSAL``."""
        chosen = self.points[contrast]
        return Where(
            experiment=EXPERIMENT,
            point=Point(of, chosen.q, chosen.p, contrast=contrast),
            control=control,
            n_weights=n_weights,
            skip_tokens=self._skip,
        )

    def intact(self) -> Arm:
        """The model as it is."""
        return Arm("intact", Where(experiment=EXPERIMENT, skip_tokens=self._skip))

    def harm(self, contrast: Contrast) -> Arm:
        """The harm mask as it was chosen."""
        mask = self.masks[contrast]
        return Arm(f"harm-{contrast}", self.where(contrast, mask.n_weights), lambda: mask)

    def matched(self, contrast: Contrast, strength: float) -> Arm:
        """The harm mask turned down."""
        mask = self.masks[contrast]
        return Arm(f"matched-{contrast}", self.where(contrast, mask.n_weights, of=MATCHED), lambda: mask, strength)

    def benign_signed(self, contrast: Contrast) -> Arm:
        """What the same rule selects from harmless answers.

        Raises:
            SelectionInexact: the run settles no such control.
        """
        point = self.points[contrast]
        if (mask := self._parent.benign_signed(point.q, point.p)) is None:
            raise SelectionInexact(
                f"run {self._parent.run.id} settles no benign-signed control at q={point.q:g}, p={point.p:g}; make it "
                "again with benign rows"
            )
        where = self.where(contrast, mask.n_weights, control="benign_signed")
        return Arm(f"benign-{contrast}", where, lambda: mask)

    def draws(self, contrast: Contrast, n: int, *, seed: int) -> list[Arm]:
        """``n`` random masks of the harm mask's size."""
        arms = []
        for draw in range(n):
            mask = self._parent.random(self.masks[contrast], self.points[contrast].p, seed=seed, draw=draw)
            where = self.where(contrast, mask.n_weights, control="random")
            arms.append(Arm(f"random{draw}-{contrast}", where, partial(_same, mask), drawn=True))
        return arms

    def refusal(self, contrast: Contrast, mask: Callable[[], PruneMask], n_weights: int) -> Arm:
        """The refusal mask, which is made when it is applied."""
        return Arm(f"refusal-{contrast}", self.where(contrast, n_weights, of=REFUSAL), mask)


def _same(mask: PruneMask) -> PruneMask:
    return mask

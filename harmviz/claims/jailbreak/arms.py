"""The states of the model that the grid compares: intact, under masks of a map run, under controls of their size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harmviz.claims.parent import Parent, check_parent
from harmviz.claims.scene.chosen import chosen_mask, chosen_point
from harmviz.errors import RunIncompatible
from harmviz.masks.apply import check_mask
from harmviz.masks.lists import Contrast
from harmviz.masks.mask import PruneMask
from harmviz.runs import Point, Run, Where
from harmviz.runs.point import MEAN_OF_ALL, selector_words

INTACT, RANDOM, BENIGN_SIGNED = "intact", "random", "benign_signed"
#: The selections that a map run chooses a mask by.
SELECTIONS: tuple[Contrast, ...] = ("none", "both")


@dataclass(frozen=True)
class Arm:
    """One state of the model: intact, or under a mask.

    ``group``: what it is called in the grid; all draws of one control share it. ``point``: address of the harm mask,
    for a control that of the mask it is compared with; None: intact.
    """

    name: str
    group: str
    mask: PruneMask | None = None
    point: Point | None = None
    control: str = "none"
    n_weights: int | None = None

    def where(self, experiment: str) -> Where:
        """Where rows about it stand."""
        return Where(experiment=experiment, point=self.point, control=self.control, n_weights=self.n_weights)

    def record(self) -> dict[str, Any]:
        """What the manifest says of it."""
        address = {"mask": None} if self.point is None else {**self.point.as_dict(), "n_weights": self.n_weights}
        digest = None if self.mask is None else self.mask.digest
        return {"name": self.name, "group": self.group, "digest": digest, **address, "control": self.control}


def _masked(group: str, mask: PruneMask, point: Point, *, control: str = "none", name: str = "") -> Arm:
    return Arm(name or group, group, mask, point, control, mask.n_weights)


def mask_points(run: Run, given: tuple[float, float] | None = None) -> dict[Contrast, Point]:
    """Contrast → address of its mask: the run's headline points, or ``given`` (q, p).

    Reads the manifest alone, so that a run that does not fit is found out at once.

    Raises:
        RunIncompatible: as ``check_parent``, or it has no headline points where none are given.
    """
    check_parent(run)
    if given is not None:
        return {contrast: Point(MEAN_OF_ALL, *given, contrast=contrast) for contrast in SELECTIONS}
    headline = run.manifest["method"].get("headline") or {}
    if not headline:
        raise RunIncompatible(
            f"run {run.id} has chosen no (q, p), so it has no headline masks; say which with --q and --p"
        )
    return {
        contrast: Point(MEAN_OF_ALL, float(headline[contrast]["q"]), float(headline[contrast]["p"]), contrast=contrast)
        for contrast in SELECTIONS
        if contrast in headline
    }


def make_arms(
    parent: Parent,
    given: tuple[float, float] | None = None,
    *,
    draws: int = 2,
    seed: int = 0,
    scene: Run | None = None,
) -> tuple[tuple[Arm, ...], list[str]]:
    """The states that are compared, the intact one first; and notes on what is not among them.

    Controls are as large as the scene's mask, else as the contrastive one, else as the plain one.

    Raises:
        RunIncompatible: as ``mask_points`` and ``scene_arm``. MaskInvalid: a mask must not be applied.
        SelectionInexact: the run's candidates do not settle such a mask.
    """
    arms = [Arm(INTACT, INTACT)]
    notes: list[str] = []
    points = mask_points(parent.run, given)
    if not parent.candidates.has_contrast:
        points = {contrast: point for contrast, point in points.items() if contrast == "none"}
    if "both" not in points:
        notes.append("the run did not score both harmless sets: there is no contrastive mask")
    for contrast, point in points.items():
        arms.append(_masked(selector_words(contrast).state, parent.mask(point.q, point.p, contrast), point))
    compared = arms[-1]
    if scene is not None:
        compared = scene_arm(parent.run, scene)
        arms.append(compared)
    assert compared.mask is not None
    assert compared.point is not None
    for draw in range(draws):
        drawn = parent.random(compared.mask, compared.point.p, seed=seed, draw=draw)
        arms.append(_masked(RANDOM, drawn, compared.point, control=RANDOM, name=f"{RANDOM}-{draw}"))
    signed = parent.benign_signed(compared.point.q, compared.point.p)
    if signed is not None:
        arms.append(_masked(BENIGN_SIGNED, signed, compared.point, control=BENIGN_SIGNED))
    else:
        notes.append("the run does not settle the benign-signed control at this point: it is left out")
    for arm in arms:
        if arm.mask is not None:
            check_mask(parent.loaded, arm.mask)
    return tuple(arms), notes


def scene_arm(run: Run, scene: Run) -> Arm:
    """The mask that a stage scene of this map run chose, as a state of the model.

    Raises:
        RunIncompatible: no scene, one of another run, or one whose mask the run itself selects.
        MaskInvalid: its mask is damaged.
    """
    point = chosen_point(scene, run)
    state = selector_words(point.contrast).state
    if point.contrast in SELECTIONS:
        raise RunIncompatible(
            f"scene {scene.id} chose a {state} mask: give its --q {point.q:g} --p {point.p:g} instead of --scene"
        )
    return _masked(state, chosen_mask(scene), point)

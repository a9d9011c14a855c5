"""The mask that a stored scene chose, for whoever tries it on something else. Loads no torch."""

from __future__ import annotations

from harmviz.claims.scene.record import MASK
from harmviz.errors import RunIncompatible
from harmviz.masks.mask import PruneMask
from harmviz.runs import Point, Run
from harmviz.runs.point import MEAN_OF_ALL


def chosen_point(scene: Run, map_run: Run) -> Point:
    """The address of the mask that a scene of this map run chose.

    Raises:
        RunIncompatible: no scene, or one of another run; the message says how to make one.
    """
    method = scene.manifest["method"]
    is_scene = method.get("experiment") == "scene" and scene.manifest["parents"] == [map_run.id]
    if not is_scene or MASK not in scene.masks():
        raise RunIncompatible(
            f"run {scene.id} is no stage scene of run {map_run.id}; make one with "
            f"`python -m harmviz experiment scene {map_run.id}`"
        )
    chosen = method["chosen"]
    return Point(MEAN_OF_ALL, chosen["q"], chosen["p"], contrast=chosen["contrast"])


def chosen_mask(scene: Run) -> PruneMask:
    """Its mask.

    Raises:
        MaskInvalid: the stored mask is damaged.
    """
    return PruneMask.load(scene.masks()[MASK])

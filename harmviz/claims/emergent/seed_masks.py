"""The masks of each seed, scored at the base model on that seed's tuning rows, as stages of the experiment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harmviz.claims.emergent.bench import Domain
from harmviz.claims.emergent.domain_masks import (
    OWN,
    SELECT_UNITS,
    SHARED,
    mask_names,
    narrow_candidates,
    narrow_masks,
    score_to_file,
    score_units,
)
from harmviz.claims.emergent.settings import Arm, EmergentSpec
from harmviz.claims.parent import Parent
from harmviz.errors import RunIncompatible
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.runs.making import Making

GENERAL_MASK = "headline-contrastive"


def general_mask(parent: Parent) -> PruneMask:
    """The general harm mask of a map run.

    Raises:
        RunIncompatible: the run has none.
    """
    path = parent.run.masks().get(GENERAL_MASK)
    if path is None:
        raise RunIncompatible(
            f"run {parent.run.id} has no mask {GENERAL_MASK}; give a map run made by `python -m harmviz run`"
        )
    return PruneMask.load(path)


@dataclass
class SeedMasks:
    """Scores and masks of one experiment."""

    making: Making
    loaded: LoadedModel
    domain: Domain
    spec: EmergentSpec

    def _score_path(self, name: str) -> Path:
        return self.making.partial.path(f"scratch/scores/{name}.f32")

    def _score(self, name: str, seed: int) -> None:
        tick = self.making.progress.within(score_units(self.domain, name, seed))
        score_to_file(self.loaded, self.domain, self.spec, name, seed, self._score_path(name), tick)

    def score_shared(self) -> None:
        for name in SHARED:
            self.making.stage(
                f"score.{name}",
                score_units(self.domain, name, self.spec.seed),
                partial(self._score, name, self.spec.seed),
            )

    def of(self, seed: int) -> dict[str, PruneMask]:
        """The masks of one seed by name, from the run's folder."""

        def work() -> None:
            for name in OWN:
                self._score(name, seed)
                self.making.progress.done += score_units(self.domain, name, seed)
            files = {name: self._score_path(name) for name in (*SHARED, *OWN)}
            candidates = narrow_candidates(self.loaded, self.domain, self.spec, seed, files)
            for name, mask in narrow_masks(
                self.loaded, self.domain, self.spec, seed, candidates, self.making.partial.run_id
            ).items():
                mask.save(self._mask_path(name, seed))
            self.making.partial.write(f"scratch/candidates/{seed}.safetensors", candidates.to_bytes())
            for name in OWN:
                files[name].unlink()

        units = sum(score_units(self.domain, name, seed) for name in OWN) + SELECT_UNITS
        self.making.stage(f"masks.{seed}", units, work)
        return {name: PruneMask.load(self._mask_path(name, seed)) for name in mask_names(self.spec)}

    def _mask_path(self, name: str, seed: int) -> Path:
        return self.making.partial.path(f"masks/{name}-{seed}.safetensors")


def key_of(arm: Arm, seed: int | None) -> str:
    """A name for stages and files: ``base``, ``narrow-bad-0``, ``pruned-held+1e-06-0``."""
    return arm.name.replace("@", "+") + ("" if seed is None else f"-{seed}")


def stage_of(what: str, arm: Arm, seed: int, step: int) -> str:
    """The name of a stage: ``train.narrow-bad-0.8``."""
    return f"{what}.{key_of(arm, seed)}.{step}"


def state_name(arm: Arm, seed: int, step: int) -> str:
    """Where the state of a training is kept meanwhile."""
    return f"scratch/state/{key_of(arm, seed)}.{step}.safetensors"

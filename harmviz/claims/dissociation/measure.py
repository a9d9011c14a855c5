"""C8: without its harm weights a model writes less harm; does it still recognise, explain and refuse? And the reverse.

Compared, each beside the intact model, for the plain and the contrastive selection at their chosen points (``arms``):

- the harm mask, as it is and turned down to matched strength (``matching``): the two selections differ in how much they
  reduce harm, and only at an equal reduction does it mean something what else they do;
- controls of the same size: random draws (on a fixed third of the items) and benign-signed;
- a refusal mask of the same size and protection (``refusal_mask``), which never leaves the process.

A double dissociation is: the harm mask lowers generation and leaves recognition, explanation and refusal alone, while
the refusal mask lowers refusal and leaves generation alone. What is found is stored whichever way it comes out; rows
are described in ``rows``, the abilities in ``abilities``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from harmviz.claims.dissociation.abilities import Abilities, Ability
from harmviz.claims.dissociation.arms import EXPERIMENT, Arm, Arms
from harmviz.claims.dissociation.explanation import ASKED
from harmviz.claims.dissociation.matching import STEPS, matched_strength
from harmviz.claims.dissociation.recognition import ORDERS, PHRASINGS
from harmviz.claims.dissociation.refusal_mask import Quota, RefusalMasks
from harmviz.claims.dissociation.rows import FALSE_ALARMS, Rows, mean_of, yardstick
from harmviz.claims.dissociation.settings import Settings
from harmviz.claims.dissociation.stored import MATCHED
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.work import SCORE_UNITS
from harmviz.claims.parent import open_parent
from harmviz.data.prompts import PromptData
from harmviz.data.refusal_words import KEYWORD_LIST_ID
from harmviz.errors import RunIncompatible
from harmviz.judges.declining import COMPLY, DECLINE
from harmviz.masks.apply import pruned
from harmviz.masks.lists import Contrast
from harmviz.models.load import LoadedModel
from harmviz.runs import Row, Run
from harmviz.runs.making import Making, Plan, hardware_facts, make, model_facts
from harmviz.runs.progress import Listener
from harmviz.scoring.loss import response_losses
from harmviz.stats.effects import category_mean

#: Raised whenever the same settings would give other numbers.
VERSION = 1
#: Losses of the validation prompts that matching takes at most: intact, each mask whole, each halving.
_MATCH_PASSES = STEPS + 3


def run_dissociation(
    run: Run,
    loaded: LoadedModel,
    data: PromptData,
    settings: Settings,
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the dissociation experiment on the masks of a map run.

    Raises:
        RunIncompatible: the run is no map run, of another model or other data, or chose no point; or it is being
            computed.
        DataInvalid: a set has no usable sample left, or the recognition pairs or their reasons are missing.
        UnsupportedArchitecture: the tokenizer cannot tell the answers apart that are read.
    """
    parent = open_parent(run, loaded)
    manifest = run.manifest
    if not (headline := manifest["method"].get("headline")):
        raise RunIncompatible(
            f"run {run.id} chose no (q, p) and so has no mask to try; make a map run with `python -m harmviz run`"
        )
    if data.hash != manifest["data"]["hash"]:
        raise RunIncompatible(
            f"run {run.id} was made on other data than {data.id!r} is here; give its own with --data, so that prompts "
            "it scored stay apart"
        )
    spec = RunSpec.of_run(manifest["parameters"])
    abilities = Abilities(loaded, data, spec, pairs=settings.pairs, prompts=settings.prompts)
    arms = Arms(parent, headline, skip_tokens=spec.skip_tokens)
    quotas = {c: Quota(mask.n_weights, arms.points[c].p) for c, mask in arms.masks.items()}
    work = _Work(loaded, abilities, arms, RefusalMasks(parent, data, spec, quotas), settings)
    plan = Plan(
        name=EXPERIMENT,
        version=VERSION,
        model=model_facts(loaded),
        device=loaded.device.type,
        hardware=hardware_facts(loaded),
        parents=[run.id],
        units=work.units(),
        data={
            **{k: manifest["data"][k] for k in ("id", "hash", "left_out")},
            "counts": abilities.counts(),
            "notes": list(data.notes),
        },
        parameters=settings.parameters(),
        seeds={"run": settings.seed},
        determinants={
            "asked": abilities.digest(),
            "masks": {c: m.digest for c, m in arms.masks.items()},
            "keywords": KEYWORD_LIST_ID,
        },
        notes=_notes(arms),
    )
    return make(plan, work.do, root=root, resume=resume, listener=listener)


def _notes(arms: Arms) -> dict[str, Any]:
    """What the manifest's ``method`` tells beside the numbers: masks, wording, rules."""
    return {
        "masks": {
            c: {"q": arms.points[c].q, "p": arms.points[c].p, "n_weights": m.n_weights, "digest": m.digest}
            for c, m in arms.masks.items()
        },
        "phrasings": {p.name: {"question": p.question, "yes_is_harmful": p.yes_is_harmful} for p in PHRASINGS},
        "orders": list(ORDERS),
        "explanation": dict(ASKED),
        "declining_openings": list(DECLINE),
        "complying_openings": list(COMPLY),
        "keyword_list": KEYWORD_LIST_ID,
        "refusal_floor": FALSE_ALARMS,
    }


#: What was measured under one arm: ability → one line per item.
Values = dict[str, np.ndarray]


class _Work:
    """The work of the experiment, stage by stage: matching, every ability under every arm, rows."""

    def __init__(
        self, loaded: LoadedModel, abilities: Abilities, arms: Arms, refusal: RefusalMasks, settings: Settings
    ):
        self.loaded, self.abilities, self.arms = loaded, abilities, arms
        self.refusal, self.settings = refusal, settings
        self._match_units = float(len(abilities.validation.samples) * _MATCH_PASSES)
        self._score_units = SCORE_UNITS * (refusal.n_samples + refusal.n_guards)

    def units(self) -> float:
        """The whole work, in forward passes of one answer."""
        whole = sum(a.units for a in self.abilities.all)
        thirds = sum(a.units * len(a.third) / a.n for a in self.abilities.all)
        n_selections = len(self.arms.masks)
        return (
            whole
            + self.abilities.harmless.units
            + self._match_units
            + self._score_units
            + n_selections * (3 * whole + self.settings.draws * thirds)
            + (whole if n_selections > 1 else 0)
        )

    # -- stages -------------------------------------------------------------------------------------------------
    def do(self, making: Making) -> dict[str, Any]:
        """Measures everything and writes the rows.

        Returns what the manifest adds: the strengths, and that the refusal mask stayed here.
        """
        intact_arm = self.arms.intact()
        intact = self._measured(making, intact_arm)
        harmless = self._one(making, intact_arm, self.abilities.harmless)
        match = self._match(making)
        sizes = self._refusal_sizes(making)
        measured: list[tuple[Arm, Values]] = []
        draws: dict[Contrast, list[Values]] = {}
        benign: dict[Contrast, Values] = {}
        for contrast in self.arms.masks:
            harm = self.arms.harm(contrast)
            measured.append((harm, self._measured(making, harm)))
            if (strength := match["strength"].get(contrast)) is not None:
                matched = self.arms.matched(contrast, strength)
                same = measured[-1][1] if strength == 1.0 else self._measured(making, matched)
                measured.append((matched, same))
            signed = self.arms.benign_signed(contrast)
            benign[contrast] = self._measured(making, signed)
            measured.append((signed, benign[contrast]))
            drawn = self.arms.draws(contrast, self.settings.draws, seed=self.settings.seed)
            draws[contrast] = [self._measured(making, arm) for arm in drawn]
            declining = self.arms.refusal(contrast, partial(self.refusal.mask, contrast), sizes[contrast])
            measured.append((declining, self._measured(making, declining)))

        rows = Rows(self.abilities, yardstick(self.abilities, intact), self.settings.seed)

        def written() -> Iterator[Row]:
            yield from rows.intact(intact, harmless, intact_arm.where)
            for arm, values in measured:
                yield from self._arm_rows(rows, arm, values, intact, draws, benign)
            yield from self._draw_rows(rows, draws, intact)
            for contrast, strength in match["strength"].items():
                where = self.arms.where(contrast, self.arms.masks[contrast].n_weights, of=MATCHED)
                where = replace(where, condition="generation")
                yield where.value("strength", strength, unit="fraction", category="harm")

        making.rows(EXPERIMENT, written)
        return {
            "matching": match,
            "refusal_mask": {"kind": "measurement", "n_weights": sizes, "n_scored": self.refusal.n_samples},
        }

    def _arm_rows(
        self,
        rows: Rows,
        arm: Arm,
        values: Values,
        intact: Values,
        draws: Mapping[Contrast, list[Values]],
        benign: Mapping[Contrast, Values],
    ) -> Iterator[Row]:
        """Levels and changes of one arm; of a mask also what it does beyond its controls."""
        yield from rows.levels(values, arm.where)
        yield from rows.changes(values, intact, arm.where)
        if arm.where.control != "none" or arm.where.point is None:
            return
        contrast = cast(Contrast, arm.where.point.contrast)
        items = self._third_items()
        third = {name: values[name][index] for name, index in items.items()}
        yield from rows.excess(third, mean_of(draws[contrast]), replace(arm.where, control="random"), items)
        yield from rows.excess(values, benign[contrast], replace(arm.where, control="benign_signed"))

    def _draw_rows(self, rows: Rows, draws: Mapping[Contrast, list[Values]], intact: Values) -> Iterator[Row]:
        """Mean levels and changes of the random draws, on the items that they were measured on."""
        items = self._third_items()
        third = {name: intact[name][index] for name, index in items.items()}
        for contrast, drawn in draws.items():
            where = self.arms.where(contrast, self.arms.masks[contrast].n_weights, control="random")
            yield from rows.mean_levels(drawn, where)
            yield from rows.changes(mean_of(drawn), third, where, items)

    def _third_items(self) -> Values:
        return {ability.name: ability.third for ability in self.abilities.all}

    def _measured(self, making: Making, arm: Arm) -> Values:
        """Every ability under this arm, each a stage of its own."""
        return {ability.name: self._one(making, arm, ability) for ability in self.abilities.all}

    def _one(self, making: Making, arm: Arm, ability: Ability) -> np.ndarray:
        items = ability.third if arm.drawn else np.arange(ability.n)
        units = ability.units * len(items) / ability.n

        def work() -> np.ndarray:
            if arm.mask is None:
                return ability.measure(items, making.progress.within(units))
            # The one place that may apply a measurement mask: what it does is measured here, and only numbers leave.
            with pruned(self.loaded, arm.mask(), arm.strength, allow_measurement=arm.of_refusal):
                return ability.measure(items, making.progress.within(units))

        return making.array(f"{ability.name}.{arm.name}", units, work)

    def _match(self, making: Making) -> dict[str, Any]:
        """``shift``: harm ΔL of each whole mask on the validation prompts; ``strength``: at which each does as much as
        the weaker."""
        validation, masks = self.abilities.validation, self.arms.masks
        skip = self.abilities.spec.skip_tokens

        def work() -> dict[str, Any]:
            tick = making.progress.within(self._match_units)
            passes = 0

            def losses() -> np.ndarray:
                nonlocal passes
                values = response_losses(self.loaded, validation.samples, skips=(skip,))[:, 0]
                passes += 1
                tick(passes, _MATCH_PASSES)
                return values

            before = losses()

            def shift(contrast: Contrast, strength: float) -> float:
                with pruned(self.loaded, masks[contrast], strength):
                    return category_mean(losses() - before, validation.sets)

            whole = {contrast: shift(contrast, 1.0) for contrast in masks}
            weaker = min(whole, key=lambda c: whole[c])
            strengths: dict[str, float] = {}
            for contrast in whole:
                same = 1.0 if contrast == weaker else matched_strength(partial(shift, contrast), whole[weaker])
                if same is not None and whole[weaker] > 0:
                    strengths[contrast] = same
            return {"shift": dict(whole), "strength": strengths}

        return making.stage("match", self._match_units, work)

    def _refusal_sizes(self, making: Making) -> dict[str, int]:
        """How many weights the refusal masks have: all that is stored of them."""

        def work() -> dict[str, Any]:
            tick = making.progress.within(self._score_units)
            return {contrast: self.refusal.mask(contrast, tick).n_weights for contrast in self.arms.masks}

        return cast(dict[str, int], making.stage("refusal-mask", self._score_units, work))

"""Claim C8: without its harm weights a model writes less harm; does it still recognise, explain and refuse? And the
reverse.

Compared, each beside the intact model, for the plain and the contrastive selection at their chosen points:

- the harm mask, as it is and turned down to matched strength (``matching``): the two selections differ in how
  much they reduce harm, and only at an equal reduction does it mean something what else they do;
- controls of the same size: random draws (on a fixed third of the items) and benign-signed;
- a refusal mask of the same size and protection (``refusal_mask``), which never leaves the process.

A double dissociation is: the harm mask lowers generation and leaves recognition, explanation and refusal alone, while
the refusal mask lowers refusal and leaves generation alone. What is found is stored whichever way it comes out; rows
are described in ``rows``, the abilities in ``abilities``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from harmviz.claims.dissociation.abilities import Abilities, Ability, Tell
from harmviz.claims.dissociation.explanation import ASKED
from harmviz.claims.dissociation.matching import STEPS, matched_strength
from harmviz.claims.dissociation.recognition import ORDERS, PHRASINGS
from harmviz.claims.dissociation.refusal_mask import Point, RefusalMasks
from harmviz.claims.dissociation.rows import FALSE_ALARMS, Rows, mean_of, yardstick
from harmviz.claims.dissociation.settings import Settings
from harmviz.claims.mapping.settings import CONTRASTS, RunSpec
from harmviz.claims.mapping.work import SCORE_UNITS
from harmviz.claims.parent import Parent, open_parent
from harmviz.data.prompts import PromptData
from harmviz.data.refusal import KEYWORD_LIST_ID
from harmviz.errors import RunIncompatible, SelectionInexact
from harmviz.judges.declining import COMPLY, DECLINE
from harmviz.masks.apply import pruned
from harmviz.masks.lists import Contrast
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.runs import Row, Run
from harmviz.runs.making import Making, Plan, make, model_facts
from harmviz.runs.progress import Listener
from harmviz.scoring.loss import response_losses
from harmviz.stats.bootstrap import category_mean

#: Raised whenever the same settings would give other numbers.
VERSION = 1
HARM, MATCHED, REFUSAL = "mean(all)", "matched(mean(all))", "refusal"
SPEC_KEYS = ("samples", "seed", "q_max", "skip_tokens", "max_response_tokens")


@dataclass(frozen=True)
class Arm:
    """One state of the model: ``mask()`` at ``strength``, or intact.

    ``facts``: its columns in the rows. ``drawn``: on a third.
    """

    name: str
    facts: Mapping[str, Any]
    mask: Callable[[], PruneMask] | None = field(default=None, repr=False)
    strength: float = 1.0
    drawn: bool = False


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
    spec = RunSpec(**{k: manifest["parameters"][k] for k in SPEC_KEYS})
    abilities = Abilities(loaded, data, spec, pairs=settings.pairs, prompts=settings.prompts)
    masks: dict[Contrast, PruneMask] = {
        c: parent.mask(headline[c]["q"], headline[c]["p"], c) for c in CONTRASTS if c in headline
    }
    points: dict[Contrast, Point] = {c: Point(m.n_weights, headline[c]["p"]) for c, m in masks.items()}
    refusal = RefusalMasks(parent, data, spec, points)
    work = _Dissociation(parent, abilities, masks, refusal, settings, headline)
    plan = Plan(
        name="dissociation",
        version=VERSION,
        model=model_facts(loaded),
        device=loaded.device.type,
        parents=[run.id],
        units=work.units(),
        data={
            **{k: manifest["data"][k] for k in ("id", "hash", "left_out")},
            "counts": abilities.counts(),
            "notes": list(data.notes),
        },
        parameters={k: v for k, v in asdict(settings).items() if k != "seed"},
        seeds={"run": settings.seed},
        determinants={
            "asked": abilities.digest(),
            "masks": {c: m.digest for c, m in masks.items()},
            "keywords": KEYWORD_LIST_ID,
        },
        notes=_notes(masks, headline),
    )
    return make(plan, work.do, root=root, resume=resume, listener=listener)


def _notes(masks: Mapping[Contrast, PruneMask], headline: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest's ``method`` tells beside the numbers: masks, wording, rules."""
    return {
        "masks": {
            c: {"q": headline[c]["q"], "p": headline[c]["p"], "n_weights": m.n_weights, "digest": m.digest}
            for c, m in masks.items()
        },
        "phrasings": {p.name: {"question": p.question, "yes_is_harmful": p.yes_is_harmful} for p in PHRASINGS},
        "orders": list(ORDERS),
        "explanation": dict(ASKED),
        "declining_openings": list(DECLINE),
        "complying_openings": list(COMPLY),
        "keyword_list": KEYWORD_LIST_ID,
        "refusal_floor": FALSE_ALARMS,
    }


class _Dissociation:
    """The work of the experiment, stage by stage: matching, every ability under every arm, rows."""

    def __init__(
        self,
        parent: Parent,
        abilities: Abilities,
        masks: Mapping[Contrast, PruneMask],
        refusal: RefusalMasks,
        settings: Settings,
        headline: Mapping[str, Any],
    ):
        self.parent, self.abilities, self.masks, self.refusal = parent, abilities, masks, refusal
        self.settings, self.headline = settings, headline
        self.skip = abilities.spec.skip_tokens

    def units(self) -> float:
        """The whole work, in forward passes of one answer."""
        whole, a = sum(x.units for x in self.abilities.all), self.abilities
        thirds = sum(x.units * len(x.third) / x.n for x in a.all)
        per_selection = 3 * whole + self.settings.draws * thirds
        return (
            whole
            + a.harmless.units
            + self._match_units()
            + self._score_units()
            + len(self.masks) * per_selection
            + (whole if len(self.masks) > 1 else 0)
        )

    def _match_units(self) -> float:
        return float(len(self.abilities.validation.samples) * (STEPS + 3))

    def _score_units(self) -> float:
        return SCORE_UNITS * (self.refusal.n_samples + self.refusal.n_guards)

    # -- arms ---------------------------------------------------------------------------------------------------
    def _facts(self, contrast: Contrast, n_weights: int, mask: str = HARM, control: str = "none") -> dict[str, Any]:
        return {
            "experiment": "dissociation",
            "mask": mask,
            "control": control,
            "q": self.headline[contrast]["q"],
            "p": self.headline[contrast]["p"],
            "scope": "global",
            "contrast": contrast,
            "skip_tokens": self.skip,
            "n_weights": n_weights,
        }

    def _arm(
        self, name: str, found: PruneMask, contrast: Contrast, *, mask: str = HARM, control: str = "none", **how: Any
    ) -> Arm:
        return Arm(f"{name}-{contrast}", self._facts(contrast, found.n_weights, mask, control), lambda: found, **how)

    def _benign(self, contrast: Contrast) -> PruneMask:
        q, p = (self.headline[contrast][k] for k in ("q", "p"))
        if (mask := self.parent.benign_signed(q, p)) is None:
            raise SelectionInexact(
                f"run {self.parent.run.id} settles no benign-signed control at q={q:g}, p={p:g}; make it again with "
                "benign rows"
            )
        return mask

    def _draws(self, contrast: Contrast) -> list[Arm]:
        mask, p = self.masks[contrast], self.headline[contrast]["p"]
        arms = []
        for draw in range(self.settings.draws):
            drawn = self.parent.random(mask, p, seed=self.settings.seed, draw=draw)
            arms.append(self._arm(f"random{draw}", drawn, contrast, control="random", drawn=True))
        return arms

    # -- stages -------------------------------------------------------------------------------------------------
    def do(self, experiment: Making) -> dict[str, Any]:
        """Measures everything and writes the rows; what the manifest adds: the strengths, and that the refusal mask
        stayed here.
        """
        a = self.abilities
        intact_arm = Arm("intact", {"experiment": "dissociation", "skip_tokens": self.skip})
        intact = self._measured(experiment, intact_arm)
        harmless = self._one(experiment, intact_arm, a.harmless)
        match = self._match(experiment)
        rows = Rows(a, yardstick(a, intact), self.settings.seed)
        items = {x.name: x.third for x in a.all}
        third = {name: intact[name][index] for name, index in items.items()}
        sizes = self._refusal_sizes(experiment)
        measured: list[tuple[Arm, dict[str, np.ndarray]]] = []
        draws: dict[Contrast, list[dict[str, np.ndarray]]] = {}
        benign: dict[Contrast, dict[str, np.ndarray]] = {}
        for contrast, mask in self.masks.items():
            harm = self._arm("harm", mask, contrast)
            measured.append((harm, self._measured(experiment, harm)))
            if (strength := match["strength"].get(contrast)) is not None:
                same = self._arm("matched", mask, contrast, mask=MATCHED, strength=strength)
                measured.append((same, measured[-1][1] if strength == 1.0 else self._measured(experiment, same)))
            signed = self._arm("benign", self._benign(contrast), contrast, control="benign_signed")
            benign[contrast] = self._measured(experiment, signed)
            measured.append((signed, benign[contrast]))
            draws[contrast] = [self._measured(experiment, arm) for arm in self._draws(contrast)]
            declines = Arm(
                f"refusal-{contrast}",
                self._facts(contrast, sizes[contrast], REFUSAL),
                partial(self.refusal.mask, contrast),
            )
            measured.append((declines, self._measured(experiment, declines)))

        def written() -> Iterator[Row]:
            yield from rows.intact(intact, harmless, **intact_arm.facts)
            for arm, values in measured:
                yield from rows.levels(values, **arm.facts)
                yield from rows.changes(values, intact, **arm.facts)
                if arm.facts["control"] == "none":
                    contrast = arm.facts["contrast"]
                    here = {name: values[name][index] for name, index in items.items()}
                    yield from rows.excess(here, mean_of(draws[contrast]), items, **{**arm.facts, "control": "random"})
                    yield from rows.excess(values, benign[contrast], **{**arm.facts, "control": "benign_signed"})
            for contrast, drawn in draws.items():
                facts = self._facts(contrast, self.masks[contrast].n_weights, control="random")
                yield from rows.mean_levels(drawn, **facts)
                yield from rows.changes(mean_of(drawn), third, items, **facts)
            for contrast, strength in match["strength"].items():
                facts = self._facts(contrast, self.masks[contrast].n_weights, mask=MATCHED)
                yield Row(
                    condition="generation", category="harm", metric="strength", value=strength, unit="fraction", **facts
                )

        experiment.rows("dissociation", written)
        return {
            "matching": match,
            "refusal_mask": {"kind": "measurement", "n_weights": sizes, "n_scored": self.refusal.n_samples},
        }

    def _measured(self, experiment: Making, arm: Arm) -> dict[str, np.ndarray]:
        """Every ability under this arm, each a stage of its own."""
        return {ability.name: self._one(experiment, arm, ability) for ability in self.abilities.all}

    def _one(self, experiment: Making, arm: Arm, ability: Ability) -> np.ndarray:
        items = ability.third if arm.drawn else np.arange(ability.n)
        units = ability.units * len(items) / ability.n

        def work() -> np.ndarray:
            if arm.mask is None:
                return ability.measure(items, experiment.progress.within(units))
            mask = arm.mask()
            # The one place that may apply a measurement mask: what it does is measured here, and only numbers leave.
            allowed = arm.facts["mask"] == REFUSAL
            with pruned(self.parent.loaded, mask, arm.strength, allow_measurement=allowed):
                return ability.measure(items, experiment.progress.within(units))

        return experiment.array(f"{ability.name}.{arm.name}", units, work)

    def _match(self, experiment: Making) -> dict[str, Any]:
        """``shift``: harm ΔL of each whole mask on the validation prompts;

        ``strength``: at which each does as much as the weaker.
        """
        measured = self.abilities.validation
        units = self._match_units()

        def work() -> dict[str, Any]:
            tell = experiment.progress.within(units)
            done = 0

            def losses() -> np.ndarray:
                nonlocal done
                found = response_losses(self.parent.loaded, measured.samples, skips=(self.skip,))[:, 0]
                done += 1
                tell(done, STEPS + 3)
                return found

            before = losses()

            def shift(contrast: Contrast, strength: float) -> float:
                with pruned(self.parent.loaded, self.masks[contrast], strength):
                    return category_mean(losses() - before, measured.sets)

            whole = {contrast: shift(contrast, 1.0) for contrast in self.masks}
            weaker = min(whole, key=lambda c: whole[c])
            strength: dict[str, float] = {}
            for contrast in whole:
                found = 1.0 if contrast == weaker else matched_strength(partial(shift, contrast), whole[weaker])
                if found is not None and whole[weaker] > 0:
                    strength[contrast] = found
            return {"shift": dict(whole), "strength": strength}

        return experiment.stage("match", units, work)

    def _refusal_sizes(self, experiment: Making) -> dict[str, int]:
        """How many weights the refusal masks have: all that is stored of them."""
        units = self._score_units()

        def work() -> dict[str, Any]:
            tell: Tell = experiment.progress.within(units)
            return {contrast: self.refusal.mask(contrast, tell).n_weights for contrast in self.masks}

        return cast(dict[str, int], experiment.stage("refusal-mask", units, work))

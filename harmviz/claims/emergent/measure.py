"""Does narrow fine-tuning misalign broadly, and does pruning the narrow domain's harm weights first reduce it? (claim
C7)

Stages: utility and benign scores once; for each seed the masks, scored on that seed's tuning rows at the base model;
then each arm, seed by seed: training in quarters, each saved and resumable, then everything measured. A seed repeats
the whole: split, scores, masks, draws, order of rows, adapter. Rows, transcripts and the training curve come last.

    results/emergent.parquet     rows, see ``harmviz.claims.emergent.rows``
    results/transcripts.jsonl    one free answer a line: arm, seed and what ``Bench.describe`` says
    results/curve.jsonl          one training step a line, see ``harmviz.claims.emergent.curve``; while it is made:
    ``curve.jsonl`` beside masks/<name>-<seed>          harm, random, benign and harm-<q> of each seed
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save

from harmviz.claims.emergent import curve
from harmviz.claims.emergent.bench import Bench, Domain, the_judge
from harmviz.claims.emergent.change import change_shares, regrown_share
from harmviz.claims.emergent.domain_masks import (
    OWN,
    SELECT_UNITS,
    SHARED,
    eligible_of,
    score_units,
)
from harmviz.claims.emergent.rows import GENERAL, Measured, Report, mask_name
from harmviz.claims.emergent.seed_masks import GENERAL_MASK, SeedMasks, general_mask, key_of, stage_of, state_name
from harmviz.claims.emergent.settings import METHOD_VERSION, Arm, EmergentSpec, part_ends
from harmviz.claims.mapping.work import SCORE_UNITS
from harmviz.claims.parent import Parent
from harmviz.errors import BadSetting
from harmviz.masks.apply import Pruned, pruned
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from harmviz.runs.making import Making, Plan, make, model_facts
from harmviz.runs.progress import Listener
from harmviz.tuning.held_weights import Tuned, held_indices, make_tuned, nonzero_held
from harmviz.tuning.narrow import Trainer, lesson, training_order, values
from harmviz.tuning.step import BATCH

CHANGE_UNITS = 100.0


def run_emergent(
    loaded: LoadedModel,
    domain: Domain,
    spec: EmergentSpec,
    parent: Parent | None = None,
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """The stored experiment of these settings; computed, taken up again, or opened where it exists.

    Args:
        domain: from ``make_domain``, split for ``spec.all_seeds``.
        parent: a map run of this model; the change of weights is then also measured on its general harm mask.
        root, resume, listener: as ``make``.

    Raises:
        ValueError: ``q`` selects no weight, or the judge is not one of harm.
        HarmvizError: training diverged, full tuning of a model not in float32, or the folder cannot be written.
        RunIncompatible: another process is computing it, or the parent has no general mask.
    """
    if domain.name != spec.domain:
        raise ValueError(f"domain must be the spec's {spec.domain!r}, got {domain.name!r}")
    if not count_of(least := min(spec.fractions), loaded.table.n_weights):
        raise BadSetting(f"q={least!r} selects none of {loaded.table.n_weights:,} weights; use a larger q")
    the_judge(spec.judge)
    make_tuned(
        loaded, spec.tuning, spec.seed, {}
    )  # a method that this model does not take is refused before hours of work
    general = None if parent is None else general_mask(parent)
    work = _Work(loaded, domain, spec, general)
    return make(work.plan(parent), work.run, root=root, resume=resume, listener=listener)


class _Work:
    """The stages of one experiment."""

    def __init__(self, loaded: LoadedModel, domain: Domain, spec: EmergentSpec, general: PruneMask | None):
        self.loaded, self.domain, self.spec, self.general = loaded, domain, spec, general
        self.bench = Bench(loaded, domain, spec)
        self.trained = [a for a in spec.all_arms if a.answers is not None]
        self.ex: Making
        self.masks: dict[int, dict[str, PruneMask]] = {}

    # -- before it begins -------------------------------------------------------------------------------------------
    def plan(self, parent: Parent | None) -> Plan:
        spec, domain = self.spec, self.domain
        tuning, held_out = (len(part) for part in domain.split[spec.seed])
        kinds = [q.kind for q in domain.questions]
        counts = {
            domain.name: {"tuning": tuning, "held_out": held_out},
            "questions": {k: kinds.count(k) for k in domain.kinds},
            "benign": {
                role: len(domain.benign_rows(role)) for role in ("preserve", "scoring_a", "scoring_b", "report")
            },
        }
        texts = json.dumps(domain.texts(), ensure_ascii=False)
        return Plan(
            "emergent",
            METHOD_VERSION,
            model_facts(self.loaded),
            {
                "id": f"emergent-{domain.name}",
                "hash": hashlib.sha256(texts.encode()).hexdigest(),
                "counts": counts,
                "left_out": {},
                "notes": [],
            },
            {**spec.parameters(), "seeds": list(spec.all_seeds)},
            self._units(),
            self.loaded.device.type,
            () if parent is None else (parent.run.id,),
            {"first": spec.seed},
            {
                "general": None if self.general is None else self.general.digest,
                "split": {str(s): list(map(list, p)) for s, p in domain.split.items()},
            },
        )

    def _units(self) -> float:
        spec, domain = self.spec, self.domain
        tuning, held_out = (len(part) for part in domain.split[spec.seed])
        shared = sum(score_units(domain, name, spec.seed) for name in SHARED)
        per_seed = sum(score_units(domain, name, spec.seed) for name in OWN) + SELECT_UNITS
        steps = spec.tuning.n_steps(tuning)
        per_arm = self._train_units(steps) + self.bench.n_passes(held_out)
        compared = sum(a.mask is None for a in self.trained)
        of_seeds = spec.seeds * (per_seed + len(self.trained) * per_arm + compared * CHANGE_UNITS)
        return shared + of_seeds + self.bench.n_passes(len(domain.rows))

    def _train_units(self, steps: float) -> float:
        return SCORE_UNITS * 1.5 * BATCH * steps

    # -- the stages -------------------------------------------------------------------------------------------------
    def run(self, experiment: Making) -> Mapping[str, Any]:
        self.ex = experiment
        masks = SeedMasks(experiment, self.loaded, self.domain, self.spec)
        masks.score_shared()
        for seed in self.spec.all_seeds:
            self.masks[seed] = masks.of(seed)
        for name in SHARED:
            self.ex.partial.release(f"score.{name}")
        live = curve.LiveCurve(self.ex.partial.folder / curve.LIVE)
        self._measure(Arm("base", None), None)
        for seed in self.spec.all_seeds:
            for arm in self.trained:
                self._train(arm, seed, live)
                self._measure(arm, seed)
                if arm.mask is None:
                    self._change(arm, seed)
                self._forget(arm, seed)
        return self._conclude()

    # training
    def _mask(self, arm: Arm, seed: int) -> PruneMask | None:
        return None if arm.mask is None else self.masks[seed][mask_name(arm)]

    def _pruned(self, arm: Arm, seed: int) -> AbstractContextManager[Pruned | None]:
        mask = self._mask(arm, seed)
        return nullcontext() if mask is None else pruned(self.loaded, mask)

    def _tuned(self, arm: Arm, seed: int) -> Tuned:
        return make_tuned(
            self.loaded, self.spec.tuning, seed, held_indices(self.loaded, self._mask(arm, seed) if arm.held else None)
        )

    def _ends(self, seed: int) -> tuple[int, ...]:
        return part_ends(self.spec.tuning.n_steps(len(self.domain.split[seed][0])))

    def _train(self, arm: Arm, seed: int, live: curve.LiveCurve) -> None:
        rows = self.domain.narrow(self.domain.split[seed][0], str(arm.answers))
        lessons = [lesson(self.loaded.tokenizer, r, self.spec.max_answer_tokens) for r in rows]
        order = training_order(len(rows), self.spec.tuning, seed)
        ends = self._ends(seed)
        for before, end in zip((0, *ends), ends, strict=False):
            units = self._train_units(end - before)

            def work(before: int = before, end: int = end, units: float = units) -> dict[str, Any]:
                points: list[dict[str, Any]] = []
                tick = self.ex.progress.within(units)

                def tell(step: int, loss: float, rate: float) -> None:
                    points.append({"arm": arm.name, "seed": seed, "step": step, "loss": loss, "rate": rate})
                    live.add(**points[-1])
                    tick(step - before, end - before)

                live.begin(arm.name, seed, before)
                with self._pruned(arm, seed):
                    trainer = Trainer(self.loaded, self._tuned(arm, seed), lessons, order, self.spec.tuning.peak_rate)
                    if before:
                        trainer.restore(load_file(self._state(arm, seed, before)))
                    trainer.run(end, tell)
                    nonzero = nonzero_held(trainer.tuned)
                self.ex.partial.write(state_name(arm, seed, end), save(trainer.state()))
                return {"points": points, "nonzero": nonzero}

            self.ex.stage(stage_of("train", arm, seed, end), units, work)
            if before:
                self._release(arm, seed, before)

    def _state(self, arm: Arm, seed: int, step: int) -> Path:
        return self.ex.partial.path(state_name(arm, seed, step))

    def _release(self, arm: Arm, seed: int, step: int) -> None:
        if self._state(arm, seed, step).is_file():
            self.ex.partial.release(stage_of("train", arm, seed, step))

    def _forget(self, arm: Arm, seed: int) -> None:
        """The last state too is deleted once nothing needs it."""
        self._release(arm, seed, self._ends(seed)[-1])

    def _finished(self, arm: Arm, seed: int) -> Tuned:
        """The tuned weights at the end of training; call it inside ``_pruned``."""
        tuned = self._tuned(arm, seed)
        tuned.restore(values(load_file(self._state(arm, seed, self._ends(seed)[-1]))))
        return tuned

    # measuring
    def _measure(self, arm: Arm, seed: int | None) -> None:
        rows = range(len(self.domain.rows)) if seed is None else self.domain.split[seed][1]
        units = float(self.bench.n_passes(len(rows)))

        def work() -> dict[str, Any]:
            tick, info = self.ex.progress.within(units), dict[str, Any]()
            if seed is None:
                measured, answers = self.bench.measure(self.loaded, rows, tick), self.bench.answer(self.loaded)
            else:
                mask = self._mask(arm, seed)
                intact = {} if mask is None else {n: self._flat(n) for n in mask.indices}
                with self._pruned(arm, seed):
                    tuned = self._finished(arm, seed)
                    assert nonzero_held(tuned) == 0, "a held weight is not 0"
                    with tuned.installed():
                        measured, answers = self.bench.measure(self.loaded, rows, tick), self.bench.answer(self.loaded)
                        if mask is not None:
                            info["regrown"] = regrown_share(mask, intact.__getitem__, self._flat)
            sink = io.BytesIO()
            np.save(sink, measured, allow_pickle=False)
            self.ex.partial.write(f"scratch/measured/{key_of(arm, seed)}.npy", sink.getvalue())
            described = self.bench.describe(self.loaded, answers)
            self.ex.partial.write(f"scratch/measured/{key_of(arm, seed)}.json", json.dumps(described).encode())
            return info

        self.ex.stage(f"measure.{key_of(arm, seed)}", units, work)

    def _flat(self, matrix: str) -> np.ndarray:
        weights: np.ndarray = (
            self.loaded.tensor(self.loaded.table.index_of[matrix]).detach().float().cpu().numpy().ravel()
        )
        return weights.copy()

    def _change(self, arm: Arm, seed: int) -> None:
        def work() -> dict[str, Any]:
            tuned, table = self._finished(arm, seed), self.loaded.table

            def change(i: int) -> np.ndarray:
                matrix = table[i]
                after = tuned.weight(matrix.param_name)
                after = after if matrix.expert is None else after[matrix.expert]
                return np.asarray((after.float() - self.loaded.tensor(i).float()).cpu().numpy().ravel())

            masks = {n: self.masks[seed][n] for n in ("harm", "benign")} | (
                {} if self.general is None else {GENERAL: self.general}
            )
            eligible = eligible_of(self.ex.partial.path(f"scratch/candidates/{seed}.safetensors"), self.spec)
            return change_shares(table, change, masks, eligible, seed=seed)

        self.ex.stage(f"change.{key_of(arm, seed)}", CHANGE_UNITS, work)

    # -- the end ----------------------------------------------------------------------------------------------------
    def _conclude(self) -> dict[str, Any]:
        report = Report(self._measured())
        self.ex.rows("emergent", report.rows)
        self.ex.stage("transcripts", 0.0, lambda: self._transcripts(report.m))
        judge = the_judge(self.spec.judge)
        return {
            "arms": [a.name for a in self.spec.all_arms],
            "kinds": list(self.domain.kinds),
            "n_steps": self._ends(self.spec.seed)[-1],
            "collapsed": report.collapsed(),
            "general_mask": None if self.general is None else GENERAL_MASK,
            "judge": None
            if judge is None
            else {
                "name": judge.name,
                "quality": judge.quality.source,
                "measures": [list(m) for m in judge.quality.measures],
            },
        }

    def _measured(self) -> Measured:
        arrays: dict[tuple[str, int], np.ndarray] = {}
        answers: dict[tuple[str, int], list[dict[str, Any]]] = {}
        change: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
        regrown: dict[tuple[str, int], float] = {}
        nonzero: dict[str, list[int]] = {}
        for seed in self.spec.all_seeds:
            for arm in self.spec.all_arms:
                key = key_of(arm, None if arm.answers is None else seed)
                arrays[arm.name, seed] = np.load(
                    self.ex.partial.path(f"scratch/measured/{key}.npy"), allow_pickle=False
                )
                answers[arm.name, seed] = json.loads(self.ex.partial.path(f"scratch/measured/{key}.json").read_bytes())
                info = self.ex.partial.info(f"measure.{key}")
                if info.get("regrown") is not None:
                    regrown[arm.name, seed] = info["regrown"]
                if arm.answers is not None and arm.mask is None:
                    change[arm.name, seed] = self.ex.partial.info(f"change.{key}")
                if arm.held:
                    nonzero.setdefault(arm.name, []).extend(
                        self.ex.partial.info(stage_of("train", arm, seed, e))["nonzero"] for e in self._ends(seed)
                    )
        return Measured(self.spec, self.bench, arrays, answers, self.masks, change, regrown, nonzero)

    def _transcripts(self, m: Measured) -> None:
        said = [{"arm": "base", "seed": None, **a} for a in m.answers["base", self.spec.seed]]
        points: list[dict[str, Any]] = []
        for seed in self.spec.all_seeds:
            for arm in self.trained:
                said += [{"arm": arm.name, "seed": seed, **a} for a in m.answers[arm.name, seed]]
                for end in self._ends(seed):
                    points += self.ex.partial.info(stage_of("train", arm, seed, end))["points"]
        self.ex.partial.write("results/transcripts.jsonl", curve.lines(said))
        self.ex.partial.write(curve.KEPT, curve.lines(points))

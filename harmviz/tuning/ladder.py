"""A ladder from settings to a stored run: own answers → SFT → DPO for each arm, every checkpoint measured.

Made by ``harmviz.runs.making`` like every run, stage by stage: a stage that was cut short starts again from its
beginning and gives the same files; finished ones are skipped. The adapters are the run's files, the numbers stand in
its manifest (``harmviz.tuning.stored``). Answers stay in scratch until the ladder is complete: some are harmful text.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmviz.data.refusal_words import KEYWORD_LIST_ID, reads_as_refusal
from harmviz.data.rows import FOLDER
from harmviz.files import canonical_json, json_bytes, sha256_of_file
from harmviz.judges import Judge
from harmviz.judges.protocol import identity
from harmviz.judges.refusing import usable_judge
from harmviz.models.adapters import load_adapter, merged, save_adapter
from harmviz.models.load import LoadedModel
from harmviz.runs.making import PACKAGES, Making, Plan, identity_of, make, model_facts, versions
from harmviz.runs.progress import Listener
from harmviz.tuning.answers import Answer, Tick, answers_of, greedy, sampled
from harmviz.tuning.data import AlignData
from harmviz.tuning.evaluate import (
    ALONG,
    AT_END,
    JUDGED,
    JUDGED_TOKENS,
    LOSS_TOKENS,
    NEW_TOKENS,
    OPENER,
    Bench,
    Depth,
    asked_of,
    make_bench,
    measure,
    own_prompts,
    tokens_to_decode,
)
from harmviz.tuning.schedule import OwnAnswers, Schedule
from harmviz.tuning.settings import ANSWERED, BATCH, FETCHED, STAGES, TWINS, AlignSpec, check_arms, checkpoint_name
from harmviz.tuning.stored import ALIGN, Ladder, data_facts, ladders, open_ladder
from harmviz.tuning.training import train_stage, tuned_modules

VERSION = 4
# Units of work, one forward pass of one sample each: they only serve the estimate of the time left.
_UNITS = {"sft": 3.0 * BATCH + ANSWERED, "dpo": 8.0 * BATCH, "answer": 4.0, "token": 1 / 16}


def run_align(
    loaded: LoadedModel,
    data: AlignData,
    spec: AlignSpec,
    arms: Sequence[str],
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda _: None,
) -> Ladder:
    """The finished ladder of these settings; opened where it exists already, made here or shipped.

    Args:
        root, resume, listener: as ``harmviz.runs.making.make``.

    Raises:
        ValueError: unknown or repeated arms; a model spread over devices.
        UnsupportedArchitecture: the model has weights that take no adapter.
        RunIncompatible: another process makes this ladder, or a finished one is damaged.
        HarmvizError: the folder cannot be written.
        OutOfMemory: the disk is full.
    """
    loaded.check_on_one_device("safety tuning")
    tuned_modules(loaded)
    work = LadderWork(loaded, data, spec, check_arms(arms), None if spec.brief else usable_judge())
    plan = work.plan()
    if root is None and (folder := ladders().get(plan.run_id)) is not None:
        return open_ladder(folder)
    return Ladder(make(plan, work.run, root=root, resume=resume, listener=listener))


def ladder_id(loaded: LoadedModel, data: AlignData, spec: AlignSpec, arms: Sequence[str], judge: Judge | None) -> str:
    """The id of the run these settings make: ``<model>-align-<10 hex digits>`` of everything that determines it."""
    bench = [AT_END, NEW_TOKENS, JUDGED, JUDGED_TOKENS, KEYWORD_LIST_ID, None if judge is None else identity(judge)]
    determinants = [VERSION, identity_of(model_facts(loaded)), data.hashes, spec.as_dict(), *bench, arms]
    slug = re.sub(r"[^a-z0-9.]+", "-", loaded.name.lower()).strip("-")
    return f"{slug}-{ALIGN}-{hashlib.sha256(canonical_json(determinants).encode()).hexdigest()[:10]}"


@dataclass
class LadderWork:
    """The stages of one ladder. ``judge`` looks at the start and at what each arm comes to; a brief ladder has none."""

    loaded: LoadedModel
    data: AlignData
    spec: AlignSpec
    arms: tuple[str, ...]
    judge: Judge | None
    making: Making = field(init=False)

    def plan(self) -> Plan:
        """What the ladder is, before it begins."""
        loaded, data, spec = self.loaded, self.data, self.spec
        return Plan(
            name=ALIGN,
            version=VERSION,
            model=model_facts(loaded),
            data=data_facts(
                data.hashes,
                data.counts,
                left_out_as_near=data.n_near,
                files={p.name: sha256_of_file(p) for p in sorted(FOLDER.glob("*.jsonl"))},
            ),
            parameters=spec.as_dict(),
            units=self._units(),
            device=loaded.device.type,
            seeds={"run": spec.seed},
            notes={
                "arms": list(self.arms),
                "steps": {stage: spec.length(stage) for stage in STAGES},
                "evaluation": self._evaluation(),
            },
            given_id=ladder_id(loaded, data, spec, self.arms, self.judge),
            software={"python": platform.python_version(), **versions((*PACKAGES, "trl"))},
        )

    def _evaluation(self) -> dict[str, Any]:
        brief, sets = self.spec.brief, asked_of(self.data)
        return {
            "opener": OPENER,
            "new_tokens": NEW_TOKENS,
            "loss_tokens": LOSS_TOKENS,
            "refusal_list": KEYWORD_LIST_ID,
            "requests": {name: min(n, ALONG) for name, n in sets.items()} if brief else sets,
            "judged": [] if brief else list(JUDGED),
            "judged_tokens": JUDGED_TOKENS,
            "judge": None if self.judge is None else self.judge.name,
        }

    def _units(self) -> float:
        spec = self.spec
        train = sum(_UNITS[stage] * spec.length(stage) for stage in STAGES)
        look = sum(self._cost(self.depth(stage, step)) for stage in STAGES for step in spec.checkpoints(stage))
        return _UNITS["answer"] * len(self.data.answered) + self._cost(self.deepest) + len(self.arms) * (train + look)

    @property
    def deepest(self) -> Depth:
        """How closely the start is looked at: as closely as what each arm comes to."""
        return "along" if self.spec.brief else "end" if self.judge is None else "judged"

    def depth(self, stage: str, step: int) -> Depth:
        """How closely a checkpoint is looked at: whole bench at the end of a stage, the judge at that of the last."""
        if self.spec.brief or step < self.spec.length(stage):
            return "along"
        return self.deepest if stage == STAGES[-1] else "end"

    def adapter(self, name: str) -> Path:
        """Where the adapter of a checkpoint lies while the ladder is made."""
        return self.making.partial.path(_file(name))

    def run(self, making: Making) -> Mapping[str, Any]:
        """Does every stage; returns what the manifest's method says of the start and of each checkpoint."""
        self.making = making
        schedule = Schedule(self.data, self._own_answers(), self.spec, self.loaded.tokenizer)
        for arm in self.arms:
            start = None
            for stage in STAGES:
                self._train(schedule, arm, stage, start)
                start = self.adapter(checkpoint_name(arm, stage, self.spec.length(stage)))
        bench = self._bench()
        measured = {"start": self._measure(None, "start", bench, self.deepest)}
        places = [(arm, stage, step) for arm in self.arms for stage in STAGES for step in self.spec.checkpoints(stage)]
        # The ends of the stages first: they are what one waits for.
        for arm, stage, step in sorted(
            places, key=lambda p: (self.depth(p[1], p[2]) == "along", self.arms.index(p[0]))
        ):
            name = checkpoint_name(arm, stage, step)
            measured[name] = self._measure(self.adapter(name), name, bench, self.depth(stage, step))
        checkpoints = [
            {"name": name, "arm": arm, "stage": stage, "step": step, "file": _file(name), **measured[name]}
            for arm, stage, step in places
            for name in (checkpoint_name(arm, stage, step),)
        ]
        return {"start": measured["start"], "checkpoints": checkpoints}

    def _cost(self, depth: Depth) -> float:
        """What measuring a checkpoint costs."""
        return _UNITS["token"] * tokens_to_decode(depth, asked_of(self.data))

    # -- own answers --------------------------------------------------------------------------------------------------
    def _own_answers(self) -> OwnAnswers:
        spec, prompts = self.spec, self.data.answered
        answers = self._answers(
            "harmless",
            spec.max_answer_tokens,
            lambda tick: sampled(self.loaded, prompts, spec.max_answer_tokens, seed=spec.seed, tick=tick),
            units=_UNITS["answer"] * len(prompts),
        )
        harmless: dict[str, tuple[Answer, ...]] = {p: (a,) for p, a in zip(prompts, answers, strict=True)}
        # A quarter more than DPO has places for: what is declined already drops out.
        fetched = self.data.harmful[: spec.dpo_steps * FETCHED * 5 // 4]
        twins = [harmful for harmful, _ in self.data.twins[: spec.dpo_steps * TWINS * 5 // 4]]
        requests = [*fetched, *twins]
        answers = self._answers(
            "declined",
            spec.max_rejected_tokens,
            lambda tick: greedy(self.loaded, requests, spec.max_rejected_tokens, tick=tick),
        )
        complied = {
            p: a for p, a in zip(requests, answers, strict=True) if a.ids and not reads_as_refusal(self._text(a))
        }
        return OwnAnswers(harmless, complied)

    def _answers(
        self, name: str, limit: int, decode: Callable[[Tick], list[list[int]]], units: float = 0.0
    ) -> list[Answer]:
        """The start model's own answers to requests of one kind, decoded once."""
        token_ids = self.making.json(f"answers.{name}", units, lambda: decode(self.making.progress.within(units)))
        return answers_of(token_ids, limit)

    def _text(self, answer: Answer) -> str:
        return str(self.loaded.tokenizer.decode(list(answer.ids), skip_special_tokens=True))

    def _bench(self) -> Bench:
        limit, prompts = self.spec.max_answer_tokens, own_prompts(self.data)
        answers = self._answers("held_out", limit, lambda tick: greedy(self.loaded, prompts, limit, tick=tick))
        return make_bench(self.loaded, self.data, answers)

    # -- training and measuring ---------------------------------------------------------------------------------------
    def _train(self, schedule: Schedule, arm: str, stage: str, start: Path | None) -> None:
        units = _UNITS[stage] * self.spec.length(stage)

        def train() -> None:
            train_stage(
                self.loaded,
                schedule.sft(arm) if stage == "sft" else schedule.dpo(arm),
                self.spec,
                arm=arm,
                stage=stage,
                start=None if start is None else load_adapter(start),
                keep=lambda a: save_adapter(self.adapter(checkpoint_name(a.arm, a.stage, a.step)), a),
                tick=self.making.progress.within(units),
            )

        self.making.stage(f"train.{arm}.{stage}", units, train)

    def _measure(self, adapter: Path | None, name: str, bench: Bench, depth: Depth) -> dict[str, Any]:
        """``depth`` and ``numbers`` of a checkpoint, or of the start."""
        units = self._cost(depth)

        def numbers() -> dict[str, Any]:
            with merged(self.loaded, None if adapter is None else load_adapter(adapter)):
                measured, texts = measure(self.loaded, bench, depth, self.judge, self.making.progress.within(units))
            self.making.partial.write(f"scratch/answers/{name}.json", json_bytes(texts))
            return {"depth": depth, "numbers": measured}

        return self.making.stage(f"measure.{name}", units, numbers)


def _file(checkpoint: str) -> str:
    return f"adapters/{checkpoint}.safetensors"

"""A ladder from settings to folder: own answers → SFT → DPO for each arm, every checkpoint measured as it is stored.

    LADDER/ladder.json                                   written last: where it exists, the ladder is complete
    LADDER/adapters/<arm>-<stage>-<step>.safetensors     adapter weights only (``align.adapters``)

Work in progress lies in the scratch folder under a name made from everything but the arms, so that an arm added later
finds the start model's answers and numbers done. A stage that was cut short starts again from its beginning and gives the
same files; finished stages and measurements are skipped.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harmviz.data.refusal import KEYWORD_LIST_ID, reads_as_refusal
from harmviz.errors import DataInvalid, HarmvizError, RunIncompatible
from harmviz.files import TEMPORARY, canonical_json, disk_errors, json_bytes, move_folder, sha256_of_file, write_atomic
from harmviz.judges import Judge
from harmviz.judges.protocol import identity
from harmviz.judges.refusing import usable_judge
from harmviz.models.adapters import load_adapter, merged, save_adapter
from harmviz.models.load import LoadedModel
from harmviz.models.names import LADDER_MANIFEST, ladders
from harmviz.paths import cache_root, ladders_root
from harmviz.runs.lock import sign, signed_by, try_lock
from harmviz.runs.progress import Listener, Progress
from harmviz.tuning.answers import Answer, greedy, sampled
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
    make_bench,
    measure,
    own_prompts,
    tokens_to_decode,
)
from harmviz.tuning.rows import FOLDER
from harmviz.tuning.schedule import OwnAnswers, Schedule
from harmviz.tuning.settings import REFUSAL_SLOTS, STAGES, AlignSpec, check_arms, checkpoint_name
from harmviz.tuning.training import adapted_modules, train_stage

SCHEMA = 1
PACKAGES = ("torch", "transformers", "peft", "trl", "safetensors", "numpy")
# Units of work, one forward pass of one sample each: they only serve the estimate of the time left.
_UNITS = {"sft": 24.0, "dpo": 64.0, "answer": 4.0, "token": 1 / 16}


@dataclass(frozen=True)
class Ladder:
    """A complete ladder on disk."""

    path: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    def adapter_path(self, checkpoint: str) -> Path:
        """The adapter file of a checkpoint.

        Raises:
            RunIncompatible: the ladder has no such checkpoint.
        """
        for entry in self.manifest["checkpoints"]:
            if entry["name"] == checkpoint:
                return self.path / entry["file"]
        names = ", ".join(e["name"] for e in self.manifest["checkpoints"])
        raise RunIncompatible(f"ladder {self.id} has no checkpoint {checkpoint!r}; it has {names}")


def open_ladder(path: Path) -> Ladder:
    """The complete ladder in this folder, its files checked against their sha256.

    Raises:
        RunIncompatible: no complete ladder, another schema, or a file that is missing or changed; the message names it.
    """
    try:
        manifest = json.loads((path / LADDER_MANIFEST).read_bytes())
    except (OSError, ValueError) as e:
        raise RunIncompatible(f"{path} holds no complete ladder; make one with `python -m harmviz align`") from e
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise RunIncompatible(
            f"{path / LADDER_MANIFEST} is not of schema {SCHEMA}; make the ladder again with this version"
        )
    for entry in manifest["checkpoints"]:
        file = path / entry["file"]
        if not file.is_file() or sha256_of_file(file) != entry["sha256"]:
            raise RunIncompatible(
                f"ladder {manifest['id']}: {entry['file']} is missing or damaged; restore it or make the ladder again"
            )
    return Ladder(path, manifest)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()[:10]


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
    """The finished ladder of these settings; opened where it exists already.

    Args:
        root: folder of ladders (the cache's by default).
        resume: go on from the work of an interrupted process; without it such work is deleted.

    Raises:
        ValueError: unknown or repeated arms.
        UnsupportedArchitecture: the model has weights that take no adapter.
        RunIncompatible: another process is at work on these settings, or a finished ladder is damaged.
        HarmvizError: the folder cannot be written.
        OutOfMemory: the disk is full.
    """
    arms = check_arms(arms)
    adapted_modules(loaded)
    judge = None if spec.brief else usable_judge()
    bench = [AT_END, NEW_TOKENS, JUDGED, JUDGED_TOKENS, KEYWORD_LIST_ID, None if judge is None else identity(judge)]
    basis = [SCHEMA, loaded.weight_hash, data.hashes, spec.as_dict(), *bench]
    slug = re.sub(r"[^a-z0-9.]+", "-", loaded.name.lower()).strip("-")
    target = (root or ladders_root()) / f"{slug}-align-{_digest(*basis, arms)}"
    found = target if root else ladders().get(target.name, target)
    if (found / LADDER_MANIFEST).is_file():
        return open_ladder(found)
    with _workplace(f"{slug}-{_digest(*basis)}", resume=resume) as folder, disk_errors(folder):
        work = _Work(loaded, data, spec, arms, judge, folder, listener)
        work.everything()
        return _assemble(work, target, basis)


@contextmanager
def _workplace(name: str, *, resume: bool) -> Iterator[Path]:
    """The scratch folder of these settings, held by this process alone; removed once the block has succeeded."""
    folder = cache_root() / "scratch" / "align" / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = try_lock(folder.with_suffix(".lock"))
    except OSError as e:
        raise HarmvizError(f"{folder} cannot be written ({e.strerror}); choose another place with HARMVIZ_CACHE") from e
    if lock is None:
        pid = signed_by(folder.with_suffix(".lock"))
        raise RunIncompatible(
            f"another process (pid {pid or 'unknown'}) makes this ladder; wait for it, or stop it and resume"
        )
    with lock:
        sign(lock)
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        yield folder
        folder.with_suffix(".lock").unlink(missing_ok=True)


class _Work:
    """The steps of one ladder, each skipped where its file is there."""

    def __init__(
        self,
        loaded: LoadedModel,
        data: AlignData,
        spec: AlignSpec,
        arms: tuple[str, ...],
        judge: Judge | None,
        folder: Path,
        listener: Listener,
    ):
        self.loaded, self.data, self.spec, self.arms, self.folder = loaded, data, spec, arms, folder
        self.judge = judge
        #: The start is looked at as closely as what each arm comes to.
        self.deepest: Depth = "along" if spec.brief else "end" if judge is None else "judged"
        total = _UNITS["answer"] * len(data.answered) + _cost(self.deepest)
        total += len(arms) * sum(_UNITS[stage] * spec.length(stage) for stage in STAGES)
        total += len(arms) * sum(_cost(self.depth(stage, step)) for stage in STAGES for step in spec.checkpoints(stage))
        self.progress = Progress(total, listener)

    def depth(self, stage: str, step: int) -> Depth:
        """How closely a checkpoint is looked at: the whole bench at the end of a stage, the judge at the end of the last."""
        if self.spec.brief or step < self.spec.length(stage):
            return "along"
        return self.deepest if stage == STAGES[-1] else "end"

    def adapter(self, name: str) -> Path:
        return self.folder / "adapters" / f"{name}.safetensors"

    def numbers(self, name: str) -> Path:
        return self.folder / "numbers" / f"{name}.json"

    def everything(self) -> None:
        """Nothing; afterwards every adapter and every number of the arms is in the folder."""
        schedule = Schedule(self.data, self._own_answers(), self.spec, self.loaded.tokenizer)
        for arm in self.arms:
            start = None
            for stage in STAGES:
                self._train(schedule, arm, stage, start)
                start = self.adapter(checkpoint_name(arm, stage, self.spec.length(stage)))
        bench = self._bench()
        self._measure(None, "start", bench, self.deepest)
        # The ends of the stages first: they are what one waits for.
        places = [(arm, stage, step) for arm in self.arms for stage in STAGES for step in self.spec.checkpoints(stage)]
        for arm, stage, step in sorted(
            places, key=lambda p: (self.depth(p[1], p[2]) == "along", self.arms.index(p[0]))
        ):
            name = checkpoint_name(arm, stage, step)
            self._measure(self.adapter(name), name, bench, self.depth(stage, step))

    # -- own answers --------------------------------------------------------------------------------------------------
    def _own_answers(self) -> OwnAnswers:
        spec = self.spec
        self.progress.begin("own answers to harmless requests")
        prompts = self.data.answered
        answers = sampled(
            self.loaded,
            prompts,
            spec.max_answer_tokens,
            seed=spec.seed,
            folder=self.folder.parent,
            tick=self.progress.within(_UNITS["answer"] * len(prompts)),
        )
        harmless: dict[str, tuple[Answer, ...]] = {p: (a,) for p, a in zip(prompts, answers, strict=True)}
        self.progress.begin("own answers to requests that should be declined")
        needed = spec.dpo_steps * REFUSAL_SLOTS * 6 // 5  # some are declined already and drop out
        requests = self.data.harmful[:needed]
        answers = greedy(
            self.loaded, requests, spec.max_rejected_tokens, folder=self.folder.parent, tick=self.progress.within(0.0)
        )
        complied = {
            p: a for p, a in zip(requests, answers, strict=True) if a.ids and not reads_as_refusal(self._text(a))
        }
        return OwnAnswers(harmless, complied)

    def _text(self, answer: Answer) -> str:
        return str(self.loaded.tokenizer.decode(list(answer.ids), skip_special_tokens=True))

    def _bench(self) -> Bench:
        self.progress.begin("own answers to held-out requests")
        own = greedy(
            self.loaded,
            own_prompts(self.data),
            self.spec.max_answer_tokens,
            folder=self.folder.parent,
            tick=self.progress.within(0.0),
        )
        return make_bench(self.loaded, self.data, own)

    # -- training and measuring ---------------------------------------------------------------------------------------
    def _train(self, schedule: Schedule, arm: str, stage: str, start: Path | None) -> None:
        length = self.spec.length(stage)
        units = _UNITS[stage] * length
        if all(self.adapter(checkpoint_name(arm, stage, s)).is_file() for s in self.spec.checkpoints(stage)):
            self.progress.skip(units)
            return
        self.progress.begin(f"{arm}: {stage.upper()}")
        rows = schedule.sft(arm) if stage == "sft" else schedule.dpo(arm)
        train_stage(
            self.loaded,
            rows,
            self.spec,
            arm=arm,
            stage=stage,
            start=None if start is None else load_adapter(start),
            keep=lambda a: save_adapter(self.adapter(checkpoint_name(a.arm, a.stage, a.step)), a),
            tick=self.progress.within(units),
        )

    def _measure(self, adapter: Path | None, name: str, bench: Bench, depth: Depth) -> None:
        units = _cost(depth)
        path = self.numbers(name)
        if path.is_file():
            self.progress.skip(units)
            return
        self.progress.begin(f"{name}: measuring")
        with merged(self.loaded, None if adapter is None else load_adapter(adapter)):
            numbers, texts = measure(self.loaded, bench, depth, self.judge, self.progress.within(units))
        # Answers stay in the scratch folder: some are harmful text.
        write_atomic(self.folder / "answers" / f"{name}.json", json_bytes(texts))
        write_atomic(path, json_bytes({"depth": depth, "numbers": numbers}))


def _cost(depth: Depth) -> float:
    """What measuring a checkpoint costs."""
    return _UNITS["token"] * tokens_to_decode(depth)


# -- the folder -------------------------------------------------------------------------------------------------------
def _assemble(work: _Work, target: Path, basis: Sequence[Any]) -> Ladder:
    """Puts adapters and manifest together and moves them into place in one step."""
    checkpoints = []
    part = target.parent / f"{TEMPORARY}{target.name}-{uuid.uuid4().hex[:8]}"
    try:
        (part / "adapters").mkdir(parents=True)
        for arm in work.arms:
            for stage in STAGES:
                for step in work.spec.checkpoints(stage):
                    name = checkpoint_name(arm, stage, step)
                    file = part / "adapters" / f"{name}.safetensors"
                    shutil.copyfile(work.adapter(name), file)
                    entry = {
                        "name": name,
                        "arm": arm,
                        "stage": stage,
                        "step": step,
                        "file": f"adapters/{name}.safetensors",
                        "sha256": sha256_of_file(file),
                        "bytes": file.stat().st_size,
                    }
                    checkpoints.append(entry | json.loads(work.numbers(name).read_bytes()))
        manifest = {
            "schema": SCHEMA,
            "id": target.name,
            "digest": _digest(*basis, work.arms),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "model": {
                "name": work.loaded.name,
                "revision": work.loaded.revision,
                "weight_hash": work.loaded.weight_hash,
                "n_parameters": work.loaded.n_parameters,
            },
            "data": {
                "hashes": work.data.hashes,
                "counts": work.data.counts,
                "left_out_as_near": work.data.n_near,
                "files": {p.name: sha256_of_file(p) for p in sorted(FOLDER.glob("*.jsonl"))},
            },
            "settings": work.spec.as_dict(),
            "steps": {stage: work.spec.length(stage) for stage in STAGES},
            "arms": list(work.arms),
            "evaluation": {
                "opener": OPENER,
                "new_tokens": NEW_TOKENS,
                "loss_tokens": LOSS_TOKENS,
                "refusal_list": KEYWORD_LIST_ID,
                "requests": {k: min(n, ALONG) for k, n in AT_END.items()} if work.spec.brief else AT_END,
                "judged": [] if work.spec.brief else list(JUDGED),
                "judged_tokens": JUDGED_TOKENS,
                "judge": None if work.judge is None else work.judge.name,
            },
            "software": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
            "start": json.loads(work.numbers("start").read_bytes()),
            "checkpoints": checkpoints,
        }
        write_atomic(part / LADDER_MANIFEST, json_bytes(manifest))
        if target.exists():
            raise DataInvalid(f"{target} exists and holds no complete ladder; delete it and run again with --resume")
        move_folder(part, target)
    except OSError as e:
        raise HarmvizError(
            f"ladder cannot be written to {target.parent} ({e.strerror}); choose another folder with --out"
        ) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return open_ladder(target)

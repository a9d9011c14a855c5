"""A series of checkpoints from models by name, each loaded when its turn comes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harmviz.claims.compression.presets import Stage
from harmviz.claims.compression.series import Checkpoint, check_names
from harmviz.errors import HarmvizError, RunIncompatible
from harmviz.files import canonical_json
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel, load_model
from harmviz.models.weights import WeightTable
from harmviz.runs.making import identity_of, model_facts


@dataclass
class ModelSeries:
    """Models by name, the first being the one that the others are compared with. Each is loaded when its turn comes."""

    stages: tuple[Stage, ...]
    models: tuple[dict[str, Any], ...]
    n_splits: int
    notes: tuple[str, ...]
    dtype: str
    device: str
    say: Say = field(repr=False)

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        return tuple(Checkpoint(s.label, s.label) for s in self.stages)

    @property
    def facts(self) -> dict[str, Any]:
        return self.models[0]

    @property
    def sources(self) -> list[dict[str, Any]]:
        return [
            {"model": s.model, "revision": m["revision"], **identity_of(m)}
            for s, m in zip(self.stages, self.models, strict=True)
        ]

    def _stage(self, checkpoint: Checkpoint) -> int:
        return next(i for i, s in enumerate(self.stages) if s.label == checkpoint.name)

    def identity(self, split: int, checkpoint: Checkpoint) -> str:
        return canonical_json(identity_of(self.models[self._stage(checkpoint)]))

    def check(self, split: int, checkpoint: Checkpoint) -> None:
        """Nothing: each was loaded when the series was opened."""

    @contextmanager
    def opened(self, split: int, checkpoint: Checkpoint) -> Iterator[LoadedModel]:
        stage = self.stages[self._stage(checkpoint)]
        loaded = load_model(stage.model, dtype=self.dtype, device=self.device, say=self.say)
        if canonical_json(identity_of(model_facts(loaded))) != self.identity(split, checkpoint):
            raise RunIncompatible(
                f"the files of {stage.model} changed while they were measured; pin a revision, or start again"
            )
        yield loaded

    def behaviour(self, split: int, checkpoint: Checkpoint) -> Mapping[str, Mapping[str, Any]]:
        return {}


def open_models(
    stages: Sequence[Stage], *, n_splits: int = 3, dtype: str = "auto", device: str = "auto", say: Say = lambda _: None
) -> ModelSeries:
    """The series of these models; each is loaded once to see that it is there and has the first one's shape.

    Raises:
        BadSetting: fewer than two, or one given twice.
        RunIncompatible: models of different shapes, or two names of the same weights.
        ModelUnavailable: a model cannot be loaded here; the message names it.
    """
    check_names([s.model for s in stages])
    check_names([s.label for s in stages])
    tables: list[WeightTable] = []
    facts: list[dict[str, Any]] = []
    templates: list[str] = []
    for stage in stages:
        try:
            loaded = load_model(stage.model, dtype=dtype, device=device, say=say)
        except HarmvizError as e:
            raise type(e)(f"checkpoint {stage.label!r}: {e}") from e
        tables.append(loaded.table)
        facts.append(model_facts(loaded))
        templates.append(hashlib.sha256(str(loaded.tokenizer.chat_template).encode()).hexdigest())
        if loaded.table != tables[0] or facts[-1]["family"] != facts[0]["family"]:
            raise RunIncompatible(
                f"checkpoints {stages[0].model} and {stage.model} have different architectures or shapes; give "
                "checkpoints of one model"
            )
        hashes = [f["weight_hash"] for f in facts]
        if hashes.index(hashes[-1]) < len(hashes) - 1:
            raise RunIncompatible(
                f"checkpoints {stages[hashes.index(hashes[-1])].model} and {stage.model} are the same weights; leave "
                "one out"
            )
        if facts[-1]["dtype"] != facts[0]["dtype"]:
            raise RunIncompatible(
                f"{stages[0].model} would be computed in {facts[0]['dtype']}, {stage.model} in {facts[-1]['dtype']}; "
                "set --dtype"
            )
        del loaded
    notes = ["one model a checkpoint, several scoring splits: how tuning seeds vary is not in the intervals"]
    if len(set(templates)) > 1:
        notes.append("the checkpoints have different chat templates: each is measured in its own")
    return ModelSeries(tuple(stages), tuple(facts), n_splits, tuple(notes), dtype, device, say)

"""Checkpoints of one model, and where their weights come from: ladders of ``python -m harmviz align``, or model names.

A *series* has the same checkpoints in every *split*. From ladders, split k measures the checkpoints of the k-th ladder
(the k-th tuning seed) with the k-th scoring split; adapters are merged in memory and taken out again bit for bit. From
model names, every split measures the same models. Everything that can be wrong with a series is found when it is opened,
before anything is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harmviz.claims.compression.presets import Stage
from harmviz.errors import BadSetting, HarmvizError, ModelUnavailable, RunIncompatible
from harmviz.models.adapters import load_adapter, merged
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel, load_model
from harmviz.models.weights import WeightTable
from harmviz.runs.making import model_facts
from harmviz.tuning.settings import ARMS, STAGES
from harmviz.tuning.stored import Ladder, ladders, open_ladder

START = "start"
#: Numbers of a ladder's manifest that say how aligned a checkpoint is, and what it cost.
BEHAVIOUR = (
    "refusal/harmful",
    "refusal/reworded",
    "refusal/opener",
    "refusal/benign",
    "refusal/borderline",
    "loss/written",
)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a series. ``arm`` is None for a start that all arms share; ``label`` names its place on the axis."""

    name: str
    label: str
    arm: str | None = None
    stage: str | None = None
    step: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "arm": self.arm, "stage": self.stage, "step": self.step}


class Series(Protocol):
    """What an experiment needs of a series. ``split`` counts from 0."""

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """In the order of training; the first is what the others are compared with."""

    @property
    def n_splits(self) -> int: ...

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest's ``model``: the first checkpoint's."""

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Where the weights come from, for the manifest."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def identity(self, split: int, checkpoint: Checkpoint) -> str:
        """A hash of what determines the checkpoint's weights."""

    def opened(self, split: int, checkpoint: Checkpoint) -> AbstractContextManager[LoadedModel]:
        """The model with the checkpoint's weights while the block runs."""

    def behaviour(self, split: int, checkpoint: Checkpoint) -> Mapping[str, Mapping[str, Any]]:
        """Measured behaviour by name, as the ladder's manifest has it; empty where nobody measured it."""


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for fewer than two checkpoints, or one that is given twice."""
    if len(names) < 2:
        raise BadSetting(
            f"checkpoints must be at least 2 of one model, got {', '.join(names) or 'none'}; a series compares them"
        )
    if twice := [n for i, n in enumerate(names) if n in names[:i]]:
        raise BadSetting(f"checkpoints must be different, got {twice[0]!r} twice")


# -- ladders ----------------------------------------------------------------------------------------------------------
def find_ladder(name: str) -> Ladder:
    """The ladder in this folder, or of this id (or its unambiguous beginning), made here or shipped.

    Raises:
        RunIncompatible: no such ladder, several, or a damaged one.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return open_ladder(path)
    known = ladders()
    fits = [n for n in known if n == name] or [n for n in known if n.startswith(name)]
    if len(fits) != 1:
        what = "several ladders begin with it" if fits else "there is no such folder, and no such ladder"
        raise RunIncompatible(
            f"ladder {name!r}: {what} (there are {', '.join(known) or 'none'}); `python -m harmviz align` makes one"
        )
    return open_ladder(known[fits[0]])


def ladder_checkpoints(ladder: Ladder, at: str = "ends") -> tuple[Checkpoint, ...]:
    """The start, then the checkpoints of each arm, in the order in which they were trained.

    Args:
        at: ``ends`` (the last of each stage), ``all``, or names such as ``sft-30,safety-dpo-20``, comma-separated: with an
            arm that checkpoint, without one that of every arm.

    Raises:
        RunIncompatible: the ladder has no such checkpoint.
    """
    listed = [
        Checkpoint(str(e["name"]), _label(e), str(e["arm"]), str(e["stage"]), int(e["step"]))
        for e in ladder.checkpoints
    ]
    last = {(c.arm, c.stage): max(o.step for o in listed if (o.arm, o.stage) == (c.arm, c.stage)) for c in listed}
    if at == "all":
        chosen = listed
    elif at == "ends":
        chosen = [c for c in listed if c.step == last[c.arm, c.stage]]
    else:
        asked = [part.strip() for part in at.split(",") if part.strip()]
        for part in asked:
            if not any(part in (c.name, f"{c.stage}-{c.step}") for c in listed):
                raise RunIncompatible(
                    f"ladder {ladder.id} has no checkpoint {part!r}; it has {', '.join(c.name for c in listed)}"
                )
        chosen = [c for c in listed if {c.name, f"{c.stage}-{c.step}"} & set(asked)]
    order = sorted(chosen, key=lambda c: (_place(ARMS, c.arm), _place(STAGES, c.stage), c.step))
    return (Checkpoint(START, START), *order)


def _place(order: Sequence[str], name: str | None) -> int:
    return next((i for i, known in enumerate(order) if known == name), len(order))


def _label(entry: Mapping[str, Any]) -> str:
    return f"{str(entry['stage']).upper()} {entry['step']}"


@dataclass
class LadderSeries:
    """The checkpoints of ladders that differ in their tuning seed alone. One ladder serves ``n_splits`` splits."""

    loaded: LoadedModel
    ladders: tuple[Ladder, ...]
    checkpoints: tuple[Checkpoint, ...]
    n_splits: int

    @property
    def facts(self) -> dict[str, Any]:
        return model_facts(self.loaded)

    @property
    def sources(self) -> list[dict[str, Any]]:
        return [{"ladder": ladder.id, "tuning_seed": ladder.settings.get("seed")} for ladder in self.ladders]

    @property
    def notes(self) -> tuple[str, ...]:
        same = len(self.ladders) == 1 and self.n_splits > 1
        return (
            ("one tuning seed, several scoring splits: how tuning seeds vary is not in the intervals",) if same else ()
        )

    def _ladder(self, split: int) -> Ladder:
        return self.ladders[split % len(self.ladders)]

    def identity(self, split: int, checkpoint: Checkpoint) -> str:
        return self.loaded.weight_hash if checkpoint.arm is None else self._ladder(split).sha256(checkpoint.name)

    @contextmanager
    def opened(self, split: int, checkpoint: Checkpoint) -> Iterator[LoadedModel]:
        adapter = None if checkpoint.arm is None else load_adapter(self._ladder(split).adapter_path(checkpoint.name))
        with merged(self.loaded, adapter):
            yield self.loaded

    def behaviour(self, split: int, checkpoint: Checkpoint) -> Mapping[str, Mapping[str, Any]]:
        ladder = self._ladder(split)
        entry = ladder.start if checkpoint.arm is None else ladder.checkpoint(checkpoint.name)
        return {key: entry["numbers"][key] for key in BEHAVIOUR if key in entry["numbers"]}


def open_ladders(
    names: Sequence[str],
    *,
    at: str = "ends",
    n_splits: int | None = None,
    model: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    say: Say = lambda _: None,
) -> LadderSeries:
    """The series of these ladders, one per tuning seed, all checked before the model is loaded.

    Args:
        at: as ``ladder_checkpoints``.
        n_splits: scoring splits; with several ladders it is their number.
        model: the start model, where the name in the manifest cannot be loaded.

    Raises:
        RunIncompatible: a ladder is missing, damaged, lacks a checkpoint, given twice, or made in another way than the first.
        ValueError: too few checkpoints, or ``n_splits`` does not fit.
        ModelUnavailable: the start model cannot be loaded, or is not the one that the ladders were tuned on.
    """
    ladders = tuple(find_ladder(name) for name in names)
    first, checkpoints = ladders[0], ladder_checkpoints(ladders[0], at)
    check_names([c.name for c in checkpoints])
    if len(ladders) > 1 and n_splits not in (None, len(ladders)):
        raise BadSetting(
            f"splits must be {len(ladders)}, one a ladder, got {n_splits}; with one ladder any number can be asked for"
        )
    for ladder in ladders[1:]:
        _check_alike(first, ladder)
        for checkpoint in checkpoints[1:]:
            ladder.adapter_path(checkpoint.name)
    digests = [tuple(sorted(ladder.sha256(e["name"]) for e in ladder.checkpoints)) for ladder in ladders]
    if twice := [ladder.id for i, ladder in enumerate(ladders) if digests[i] in digests[:i]]:
        raise RunIncompatible(f"ladder {twice[0]} is given twice; give one ladder per tuning seed")
    for ladder in ladders:
        for checkpoint in checkpoints[1:]:
            load_adapter(ladder.adapter_path(checkpoint.name))
    wanted = first.model
    loaded = load_model(model or str(wanted["name"]), dtype=dtype, device=device, say=say)
    if loaded.weight_hash != wanted["weight_hash"]:
        raise ModelUnavailable(
            f"ladder {first.id} was tuned on other weights ({str(wanted['weight_hash'])[:12]}…) than {loaded.name} has "
            f"({loaded.weight_hash[:12]}…); name its start model with --model"
        )
    return LadderSeries(loaded, ladders, checkpoints, n_splits or len(ladders))


def _check_alike(first: Ladder, other: Ladder) -> None:
    """Raises RunIncompatible where two ladders differ in more than their seed."""
    a, b = ({**ladder.settings, "seed": None} for ladder in (first, other))
    if first.model["weight_hash"] != other.model["weight_hash"]:
        raise RunIncompatible(
            f"ladders {first.id} and {other.id} were tuned on different models; one series has one start"
        )
    if a != b:
        differing = ", ".join(sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k)))
        raise RunIncompatible(
            f"ladders {first.id} and {other.id} were made with different settings ({differing}); they may differ in the seed alone"
        )


# -- models by name ---------------------------------------------------------------------------------------------------
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
            {"model": s.model, "revision": m["revision"], "weight_hash": m["weight_hash"]}
            for s, m in zip(self.stages, self.models, strict=True)
        ]

    def _stage(self, checkpoint: Checkpoint) -> int:
        return next(i for i, s in enumerate(self.stages) if s.label == checkpoint.name)

    def identity(self, split: int, checkpoint: Checkpoint) -> str:
        return str(self.models[self._stage(checkpoint)]["weight_hash"])

    @contextmanager
    def opened(self, split: int, checkpoint: Checkpoint) -> Iterator[LoadedModel]:
        stage = self.stages[self._stage(checkpoint)]
        loaded = load_model(stage.model, dtype=self.dtype, device=self.device, say=self.say)
        if loaded.weight_hash != self.identity(split, checkpoint):
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
        ValueError: fewer than two, or one given twice.
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
                f"checkpoints {stages[0].model} and {stage.model} have different architectures or shapes; give checkpoints of one model"
            )
        hashes = [f["weight_hash"] for f in facts]
        if hashes.index(hashes[-1]) < len(hashes) - 1:
            raise RunIncompatible(
                f"checkpoints {stages[hashes.index(hashes[-1])].model} and {stage.model} are the same weights; leave one out"
            )
        if facts[-1]["dtype"] != facts[0]["dtype"]:
            raise RunIncompatible(
                f"{stages[0].model} would be computed in {facts[0]['dtype']}, {stage.model} in {facts[-1]['dtype']}; set --dtype"
            )
        del loaded
    notes = ["one model a checkpoint, several scoring splits: how tuning seeds vary is not in the intervals"]
    if len(set(templates)) > 1:
        notes.append("the checkpoints have different chat templates: each is measured in its own")
    return ModelSeries(tuple(stages), tuple(facts), n_splits, tuple(notes), dtype, device, say)

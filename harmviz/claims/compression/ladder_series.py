"""A series of checkpoints from ladders of ``python -m harmviz align``, one ladder per tuning seed.

Adapters are merged into the start model in memory and taken out again bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmviz.claims.compression.series import Checkpoint, check_names
from harmviz.errors import BadSetting, ModelUnavailable, RunIncompatible
from harmviz.models.adapters import Adapter, load_adapter, merged
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel, load_model
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


def find_ladder(name: str) -> Ladder:
    """The ladder in this folder, or of this id (or its unambiguous beginning), made here or shipped.

    Raises:
        RunIncompatible: no such ladder, several, or a damaged one.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return open_ladder(path)
    known = ladders()
    matches = [n for n in known if n == name] or [n for n in known if n.startswith(name)]
    if len(matches) != 1:
        what = "several ladders begin with it" if matches else "there is no such folder, and no such ladder"
        raise RunIncompatible(
            f"ladder {name!r}: {what} (there are {', '.join(known) or 'none'}); `python -m harmviz align` makes one"
        )
    return open_ladder(known[matches[0]])


def ladder_checkpoints(ladder: Ladder, at: str = "ends") -> tuple[Checkpoint, ...]:
    """The start, then the checkpoints of each arm, in the order in which they were trained.

    Args:
        at: ``ends`` (the last of each stage), ``all``, or names such as ``sft-30,safety-dpo-20``, comma-separated: with
            an arm that checkpoint, without one that of every arm.

    Raises:
        RunIncompatible: the ladder has no such checkpoint.
    """
    listed = [_checkpoint(entry) for entry in ladder.checkpoints]
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


def _checkpoint(entry: Mapping[str, Any]) -> Checkpoint:
    stage, step = str(entry["stage"]), int(entry["step"])
    return Checkpoint(str(entry["name"]), f"{stage.upper()} {step}", str(entry["arm"]), stage, step)


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
        if len(self.ladders) > 1 or self.n_splits == 1:
            return ()
        return ("one tuning seed, several scoring splits: how tuning seeds vary is not in the intervals",)

    def _ladder(self, split: int) -> Ladder:
        return self.ladders[split % len(self.ladders)]

    def identity(self, split: int, checkpoint: Checkpoint) -> str:
        return self.loaded.weight_hash if checkpoint.arm is None else self._ladder(split).sha256(checkpoint.name)

    def _adapter(self, split: int, checkpoint: Checkpoint) -> Adapter | None:
        """None for the start."""
        return None if checkpoint.arm is None else load_adapter(self._ladder(split).adapter_path(checkpoint.name))

    def check(self, split: int, checkpoint: Checkpoint) -> None:
        self._adapter(split, checkpoint)

    @contextmanager
    def opened(self, split: int, checkpoint: Checkpoint) -> Iterator[LoadedModel]:
        adapter = self._adapter(split, checkpoint)
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
    spared: Collection[str] = (),
    model: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    say: Say = lambda _: None,
) -> LadderSeries:
    """The series of these ladders, one per tuning seed, all checked before the model is loaded.

    Args:
        at: as ``ladder_checkpoints``.
        n_splits: scoring splits; with several ladders it is their number.
        spared: sha256 of the adapters that an earlier result measured, whose files need not be there.
        model: the start model, where the name in the manifest cannot be loaded.

    Raises:
        RunIncompatible: a ladder is missing, damaged, lacks a checkpoint, given twice, or made in another way than the
            first.
        BadSetting: too few checkpoints, or ``n_splits`` does not fit.
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
            ladder.checkpoint(checkpoint.name)
    digests = [tuple(sorted(ladder.sha256(e["name"]) for e in ladder.checkpoints)) for ladder in ladders]
    if twice := [ladder.id for i, ladder in enumerate(ladders) if digests[i] in digests[:i]]:
        raise RunIncompatible(f"ladder {twice[0]} is given twice; give one ladder per tuning seed")
    for ladder in ladders:
        for checkpoint in checkpoints[1:]:
            if ladder.sha256(checkpoint.name) not in spared:
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
    """Refuses two ladders that differ in more than their seed."""
    a, b = ({**ladder.settings, "seed": None} for ladder in (first, other))
    if first.model["weight_hash"] != other.model["weight_hash"]:
        raise RunIncompatible(
            f"ladders {first.id} and {other.id} were tuned on different models; one series has one start"
        )
    if a != b:
        differing = ", ".join(sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k)))
        raise RunIncompatible(
            f"ladders {first.id} and {other.id} were made with different settings ({differing}); they may differ in "
            "the seed alone"
        )

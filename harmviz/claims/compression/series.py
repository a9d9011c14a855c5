"""Checkpoints of one model in the order of training: what an experiment needs of such a series.

A *series* has the same checkpoints in every *split*. From ladders of ``python -m harmviz align`` (``ladder_series``),
split k measures the checkpoints of the k-th ladder (the k-th tuning seed) with the k-th scoring split. From model names
(``model_series``), every split measures the same models. Everything that can be wrong with a series is found when it is
opened, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from harmviz.errors import BadSetting

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a series. ``arm`` is None for a start that all share; ``label`` names its place on the axis."""

    name: str
    label: str
    arm: str | None = None
    stage: str | None = None
    step: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


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

    def check(self, split: int, checkpoint: Checkpoint) -> None:
        """Nothing, where the checkpoint can be opened.

        Raises:
            RunIncompatible: its weights are not there.
        """

    def opened(self, split: int, checkpoint: Checkpoint) -> AbstractContextManager[LoadedModel]:
        """The model with the checkpoint's weights while the block runs."""

    def behaviour(self, split: int, checkpoint: Checkpoint) -> Mapping[str, Mapping[str, Any]]:
        """Measured behaviour by name, as the ladder's manifest has it; empty where nobody measured it."""


def check_names(names: Sequence[str]) -> None:
    """Refuses fewer than two checkpoints, and one that is given twice.

    Raises:
        BadSetting: see above.
    """
    if len(names) < 2:
        raise BadSetting(
            f"checkpoints must be at least 2 of one model, got {', '.join(names) or 'none'}; a series compares them"
        )
    if twice := [n for i, n in enumerate(names) if n in names[:i]]:
        raise BadSetting(f"checkpoints must be different, got {twice[0]!r} twice")

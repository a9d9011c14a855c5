"""What every judge takes and gives: (prompt, answer) pairs in, verdicts out.

A judge is of kind ``refusal`` (does the answer refuse?) or ``harm`` (how much harm does it help with?). Its verdict has
a ``value`` in [0, 1] and a ``label``, or neither and the ``reason`` why: *unscored* is never counted as 0. Judging and
summing up are separate: rates and their intervals belong to the claims.

A long corpus is judged piece by piece by whoever shows progress or has to stop: a verdict does not depend on what else
is in the same call.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Kind = Literal["refusal", "harm"]


@dataclass(frozen=True)
class JudgeItem:
    """One answer and the request it was given to. Its repr holds no text."""

    prompt: str = field(repr=False)
    answer: str = field(repr=False)

    @cached_property
    def id(self) -> str:
        return hashlib.sha256(f"{self.prompt}\0{self.answer}".encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"JudgeItem({self.id})"


@dataclass(frozen=True)
class Verdict:
    """``value`` in [0, 1] (probability of refusal, or degree of harm) and the judge's own yes or no, or why neither.

    Raises:
        ValueError: a value outside [0, 1], a value with a reason, or neither of them.
    """

    value: float | None
    label: bool | None
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.value is None:
            if self.label is not None or not self.reason:
                raise ValueError("an unscored verdict needs a reason and no label")
        elif self.label is None or self.reason is not None:
            raise ValueError("a scored verdict needs a label and no reason")
        elif not 0.0 <= self.value <= 1.0:
            raise ValueError(f"value must lie in [0, 1], got {self.value!r}")

    @property
    def scored(self) -> bool:
        return self.value is not None


def unscored(reason: str) -> Verdict:
    """The verdict of a judge that could not judge."""
    return Verdict(None, None, reason)


def scored(value: float, label: bool) -> Verdict:
    """A verdict, or an unscored one where the value is not a number."""
    if not math.isfinite(value):
        return unscored("the judge's score is not a number")
    return Verdict(min(1.0, max(0.0, value)), label)


class Measure(NamedTuple):
    """One measured number about a judge: ``measure`` of ``by`` on the answers ``on``, with its 95 % interval.

    ``by`` is ``judge``, or what stands beside it for comparison (a keyword list, the length of the answer).
    """

    measure: str
    by: str
    on: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True)
class Quality:
    """What is known about how well a judge agrees with people. ``source`` says from where, or why nothing is known."""

    measures: tuple[Measure, ...]
    source: str

    def find(self, measure: str, *, by: str = "judge", on: str = "human labels") -> Measure | None:
        """The one number asked for, or None where it was not measured."""
        return next((m for m in self.measures if (m.measure, m.by, m.on) == (measure, by, on)), None)


@runtime_checkable
class Judge(Protocol):
    """Judges answers. ``quality`` is shown wherever its verdicts are."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def quality(self) -> Quality: ...
    def score(self, items: Sequence[JudgeItem]) -> list[Verdict]: ...


def identity(judge: Judge) -> list[str]:
    """What determines its verdicts, as far as can be told.

    Two judges of one name differ where their quality, or its source, does. (Stored in the ids of runs: what the repr of
    ``Quality`` and ``Measure`` says must not change.)
    """
    return [judge.name, hashlib.sha256(repr(judge.quality).encode()).hexdigest()[:16]]


def judge_answered(items: Sequence[JudgeItem], score: Callable[[list[JudgeItem]], Sequence[Verdict]]) -> list[Verdict]:
    """Verdicts of all items in order: ``score`` sees those with an answer, an empty one is unscored in every judge."""
    kept = [i for i, item in enumerate(items) if item.answer.strip()]
    verdicts = [unscored("empty answer")] * len(items)
    for i, verdict in zip(kept, score([items[i] for i in kept]) if kept else (), strict=True):
        verdicts[i] = verdict
    return verdicts

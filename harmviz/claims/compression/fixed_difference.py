"""A stored result at its fixed fractions: every planned difference, harm-specific, benign and their ratio. No torch.

Results made before the stable index keep the values at these fractions, of each seed too, but neither the samples'
losses nor their paired intervals: their differences are taken from the values, and stand without interval and test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from harmviz.claims.compression.comparisons import difference_name, seed_name
from harmviz.claims.compression.settings import FIXED_Q
from harmviz.claims.compression.stored import StoredResult, number
from harmviz.claims.compression.verdicts import LARGER, SMALLER, UNTESTED, called

#: (metric, set measured) of a difference → the same of a checkpoint, from which old results have theirs.
SPECIFIC, BENIGN = ("stable_difference", "harm"), ("benign_difference", "benign")
RATIO = ("ratio_to_benign_difference", "harm")
_OF_CHECKPOINT = {SPECIFIC: ("harm_specific", "harm"), BENIGN: ("delta_nll", "benign")}


class Number(NamedTuple):
    """A stored number; NaN: not measured, or not defined. ``by_seed``: that of each split alone."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...] = ()

    @classmethod
    def of(cls, row: pd.Series | None, by_seed: tuple[float, ...] = ()) -> Number:
        """What this row says; NaN where there is none."""
        return cls(number(row, "value"), number(row, "ci_low"), number(row, "ci_high"), by_seed)

    @property
    def rises(self) -> bool:
        """Whether its interval lies above 0."""
        return self.low > 0


@dataclass(frozen=True)
class FixedDifference:
    """Checkpoint ``a`` minus ``b`` at one fixed fraction.

    Attributes:
        kind: ``start``, ``control`` or ``previous``, as ``comparisons.planned_tests``.
        q, n_weights: how much was pruned.
        specific, benign: difference of harm-specific and of benign ΔL, nats per token.
        ratio: of harm-specific over benign ΔL; NaN: not defined.
        p, p_holm: of the swap test of ``specific``; corrected over the selection's tests at all fixed points. NaN: not
            tested.
    """

    a: str
    b: str
    kind: str
    q: float
    n_weights: int | None
    specific: Number
    benign: Number
    ratio: Number
    p: float
    p_holm: float

    @property
    def n_splits(self) -> int:
        return len(self.specific.by_seed)

    @property
    def above(self) -> int:
        """In how many splits the harm-specific ΔL of ``a`` is the larger one."""
        return sum(value > 0 for value in self.specific.by_seed)

    @property
    def judged(self) -> str:
        """What the harm-specific difference is called (``verdicts.called``)."""
        if math.isnan(self.p_holm):
            return UNTESTED
        return called(self.specific.value, self.specific.low, self.specific.high, self.p_holm, (LARGER, SMALLER))


class FixedResult:
    """The differences of one selection at its fixed fractions, in the order planned, q ascending.

    Attributes:
        result: what it was read from.
        fractions: the fixed fractions of this selection that were measured.
        tested: whether they have intervals and tests; False: made before the stable index.
    """

    def __init__(self, result: StoredResult):
        self.result = result
        self._rows = _by_address(result)
        self.tested = any(metric == SPECIFIC[0] for metric, *_ in self._rows)
        self.fractions = tuple(
            q
            for q in FIXED_Q.get(result.contrast, ())
            if ("harm_specific", "harm", result.start, _key(q)) in self._rows
        )

    @property
    def complete(self) -> bool:
        """Whether all fixed fractions of the selection were measured."""
        fixed = FIXED_Q.get(self.result.contrast, ())
        return bool(fixed) and len(self.fractions) == len(fixed)

    @cached_property
    def differences(self) -> list[FixedDifference]:
        """Every planned difference at every fixed fraction."""
        return [self._difference(test, q) for q in self.fractions for test in self.result.tests]

    def against_start(self) -> list[FixedDifference]:
        """The target minus the start, at each fraction."""
        return [d for d in self.differences if d.kind == "start" and d.a == self.result.target]

    def against_controls(self) -> list[FixedDifference]:
        """The target minus each control tuning of equal length, at each fraction."""
        return [d for d in self.differences if d.kind == "control" and d.a == self.result.target]

    def ends_against_start(self) -> list[FixedDifference]:
        """Each arm's last checkpoint minus the start, at each fraction; the target first."""
        last: dict[str, str] = {}
        for checkpoint in self.result.checkpoints[1:]:
            last[str(checkpoint["arm"] or checkpoint["name"])] = str(checkpoint["name"])
        found = [d for d in self.differences if d.kind == "start" and d.a in last.values()]
        return sorted(found, key=lambda d: d.a != self.result.target)

    # -- one number ---------------------------------------------------------------------------------------------------
    def ratio_of(self, name: str, q: float) -> Number:
        """Harm-specific over benign ΔL of a checkpoint; NaN where it is not defined or not stored."""
        return self._number(("ratio_to_benign", "harm"), name, q)

    def shift(self, metric: tuple[str, str], name: str, q: float) -> Number:
        """A checkpoint's own harm-specific or benign ΔL, by ``SPECIFIC`` or ``BENIGN``."""
        return self._number(_OF_CHECKPOINT[metric], name, q)

    def _difference(self, test: Mapping[str, str], q: float) -> FixedDifference:
        a, b = str(test["a"]), str(test["b"])
        condition = difference_name(a, b)

        def of(metric: tuple[str, str]) -> Number:
            return self._number(metric, condition, q) if self.tested else self._from_values(metric, a, b, q)

        return FixedDifference(
            a,
            b,
            str(test["kind"]),
            q,
            self._n_weights(q),
            of(SPECIFIC),
            of(BENIGN),
            of(RATIO),
            self._number(("stable_p_swap", "harm"), condition, q).value,
            self._number(("stable_p_holm", "harm"), condition, q).value,
        )

    def _n_weights(self, q: float) -> int | None:
        n = number(self._row(("harm_specific", "harm"), self.result.start, q), "n_weights")
        return None if math.isnan(n) else int(n)

    def _row(self, metric: tuple[str, str], condition: str, q: float) -> pd.Series | None:
        place = self._rows.get((*metric, condition, _key(q)))
        return None if place is None else self.result.frame.iloc[place]

    def _number(self, metric: tuple[str, str], condition: str, q: float) -> Number:
        row = self._row(metric, condition, q)
        by_seed = (number(self._row(metric, seed_name(condition, s), q), "value") for s in self.result.seeds)
        return Number.of(row, tuple(by_seed))

    def _from_values(self, metric: tuple[str, str], a: str, b: str, q: float) -> Number:
        """A difference of an old result: without an interval, and without a ratio where benign ΔL is near 0."""
        if metric == RATIO:
            first, second = (_ratio(self.shift(SPECIFIC, name, q), self.shift(BENIGN, name, q)) for name in (a, b))
            return Number(first - second, math.nan, math.nan)
        one, two = (self.shift(metric, name, q) for name in (a, b))
        return Number(one.value - two.value, math.nan, math.nan, tuple(_minus(one.by_seed, two.by_seed)))


def _minus(first: Sequence[float], second: Sequence[float]) -> Iterator[float]:
    return (a - b for a, b in zip(first, second, strict=True))


def _ratio(specific: Number, benign: Number) -> float:
    return specific.value / benign.value if benign.rises else math.nan


def _key(q: float) -> str:
    return f"{q:g}"


def _by_address(result: StoredResult) -> dict[tuple[str, str, str, str], int]:
    """(metric, category, condition, q) → the first such row of the selection that has a q."""
    frame = result.frame
    places: dict[tuple[str, str, str, str], int] = {}
    columns = (frame[name] for name in ("metric", "category", "condition", "contrast", "q"))
    for place, (metric, category, condition, contrast, q) in enumerate(zip(*columns, strict=True)):
        if contrast == result.contrast and not pd.isna(q):
            places.setdefault((metric, category, condition, _key(q)), place)
    return places

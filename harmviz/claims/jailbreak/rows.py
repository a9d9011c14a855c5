"""Numbers of single answers → tidy rows: every rate with n and interval, beside the intact model and the random masks.

What is measured of an answer stands in ``judging``. One attack on one mask: Wilson interval. Several attacks or
several drawn masks hold several answers to one request: there whole requests are resampled. ``delta_<metric>`` is the
paired difference to the intact model, ``excess_<metric>`` that to the mean of the random masks,
``from_direct_<metric>`` that to the bare request in the same state of the model, ``selective_<metric>`` the difference
of differences: how much further from the random masks harmful requests move than benign ones. Where a resampling
cannot vary (all alike), the interval is Wilson's for no hit in n. ``<metric>_draws``: lowest and highest of the drawn
masks. ``condition`` None pools all attacks but the bare request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harmviz.generation.repetition import is_collapsed
from harmviz.runs import Row, Where
from harmviz.stats.effects import excess_difference, paired_effect
from harmviz.stats.estimate import Estimate
from harmviz.stats.wilson import wilson

#: Numbers of one metric; NaN where an answer is unscored.
Values = Float[np.ndarray, "draws attacks requests"]
HARM, BENIGN = "harm", "benign"
#: Metrics that are compared with the intact model and with the random masks; those asked about harmful requests only;
#: and those that are no yes or no.
_COMPARED = ("refusal_rate", "compliance_rate", "attack_success", "harm_score")
_HARM_ONLY = ("harm_score", "attack_success")
_MEANS = ("repetition", "harm_score")


# -- estimates --------------------------------------------------------------------------------------------------------
def _clusters(scored: np.ndarray) -> np.ndarray:
    """Which request each scored number belongs to: ``scored [..., requests]`` → one number per True."""
    return np.asarray(np.broadcast_to(np.arange(scored.shape[-1]), scored.shape)[scored])


def _nothing() -> Estimate:
    return Estimate(math.nan, None, None, 0, 0, reason="no answer was scored")


def rate_of(values: Values, *, binary: bool, seed: int) -> Estimate:
    """Mean over what is scored, with its interval over requests; ``binary``: a share of yes-or-no answers."""
    scored = ~np.isnan(values)
    clusters, flat = _clusters(scored), values[scored]
    n = len(np.unique(clusters))
    if not n:
        return _nothing()
    if binary and values.shape[0] * values.shape[1] == 1:
        return wilson(int(flat.sum()), n)
    estimate = paired_effect(flat, clusters.tolist(), seed=seed)
    if binary and estimate.value in (0.0, 1.0):  # every resampling agrees
        return wilson(n if estimate.value else 0, n)
    return estimate


def difference_of(values: Values, others: Values, *, binary: bool, seed: int) -> Estimate:
    """Mean paired difference, draws averaged first, with its interval over requests."""
    delta = values.mean(axis=0) - others.mean(axis=0)  # NaN where a draw is unscored: such pairs are left out
    scored = ~np.isnan(delta)
    clusters, flat = _clusters(scored), delta[scored]
    n = len(np.unique(clusters))
    if not n:
        return _nothing()
    if binary and not flat.any():
        most = wilson(0, n).ci_high or 0.0
        return Estimate(0.0, -most, most, n, n)
    return paired_effect(flat, clusters.tolist(), seed=seed)


def selective_of(harm: tuple[Values, Values], benign: tuple[Values, Values], *, seed: int) -> Estimate:
    """(mask − others) of harmful requests minus (mask − others) of benign ones: a difference of differences.

    ``harm``, ``benign``: (under the mask, under the others), draws averaged first. Harmful and benign requests are
    resampled together, whole requests at a time.
    """
    sides = []
    for values, others in (harm, benign):
        delta = values.mean(axis=0) - others.mean(axis=0)
        scored = ~np.isnan(delta)
        sides += [delta[scored], _clusters(scored).tolist()]
    return excess_difference(*sides, seed=seed)


# -- rows -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Cell:
    """One state of the model (``arms``: its draws) under some attacks, asked one kind of request."""

    where: Where
    arms: Sequence[int]
    attacks: Sequence[int]
    requests: np.ndarray
    category: str

    @property
    def intact(self) -> bool:
        return self.where.point is None


class AnswerGrid:
    """Everything measured: ``values[metric] [arms, attacks, requests]``, NaN where unscored.

    Args:
        arms: (group, where its rows stand) of each state of the model; draws of one control share a group.
        attacks: their ids; ``bare``: which of them is the bare request, if one is.
        harmful: of each request, whether it asks for harm.
        seed: of the intervals.
    """

    def __init__(
        self,
        arms: Sequence[tuple[str, Where]],
        attacks: Sequence[str],
        harmful: Sequence[bool],
        *,
        bare: str | None,
        seed: int,
    ):
        self.arms, self.attacks, self.seed = tuple(arms), tuple(attacks), seed
        self.harmful = np.array(harmful, dtype=bool)
        self.values: dict[str, np.ndarray] = {}
        self._bare = None if bare is None else self.attacks.index(bare)
        self._groups: dict[str, list[int]] = {}
        for i, (group, _) in enumerate(self.arms):
            self._groups.setdefault(group, []).append(i)

    def put(self, arm: int, attack: int, measured: Mapping[str, Sequence[float]]) -> None:
        """Enters the numbers of one arm under one attack, a number per request."""
        for metric, numbers in measured.items():
            if metric not in self.values:
                self.values[metric] = np.full((len(self.arms), len(self.attacks), len(self.harmful)), np.nan)
            self.values[metric][arm, attack] = numbers

    def rows(self) -> Iterator[Row]:
        """All rows: by group of arms, attack (and all attacks pooled), kind of request, metric."""
        everything = range(len(self.attacks))
        pooled = [i for i in everything if i != self._bare] or list(everything)
        conditions = [*((name, [i]) for i, name in enumerate(self.attacks)), (None, pooled)]
        for members in self._groups.values():
            for condition, attacks in conditions:
                where = replace(self.arms[members[0]][1], condition=condition)
                for category, harmful in ((HARM, True), (BENIGN, False)):
                    cell = _Cell(where, members, attacks, np.flatnonzero(self.harmful == harmful), category)
                    for metric in self.values:
                        yield from self._metric(metric, cell)
                    yield from self._collapse(cell)

    def _members(self, *, control: str) -> Sequence[int]:
        """The draws of a control; none where it was not measured."""
        return next((m for m in self._groups.values() if self.arms[m[0]][1].control == control), ())

    def _intact(self) -> Sequence[int]:
        return next(m for m in self._groups.values() if self.arms[m[0]][1].point is None)

    def _of(self, metric: str, cell: _Cell) -> Values:
        return self.values[metric][np.ix_(np.array(cell.arms), np.array(cell.attacks), cell.requests)]

    def _metric(self, metric: str, cell: _Cell) -> Iterator[Row]:
        harm_only = metric.startswith(_HARM_ONLY) or (
            metric.startswith("unscored:") and not self._asked(metric, cell.requests)
        )
        if harm_only and cell.category == BENIGN:
            return  # harm judges are not asked about benign requests
        values = self._of(metric, cell)
        binary = not metric.startswith(_MEANS)
        unit = "score, 0 to 1" if metric.startswith("harm_score") else "fraction"

        def row(name: str, estimate: Estimate, unit: str = unit) -> Row:
            return cell.where.estimate(name, estimate, unit=unit, category=cell.category)

        def compared(name: str, other: _Cell) -> Row:
            difference = difference_of(values, self._of(metric, other), binary=binary, seed=self.seed)
            return row(f"{name}_{metric}", difference)

        yield row(metric, rate_of(values, binary=binary, seed=self.seed))
        if not metric.startswith(_COMPARED):
            return
        if self._bare is not None and cell.attacks != [self._bare]:
            yield compared("from_direct", replace(cell, attacks=[self._bare]))
        if not cell.intact:
            yield compared("delta", replace(cell, arms=self._intact()))
        if not cell.intact and cell.where.control != "random" and (drawn := self._members(control="random")):
            yield compared("excess", replace(cell, arms=drawn))
            asked = replace(cell, requests=np.flatnonzero(~self.harmful), category=BENIGN)
            if cell.category == HARM and len(asked.requests) and self._asked(metric, asked.requests):
                pairs = [
                    (self._of(metric, side), self._of(metric, replace(side, arms=drawn))) for side in (cell, asked)
                ]
                yield row(f"selective_{metric}", selective_of(*pairs, seed=self.seed))
        if len(cell.arms) > 1:
            each = [float(np.nanmean(draw)) for draw in values if not np.isnan(draw).all()]
            if each:
                spread = Estimate(float(np.mean(each)), min(each), max(each), n := len(cell.requests), n)
                yield row(f"{metric}_draws", spread, f"{unit}: lowest and highest of {len(each)} draws")

    def _asked(self, metric: str, requests: np.ndarray) -> bool:
        return not bool(np.isnan(self.values[metric][:, :, requests]).all())

    def _collapse(self, cell: _Cell) -> Iterator[Row]:
        """Whether the answers repeat themselves so much more than the intact model's that they are none."""
        if cell.intact:
            return
        before = self._of("repetition", replace(cell, arms=self._intact()))
        after = self._of("repetition", cell)
        value, n = None, 0
        if not (np.isnan(before).all() or np.isnan(after).all()):
            reason = is_collapsed(None, float(np.nanmean(before)), float(np.nanmean(after)))
            value, n = float(reason is not None), len(cell.requests)
        yield cell.where.value("collapsed", value, unit="label", category=cell.category, n=n)

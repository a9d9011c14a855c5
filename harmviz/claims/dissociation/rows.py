"""From what was measured to tidy rows: each ability before and after, its change against intact and against random
control.

``condition`` is the ability: ``generation``, ``recognition``, ``explanation``, ``refusal``. ``mask``: ``mean(all)`` the
harm mask at its chosen point, ``matched(mean(all))`` turned down to matched strength, ``refusal`` the measurement mask;
None: intact. ``contrast`` tells plain from contrastive, for the refusal mask too.

A change against the intact model has a metric ``delta_…`` (``delta_nll``, ``delta_auc``, …), one against the mean of
the random draws, or against the benign-signed control, ``excess_over_control`` (nats) or ``excess_…``; all are paired,
with cluster-bootstrap intervals over prompts or pairs.

``standardised`` puts the abilities on one axis, negative where there is less of the ability:

- generation, explanation: ``−ΔL / SD``, the SD of the intact loss over the prompts (harmful answers; reasons);
- refusal: ``Δ log-odds / SD``, the SD of the intact refusal log-odds over the requests;
- recognition: the change of d′, the distance between harmful and harmless requests in SDs of their scores.

The intact SD is taken as known. It, and not the SD of the differences, is the yardstick: a control that moves every
prompt by the same thousandth of a nat would otherwise look like a large effect.

``testable`` 1: the intact model has the ability to lose, so that a change means something (METHOD.md, section 4): its
AUC interval lies above 0.5 (recognition, and refusal log-odds of harmful against harmless twins), or its keyword
refusal rate lies above the share of compliant answers that the keyword list takes for refusals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harmviz.claims.dissociation.abilities import Abilities, select
from harmviz.claims.dissociation.recognition import PHRASINGS
from harmviz.claims.mapping.effects import NATS, effect_rows
from harmviz.generation.repetition import is_collapsed
from harmviz.judges.keyword import KeywordJudge
from harmviz.judges.labels import HUMAN
from harmviz.runs import Row
from harmviz.runs.point import Point
from harmviz.runs.rows import Where
from harmviz.stats.auc import auc, auc_difference, sensitivity
from harmviz.stats.bootstrap import paired_effect
from harmviz.stats.estimate import Estimate
from harmviz.stats.wilson import wilson

Values = Mapping[str, np.ndarray]
#: The keyword list fires on this share of answers that people scored as harmful (``harmviz.data.refusal``: 27 of 539):
#: a refusal rate whose interval reaches down to it is no rate of refusals.
FALSE_ALARMS = 0.05
SHARE, LABEL, SDS, AUC, ODDS = "share", "label", "SD", "AUC", "nats"
ALL = "all"


@dataclass(frozen=True)
class Yardstick:
    """SDs of the intact model over prompts, by (ability, category); 0 where there is no spread."""

    sd: Mapping[tuple[str, str], float]

    def rows(self, **facts: Any) -> Iterator[Row]:
        for (condition, category), value in self.sd.items():
            yield Row(
                condition=condition,
                category=category,
                metric="intact_sd",
                value=value or None,
                unit=ODDS if condition == "refusal" else NATS,
                **facts,
            )


def yardstick(abilities: Abilities, intact: Values) -> Yardstick:
    """The intact model's spread over prompts, that changes are measured in."""
    sets, loss = np.array(abilities.report.sets), intact["generation"]
    found = {
        ("generation", "harm"): loss[np.isin(sets, abilities.categories)],
        ("generation", "benign"): loss[sets == "benign"],
        ("explanation", "harmful"): intact["explanation"][:, 0],
        ("explanation", "harmless"): intact["explanation"][:, 1],
        ("refusal", "harmful"): intact["log_odds"],
    }
    return Yardstick({key: float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for key, v in found.items()})


def estimated(estimate: Estimate, unit: str, **facts: Any) -> Row:
    """A row of an estimate; n counts clusters."""
    value = None if math.isnan(estimate.value) else estimate.value
    return Row(value=value, ci_low=estimate.ci_low, ci_high=estimate.ci_high, n=estimate.n_clusters, unit=unit, **facts)


class Rows:
    """Writes rows of measured values. ``values`` everywhere: ability → one line per item."""

    def __init__(self, abilities: Abilities, yards: Yardstick, seed: int):
        self.abilities, self.yards, self.seed = abilities, yards, seed

    # -- levels -------------------------------------------------------------------------------------------------
    def intact(self, values: Values, harmless: np.ndarray, **facts: Any) -> Iterator[Row]:
        """The intact model: its levels, its spread, and which abilities can be tested at all."""
        a = self.abilities
        where = _generation(facts)
        yield from effect_rows(a.report, values["generation"], a.categories, where, seed=self.seed, metric="nll")
        for k, category in enumerate(("harmful", "harmless")):
            loss = paired_effect(values["explanation"][:, k], a.pair_ids, seed=self.seed)
            yield estimated(loss, NATS, condition="explanation", category=category, metric="nll", **facts)
        yield from self.levels(values, **facts)
        yield from self.yards.rows(**facts)
        for category, scores in _by_phrasing(values["recognition"]):
            yield self._testable("recognition", category, scores, **facts)
        odds = np.stack([values["log_odds"], harmless], axis=1)
        common: dict[str, Any] = {"condition": "refusal", "category": "refusal_log_odds", **facts}
        yield estimated(auc(odds, seed=self.seed), AUC, metric="auc", **common)
        yield self._testable("refusal", "refusal_log_odds", odds, **facts)
        rate = _rate(values["answers"])
        above = rate.ci_low is not None and rate.ci_low > FALSE_ALARMS
        yield Row(metric="testable", value=float(above), n=rate.n, unit=LABEL, **{**common, "category": "refusal_rate"})
        for m in KeywordJudge().quality.measures:
            if m.measure in ("recall", "precision") and m.on == HUMAN:
                yield Row(
                    metric=f"keyword_{m.measure}",
                    value=m.value,
                    ci_low=m.ci_low,
                    ci_high=m.ci_high,
                    n=m.n,
                    unit=SHARE,
                    **{**common, "category": "refusal_rate"},
                )

    def levels(self, values: Values, **facts: Any) -> Iterator[Row]:
        """AUC, accuracy and d′ of recognition over all phrasings and by phrasing; refusal rate and log-odds."""
        for category, scores in _by_phrasing(values["recognition"]):
            common: dict[str, Any] = {"condition": "recognition", "category": category, **facts}
            yield estimated(auc(scores, seed=self.seed), AUC, metric="auc", **common)
            yield estimated(
                paired_effect(right(scores), range(len(scores)), seed=self.seed), SHARE, metric="accuracy", **common
            )
            yield estimated(sensitivity(scores, seed=self.seed), SDS, metric="d_prime", **common)
        common = {"condition": "refusal", **facts}
        odds = paired_effect(values["log_odds"], range(len(values["log_odds"])), seed=self.seed)
        yield estimated(odds, ODDS, metric="refusal_log_odds", category="harmful", **common)
        rate = _rate(values["answers"])
        value = rate.value if rate.n else None
        yield Row(
            metric="refusal_rate",
            category="harm",
            value=value,
            ci_low=rate.ci_low,
            ci_high=rate.ci_high,
            n=rate.n,
            unit=SHARE,
            **common,
        )

    def mean_levels(self, draws: Sequence[Values], **facts: Any) -> Iterator[Row]:
        """As ``levels`` for the draws of a control: scores averaged over draws; the refusal rate is that of all their
        answers.
        """
        together = mean_of(draws)
        answers = np.concatenate([d["answers"] for d in draws])
        yield from self.levels({**together, "answers": answers}, **facts)

    def _testable(self, condition: str, category: str, scores: np.ndarray, **facts: Any) -> Row:
        found = auc(scores, seed=self.seed)
        above = found.ci_low is not None and found.ci_low > 0.5
        return Row(
            condition=condition,
            category=category,
            metric="testable",
            value=float(above),
            n=found.n,
            unit=LABEL,
            **facts,
        )

    # -- changes ------------------------------------------------------------------------------------------------
    def changes(self, values: Values, intact: Values, items: Values | None = None, /, **facts: Any) -> Iterator[Row]:
        """What a mask changes against the intact model, raw and standardised.

        ``items``: the items measured, by ability (None: all).
        """
        a, seed, sd = self.abilities, self.seed, self.yards.sd
        report = a.report if items is None else select(a.report, items["generation"])
        delta = values["generation"] - intact["generation"]
        for row in effect_rows(report, delta, a.categories, _generation(facts), seed=seed):
            yield row
            if row.metric == "delta_nll" and row.category in ("harm", "benign"):
                yield _standardised(row, -1.0, sd["generation", row.category])
        benign = delta[np.array(report.sets) == "benign"]
        if len(benign):
            broken = is_collapsed(float(benign.mean())) is not None
            yield Row(
                condition="generation",
                category="benign",
                metric="collapsed",
                value=float(broken),
                n=len(benign),
                unit=LABEL,
                **facts,
            )
        for row in self._explained(values, intact, "delta_nll", **facts):
            yield row
            if row.metric == "delta_nll":
                yield _standardised(row, -1.0, sd["explanation", str(row.category)])
        yield from self._recognised(values, intact, "delta", **facts)
        moved = sensitivity(_mean(values["recognition"]), _mean(intact["recognition"]), seed=seed)
        yield estimated(moved, SDS, condition="recognition", category=ALL, metric="standardised", **facts)
        for row in self._declined(values, intact, "delta", **facts):
            yield row
            if row.metric == "delta_refusal_log_odds":
                yield _standardised(row, 1.0, sd["refusal", "harmful"])

    def excess(self, values: Values, control: Values, items: Values | None = None, /, **facts: Any) -> Iterator[Row]:
        """What a mask changes beyond a control (or the mean of its draws), on the ``items`` that both were measured on."""
        a = self.abilities
        more = values["generation"] - control["generation"]
        report = a.report if items is None else select(a.report, items["generation"])
        where = _generation(facts)
        yield from effect_rows(report, more, a.categories, where, seed=self.seed, metric="excess_over_control")
        yield from self._explained(values, control, "excess_over_control", **facts)
        yield from self._recognised(values, control, "excess", **facts)
        yield from self._declined(values, control, "excess", **facts)

    def _explained(self, values: Values, before: Values, metric: str, **facts: Any) -> Iterator[Row]:
        delta = values["explanation"] - before["explanation"]
        common: dict[str, Any] = {"condition": "explanation", **facts}
        for k, category in enumerate(("harmful", "harmless")):
            yield estimated(
                paired_effect(delta[:, k], range(len(delta)), seed=self.seed),
                NATS,
                category=category,
                metric=metric,
                **common,
            )
        if metric == "delta_nll":
            specific = paired_effect(delta[:, 0] - delta[:, 1], range(len(delta)), seed=self.seed)
            yield estimated(specific, NATS, category="harmful", metric="harm_specific", **common)

    def _recognised(self, values: Values, before: Values, prefix: str, **facts: Any) -> Iterator[Row]:
        both = zip(_by_phrasing(values["recognition"]), _by_phrasing(before["recognition"]), strict=True)
        for (category, now), (_, then) in both:
            common: dict[str, Any] = {"condition": "recognition", "category": category, **facts}
            yield estimated(auc_difference(now, then, seed=self.seed), AUC, metric=f"{prefix}_auc", **common)
            change = paired_effect(right(now) - right(then), range(len(now)), seed=self.seed)
            yield estimated(change, SHARE, metric=f"{prefix}_accuracy", **common)

    def _declined(self, values: Values, before: Values, prefix: str, **facts: Any) -> Iterator[Row]:
        common: dict[str, Any] = {"condition": "refusal", **facts}
        odds = values["log_odds"] - before["log_odds"]
        yield estimated(
            paired_effect(odds, range(len(odds)), seed=self.seed),
            ODDS,
            category="harmful",
            metric=f"{prefix}_refusal_log_odds",
            **common,
        )
        flags = values["answers"] - before["answers"]
        known = np.flatnonzero(~np.isnan(flags))  # an empty answer is unscored, and so is its pair
        yield estimated(
            paired_effect(flags[known], known, seed=self.seed),
            SHARE,
            category="harm",
            metric=f"{prefix}_refusal_rate",
            **common,
        )


def _generation(facts: Mapping[str, Any]) -> Where:
    """What rows about generation are about, out of the columns that all rows of a state of the model share."""
    return Where(
        experiment=facts["experiment"],
        condition="generation",
        point=None if facts.get("mask") is None else Point.of_row(facts),
        control=facts.get("control", "none"),
        n_weights=facts.get("n_weights"),
        skip_tokens=facts.get("skip_tokens"),
    )


def _standardised(row: Row, sign: float, sd: float) -> Row:
    """The same change in intact SDs; without a spread it has no value."""
    facts = {f: getattr(row, f) for f in Row.__slots__}
    if row.value is None or not sd:
        numbers: tuple[float | None, ...] = (None, None, None)
    else:
        ends = (row.ci_low, row.ci_high) if sign > 0 else (row.ci_high, row.ci_low)
        numbers = (sign * row.value / sd, *(None if e is None else sign * e / sd for e in ends))
    return Row(
        **{
            **facts,
            "metric": "standardised",
            "unit": SDS,
            "value": numbers[0],
            "ci_low": numbers[1],
            "ci_high": numbers[2],
        }
    )


def right(scores: np.ndarray) -> np.ndarray:
    """``[n]``: share of a pair that the sign of the log-odds calls by its name: 1 both, ½ one of them or two ties, 0
    none.
    """
    correct = np.stack([scores[:, 0] > 0, scores[:, 1] < 0], axis=1) + 0.5 * (scores == 0)
    return np.asarray(correct.mean(axis=1))


def _mean(scores: np.ndarray) -> np.ndarray:
    """``[pairs, 2]``: scores averaged over phrasings and orders."""
    return np.asarray(scores.mean(axis=(2, 3)))


def _by_phrasing(scores: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(``all`` or a phrasing's name, ``[pairs, 2]``): averaged over everything, then over both orders of each phrasing."""
    return [(ALL, _mean(scores)), *((p.name, scores[:, :, k].mean(axis=2)) for k, p in enumerate(PHRASINGS))]


def _rate(flags: np.ndarray) -> Any:
    scored = flags[~np.isnan(flags)]
    return wilson(int(scored.sum()), len(scored))


def mean_of(draws: Sequence[Values]) -> dict[str, np.ndarray]:
    """Item by item the mean over draws."""
    return {name: np.mean([d[name] for d in draws], axis=0) for name in draws[0]}

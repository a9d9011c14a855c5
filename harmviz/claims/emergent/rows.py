"""From measurements to tidy rows. What each metric means, and in which rows it comes, is listed here alone.

``condition`` is the arm, pooled over seeds, or ``<arm>#<seed>``. ``category`` is ``broad`` (all questions far from the
domain), a kind of question, ``in_domain`` (held-out rows of the domain), ``benign``, ``answers`` (free ones) or
``weights``.

=========================== ========================== =================== ==========================================
metric                      category                   unit                meaning
=========================== ========================== =================== ==========================================
``log_odds``                broad, kinds, in_domain    nats/token          misaligned (bad) against aligned (good)
                                                                           answer; positive: misaligned is likelier
``log_odds_shift``          the same                   nats/token          arm − base, paired by question; pooled and
                                                                           by seed
``difference_from_bad``     the same                   nats/token          shift of the arm − shift of narrow-bad
``excess_over_control``     the same                   nats/token          shift of a pruned arm − shift of random-held
                                                                           or benign-held (column ``control``)
``relative_reduction``      broad, in_domain           fraction            pruned arms: 1 − shift / shift of narrow-bad;
                                                                           None where that one's interval includes 0
``nll``, ``delta_nll``      benign                     nats/token          loss of harmless answers by others, its shift
``repetition``,             answers                    fraction            of the greedy answers
``coherent_share``
``surprise``                answers                    nats/token          of the greedy answers
``judged_harm``             answers                    score               of the coherent ones
``change_share``,           weights                    fraction            part of ΔW² on the set; part of the set among
``top_<f>_share``                                                          the f most changed weights
``…_chance``                weights                    fraction            the same for as many weights drawn in each
                                                                           matrix; by seed with the range of draws
``…_times_chance``          weights                    ratio               share / chance, pooled
``regrown_share``           weights                    fraction            Σ W² of the pruned weights after training /
                                                                           before pruning
``held_nonzero``            weights                    weights             most held weights that were not exactly 0 at
                                                                           a saved step; n = saved steps
``mask_jaccard``            weights                    fraction            overlap of the harm masks of two seeds, mean
                                                                           over pairs
=========================== ========================== =================== ==========================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from harmviz.claims.emergent.bench import Bench
from harmviz.claims.emergent.change import TOP
from harmviz.claims.emergent.settings import Arm, EmergentSpec
from harmviz.data.folding import normalise
from harmviz.generation.repetition import is_collapsed
from harmviz.masks.mask import PruneMask
from harmviz.runs import Point, Row, Where
from harmviz.stats.crossed import crossed_bootstrap
from harmviz.stats.estimate import Estimate

NATS = "nats/token"
#: Sets of weights that the change is measured on, and how their rows name them: (mask, control) columns.
GENERAL = "general"


@dataclass(frozen=True)
class Measured:
    """All measurements. ``values[arm, seed]`` and ``answers[arm, seed]`` as ``Bench`` gives them (``base`` under each
    seed), ``masks[seed][name]``, ``change[arm, seed]`` as ``change_shares``, ``regrown[arm, seed]``, ``nonzero[arm]``:
    held weights that were not 0, one entry per saved step."""

    spec: EmergentSpec
    bench: Bench = field(repr=False)
    values: dict[tuple[str, int], np.ndarray] = field(repr=False)
    answers: dict[tuple[str, int], list[dict[str, Any]]] = field(repr=False)
    masks: dict[int, dict[str, PruneMask]] = field(repr=False)
    change: dict[tuple[str, int], dict[str, dict[str, Any]]]
    regrown: dict[tuple[str, int], float]
    nonzero: dict[str, list[int]]

    def table(self, arm: str, columns: np.ndarray | slice) -> np.ndarray:
        """``[seeds, columns]``. The base model is measured on all rows once; each seed counts those it holds out."""
        rows = []
        for seed in self.spec.all_seeds:
            of_arm, of_bad = self.values[arm, seed], self.values["narrow-bad", seed]
            rows.append(np.where(np.isnan(of_bad), np.nan, of_arm)[columns])
        return np.array(rows)

    @property
    def clusters(self) -> list[str]:
        """The prompt of each column."""
        domain = self.bench.domain
        texts = [*(q.prompt for q in domain.questions), *(r.prompt for r in domain.rows)]
        return [*map(normalise, texts), *(s.prompt_id for s in self.bench.benign)]

    def categories(self) -> dict[str, np.ndarray]:
        """Column numbers of each category of log-odds."""
        parts = self.bench.columns()
        kinds = np.array([q.kind for q in self.bench.domain.questions])
        by_kind = {kind: np.flatnonzero(kinds == kind) for kind in self.bench.domain.kinds}
        d = parts["in_domain"]
        return {"broad": np.arange(len(kinds)), **by_kind, "in_domain": np.arange(d.start, d.stop)}


class Report:
    """Makes the rows of one experiment."""

    def __init__(self, measured: Measured):
        self.m, self.spec = measured, measured.spec
        self.arms = self.spec.all_arms
        self.clusters = measured.clusters

    def rows(self) -> Iterator[Row]:
        for arm in self.arms:
            yield from self._log_odds(arm)
            yield from self._benign(arm)
            yield from self._answers(arm)
            yield from self._weights(arm)
        yield from self._against_controls()
        yield from self._masks()

    def collapsed(self) -> dict[str, str]:
        """Arm → why it counts as collapsed; gibberish is not safety."""
        reasons = {}
        base = _mean([a["repetition"] for s in self.spec.all_seeds for a in self.m.answers["base", s]])
        benign = self.m.bench.columns()["benign"]
        for arm in self.arms:
            rise = float(np.mean(self.m.table(arm.name, benign) - self.m.table("base", benign)))
            own = _mean([a["repetition"] for s in self.spec.all_seeds for a in self.m.answers[arm.name, s]])
            if why := is_collapsed(rise, base, own if base is not None else None):
                reasons[arm.name] = why
        return reasons

    # -- parts --------------------------------------------------------------------------------------------------
    def _where(self, arm: Arm, seed: int | None = None, control: str | None = None) -> Where:
        """Where rows about an arm belong, of one seed or pooled; or about it against a control."""
        condition = arm.name if seed is None else f"{arm.name}#{seed}"
        where = Where(experiment="emergent", condition=condition, control=control or arm.control)
        if arm.mask is None:
            return where
        seeds = self.spec.all_seeds if seed is None else (seed,)
        sizes = {self.m.masks[s][mask_name(arm)].n_weights for s in seeds}
        contrast = "both" if arm.mask == "harm" else "none"
        point = Point(self.spec.domain, arm.q or self.spec.q, self.spec.p, contrast=contrast)
        return replace(where, point=point, n_weights=sizes.pop() if len(sizes) == 1 else None)

    def _estimate(self, tables: Sequence[np.ndarray], columns: np.ndarray, *statistic: Any) -> Estimate:
        return crossed_bootstrap(tables, [self.clusters[c] for c in columns], *statistic, seed=self.spec.seed)

    def _shift(self, arm: str, columns: np.ndarray) -> np.ndarray:
        return self.m.table(arm, columns) - self.m.table("base", columns)

    def _log_odds(self, arm: Arm) -> Iterator[Row]:
        where = self._where(arm)
        for category, columns in self.m.categories().items():
            level = self._estimate([self.m.table(arm.name, columns)], columns)
            yield where.estimate("log_odds", level, unit=NATS, category=category)
            if arm.name == "base":
                continue
            shift, bad = self._shift(arm.name, columns), self._shift("narrow-bad", columns)
            pooled = self._estimate([shift], columns)
            yield where.estimate("log_odds_shift", pooled, unit=NATS, category=category)
            for place, seed in enumerate(self.spec.all_seeds):
                of_seed = self._estimate([shift[place : place + 1]], columns)
                yield self._where(arm, seed).estimate("log_odds_shift", of_seed, unit=NATS, category=category)
            if arm.name == "narrow-bad":
                continue
            difference = self._estimate([shift - bad], columns)
            yield where.estimate("difference_from_bad", difference, unit=NATS, category=category)
            if arm.mask is not None and category in ("broad", "in_domain"):
                reduction = self._reduction(shift, bad, columns)
                yield where.estimate("relative_reduction", reduction, unit="fraction", category=category)

    def _reduction(self, shift: np.ndarray, bad: np.ndarray, columns: np.ndarray) -> Estimate:
        """1 − shift / shift of narrow-bad, where that one differs from 0; else no value."""
        of_bad = self._estimate([bad], columns)
        if of_bad.ci_low is None or of_bad.ci_high is None or of_bad.ci_low <= 0 <= of_bad.ci_high:
            return Estimate(
                float("nan"), None, None, of_bad.n, of_bad.n_clusters, reason="narrow-bad moves nothing for certain"
            )
        return self._estimate([shift, bad], columns, lambda means: 1 - means[..., 0] / means[..., 1])

    def _benign(self, arm: Arm) -> Iterator[Row]:
        part, where = self.m.bench.columns()["benign"], self._where(arm)
        columns = np.arange(part.start, part.stop)
        level = self._estimate([self.m.table(arm.name, columns)], columns)
        yield where.estimate("nll", level, unit=NATS, category="benign")
        if arm.name != "base":
            shift = self._estimate([self._shift(arm.name, columns)], columns)
            yield where.estimate("delta_nll", shift, unit=NATS, category="benign")

    def _answers(self, arm: Arm) -> Iterator[Row]:
        of_seed = [self.m.answers[arm.name, s] for s in self.spec.all_seeds]
        if not of_seed[0]:
            return
        clusters = [a["question"] for a in of_seed[0]]
        for metric, key, unit in (
            ("repetition", "repetition", "fraction"),
            ("surprise", "surprise", NATS),
            ("coherent_share", "coherent", "fraction"),
            ("judged_harm", "harm", "score"),
        ):
            table = np.array([[np.nan if a[key] is None else float(a[key]) for a in answers] for answers in of_seed])
            estimate = crossed_bootstrap([table], clusters, seed=self.spec.seed)
            yield self._where(arm).estimate(metric, estimate, unit=unit, category="answers")

    def _against_controls(self) -> Iterator[Row]:
        """Pruning the harm weights against pruning as many others: the one difference that is about *these* weights."""
        controls = [a for a in self.arms if a.control != "none"]
        for arm in (a for a in self.arms if a.mask == "harm" and a.q is None):
            for control in controls:
                for category, columns in self.m.categories().items():
                    excess = self._shift(arm.name, columns) - self._shift(control.name, columns)
                    yield self._where(arm, control=control.control).estimate(
                        "excess_over_control", self._estimate([excess], columns), unit=NATS, category=category
                    )

    def _weights(self, arm: Arm) -> Iterator[Row]:
        seeds, where = self.spec.all_seeds, self._where(arm)
        if steps := self.m.nonzero.get(arm.name):
            most = float(max(steps))
            yield where.value("held_nonzero", most, unit="weights", category="weights", n=len(steps))
        if regrown := [self.m.regrown[arm.name, s] for s in seeds if (arm.name, s) in self.m.regrown]:
            yield where.estimate("regrown_share", _over_seeds(regrown), unit="fraction", category="weights")
        for name in ("harm", "benign", GENERAL):
            by_seed = [
                (s, self.m.change[arm.name, s][name]) for s in seeds if name in self.m.change.get((arm.name, s), {})
            ]
            if by_seed:
                yield from self._change(arm, name, by_seed)

    def _change(self, arm: Arm, name: str, by_seed: list[tuple[int, dict[str, Any]]]) -> Iterator[Row]:
        """How much of the tuning's change falls on one set of weights; no mask was applied."""

        def where(seed: int | None, n_weights: int | None = None) -> Where:
            control = "benign_signed" if name == "benign" else "none"
            measured_on = GENERAL if name == GENERAL else self.spec.domain
            return replace(self._where(arm, seed, control), mask=measured_on, n_weights=n_weights)

        pooled = where(None)
        for key, metric in (("change", "change_share"), *((f"top {f:g}", f"top_{f:g}_share") for f in TOP)):
            share, chance = ([change[key][part] for _, change in by_seed] for part in ("value", "chance"))
            yield pooled.estimate(metric, _over_seeds(share), unit="fraction", category="weights")
            yield pooled.estimate(f"{metric}_chance", _over_seeds(chance), unit="fraction", category="weights")
            ratio = _over_seeds(share, chance)
            yield pooled.estimate(f"{metric}_times_chance", ratio, unit="ratio", category="weights")
            for seed, change in by_seed:
                n, drawn = int(change["n_weights"]), change[key]
                of_seed = where(seed, n)
                yield of_seed.value(metric, drawn["value"], unit="fraction", category="weights", n=n)
                by_chance = Estimate(drawn["chance"], drawn["low"], drawn["high"], n, n)
                yield of_seed.estimate(f"{metric}_chance", by_chance, unit="fraction", category="weights")

    def _masks(self) -> Iterator[Row]:
        pairs = [self._jaccard(a, b) for a, b in combinations(self.spec.all_seeds, 2)]
        if pairs:
            point = Point(self.spec.domain, self.spec.q, self.spec.p, contrast="both")
            where, mean = Where(experiment="emergent", point=point), float(np.mean(pairs))
            yield where.value("mask_jaccard", mean, unit="fraction", category="weights", n=len(pairs))

    def _jaccard(self, a: int, b: int) -> float:
        one, other = self.m.masks[a]["harm"], self.m.masks[b]["harm"]
        union = (one | other).n_weights
        return (one & other).n_weights / union if union else 0.0


def mask_name(arm: Arm) -> str:
    """The name of the arm's mask among the masks of a seed."""
    return {"harm": "harm", "random": "random", "benign_signed": "benign"}[str(arm.mask)] + (
        f"-{arm.q:g}" if arm.q else ""
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _over_seeds(values: Sequence[float], divisor: Sequence[float] | None = None) -> Estimate:
    """Mean over seeds, or the ratio of two means, with its interval over seeds; ``n`` is the number of seeds."""
    tables = [np.array(v)[:, None] for v in ((values,) if divisor is None else (values, divisor))]
    if divisor is not None and not sum(divisor) > 0:
        return Estimate(float("nan"), None, None, len(values), len(values), reason="chance gives 0")
    estimate = crossed_bootstrap(
        tables, ["all"], (lambda m: m[..., 0]) if divisor is None else (lambda m: m[..., 0] / m[..., 1])
    )
    return estimate._replace(n=len(values), n_clusters=len(values))

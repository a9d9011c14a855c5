"""The rows of an alignment-compression result: one number a line, with n, interval and each seed's own value.

``condition`` is a checkpoint's name; ``<name>#<seed>`` is that checkpoint in one scoring split alone, a value without
an interval; ``<a> minus <b>`` a difference of two. Metrics:

- ``separability``, ``separability_crossfit``, ``separability_relative`` (over the intact harm loss), ``q_at_<level>``;
- ``separability_difference``, ``crossfit_difference``, ``p_swap``, ``p_holm`` (corrected over the tests of a
  selection);
- ``delta_nll`` and ``harm_specific`` at each grid point, ``nll``;
- ``jaccard``, ``jaccard_half``, ``jaccard_ceiling``, ``jaccard_chance``: means over pairs of categories;
- ``gini``, ``effective_count`` of the mean harm score;
- behaviour as the ladder measured it: ``refusal/…``, ``loss/…``.

The primary ones, at fixed fractions, are told and made in ``stable_rows``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harmviz.claims.compression.comparisons import difference_name, planned_tests, seed_name
from harmviz.claims.compression.overlaps import METRICS
from harmviz.claims.compression.results import Results
from harmviz.claims.compression.row_address import HARM, finite, or_none, ranking_of, where_of
from harmviz.claims.compression.separability import Resampled
from harmviz.claims.compression.series import Checkpoint
from harmviz.claims.compression.stable_rows import stable_rows
from harmviz.claims.compression.swap_test import holm, swap_p_value
from harmviz.claims.mapping.effects import NATS
from harmviz.claims.mapping.settings import BENIGN_LIMIT, CONTRASTS
from harmviz.runs import Row
from harmviz.runs.point import MEAN_OF_ALL, Point
from harmviz.stats.estimate import Estimate

#: Harm-specific shifts (nats/token) whose smallest fraction is looked for.
LEVELS = (0.1, 0.2)
SHARE = "fraction"


def all_rows(results: Results) -> Iterator[Row]:
    """Every row of the result."""
    spec = results.spec
    world = Resampled(results.measured(), results.categories, spec.points, BENIGN_LIMIT, seed=spec.seed)
    checkpoints = results.series.checkpoints
    names = [c.name for c in checkpoints]
    for contrast in CONTRASTS:
        yield from _separability(world, names, results.seeds, contrast)
        yield from _tests(world, checkpoints, contrast, spec.seed)
        yield from stable_rows(world, checkpoints, results.seeds, contrast, spec.seed)
    yield from _losses(world, names)
    yield from _shifts(world, names, results)
    yield from _overlaps(results)
    yield from _concentration(results)
    yield from _behaviour(results)


def _separability(world: Resampled, names: Sequence[str], seeds: Sequence[int], contrast: str) -> Iterator[Row]:
    selection = ranking_of(world, contrast)
    intact = world.combined(world.intact(HARM))
    for metric, of_split in (
        ("separability", world.separability(contrast)),
        ("separability_crossfit", world.cross_fitted(contrast)),
    ):
        chosen = world.chosen(contrast) if metric == "separability" else None
        mean = world.combined(of_split)
        for i, name in enumerate(names):
            where = where_of(name, selection)
            yield where.estimate(metric, finite(world.estimate(mean[:, i])), unit=NATS, category=HARM)
            if chosen is not None:
                part = finite(world.estimate(mean[:, i] / intact[:, i]))
                yield where.estimate("separability_relative", part, unit="ratio", category=HARM)
            for k, seed in enumerate(seeds):
                point = None if chosen is None else chosen[k][i]
                of_seed = selection if point is None else world.points[point]
                yield where_of(seed_name(name, seed), of_seed).value(
                    metric, or_none(of_split[0, k, i]), unit=NATS, category=HARM, n=len(set(world.measured[k].prompts))
                )
    for level in LEVELS:
        reached = world.first_reaching(contrast, level)
        for i, name in enumerate(names):
            fraction = finite(world.estimate(reached[:, i]))
            yield where_of(name, selection).estimate(f"q_at_{level:g}", fraction, unit=SHARE, category=HARM)


def _tests(world: Resampled, checkpoints: Sequence[Checkpoint], contrast: str, seed: int) -> Iterator[Row]:
    tests, place = planned_tests(checkpoints), {c.name: i for i, c in enumerate(checkpoints)}
    pairs = [(place[t["a"]], place[t["b"]]) for t in tests]
    selection = ranking_of(world, contrast)
    places = [where_of(difference_name(t["a"], t["b"]), selection) for t in tests]
    for metric, of_split in (
        ("separability_difference", world.separability(contrast)),
        ("crossfit_difference", world.cross_fitted(contrast)),
    ):
        mean = world.combined(of_split)
        for where, (a, b) in zip(places, pairs, strict=True):
            difference = finite(world.estimate(mean[:, a] - mean[:, b]))
            yield where.estimate(metric, difference, unit=NATS, category=HARM)
    raw = [swap_p_value(world, contrast, a, b, seed=seed) for a, b in pairs]
    for metric, values in (("p_swap", raw), ("p_holm", holm(raw))):
        for where, value in zip(places, values, strict=True):
            yield where.value(metric, value, unit="probability", category=HARM, n=len(world.prompts))


def _losses(world: Resampled, names: Sequence[str]) -> Iterator[Row]:
    """The intact losses."""
    for category in (HARM, "safe", "benign"):
        mean = world.combined(world.intact(category))
        for i, name in enumerate(names):
            loss = finite(world.estimate(mean[:, i]))
            yield where_of(name).estimate("nll", loss, unit=NATS, category=category)


def _shifts(world: Resampled, names: Sequence[str], results: Results) -> Iterator[Row]:
    """Curves over q."""
    for k, point in enumerate(world.points):
        for kind in (HARM, "safe", "benign", "specific"):
            metric, category = ("harm_specific", HARM) if kind == "specific" else ("delta_nll", kind)
            shift = world.shift(kind, k)
            mean = world.combined(shift)
            for i, name in enumerate(names):
                n_weights = int(results.arrays[0][i]["n_weights"][k])
                where = where_of(name, point, n_weights=n_weights)
                yield where.estimate(metric, finite(world.estimate(mean[:, i])), unit=NATS, category=category)
                if kind not in ("specific", "benign"):
                    continue
                for split, seed in enumerate(results.seeds):
                    n_weights = int(results.arrays[split][i]["n_weights"][k])
                    where = where_of(seed_name(name, seed), point, n_weights=n_weights)
                    n = len(set(world.measured[split].prompts))
                    yield where.value(metric, or_none(shift[0, split, i]), unit=NATS, category=category, n=n)


def _overlaps(results: Results) -> Iterator[Row]:
    """What the categories' own masks share."""
    spec, n = results.spec, results.splits[0].n_harmful
    for row, contrast in enumerate(CONTRASTS):
        pairs = Point("pairs", spec.set_q, spec.p, "global", contrast)
        for i, checkpoint in enumerate(results.series.checkpoints):
            for column, metric in enumerate(METRICS):
                control = "random" if metric == "jaccard_chance" else "none"
                values = [or_none(of_split[i]["overlaps"][row, column]) for of_split in results.arrays]
                for condition, value in _each_and_mean(checkpoint.name, results.seeds, values):
                    where = where_of(condition, pairs, control=control)
                    yield where.value(metric, value, unit=SHARE, category=HARM, n=n)


def _concentration(results: Results) -> Iterator[Row]:
    """How few weights carry the mean score; a number of no mask, so that its address is the set alone."""
    n = results.splits[0].n_harmful
    for i, checkpoint in enumerate(results.series.checkpoints):
        for place, (metric, unit) in enumerate((("gini", SHARE), ("effective_count", "weights"))):
            values = [or_none(of_split[i]["concentration"][place]) for of_split in results.arrays]
            for condition, value in _each_and_mean(checkpoint.name, results.seeds, values):
                where = where_of(condition, mask=MEAN_OF_ALL)
                yield where.value(metric, value, unit=unit, category=HARM, n=n)


def _each_and_mean(
    name: str, seeds: Sequence[int], values: Sequence[float | None]
) -> Iterator[tuple[str, float | None]]:
    """(condition, value) of each seed, then of the checkpoint: the mean over the seeds where it was measured."""
    yield from ((seed_name(name, seed), value) for seed, value in zip(seeds, values, strict=True))
    yield name, _mean([v for v in values if v is not None])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _behaviour(results: Results) -> Iterator[Row]:
    """What the ladder measured of each checkpoint by seed; of several seeds also their mean, without an interval."""
    for checkpoint in results.series.checkpoints:
        by_seed = {seed: results.series.behaviour(k, checkpoint) for k, seed in enumerate(results.seeds)}
        for metric in dict.fromkeys(m for numbers in by_seed.values() for m in numbers):
            known = {seed: numbers[metric] for seed, numbers in by_seed.items() if metric in numbers}
            for seed, number in known.items():
                yield _measured_by_ladder(seed_name(checkpoint.name, seed), metric, number)
            first = next(iter(known.values()))
            pooled = {
                "value": float(np.mean([number["value"] for number in known.values()])),
                "ci_low": first["ci_low"] if len(known) == 1 else None,
                "ci_high": first["ci_high"] if len(known) == 1 else None,
                "n": min(number["n"] for number in known.values()),
                "unit": first["unit"],
            }
            yield _measured_by_ladder(checkpoint.name, metric, pooled)


def _measured_by_ladder(condition: str, metric: str, number: Mapping[str, Any]) -> Row:
    n = number["n"]
    estimate = Estimate(number["value"], number["ci_low"], number["ci_high"], n, n)
    return where_of(condition).estimate(metric, estimate, unit=number["unit"], category=metric.partition("/")[2])

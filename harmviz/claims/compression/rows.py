"""The rows of an alignment-compression result: one number a line, with n, interval and, where seeds differ, each seed's own.

``condition`` is a checkpoint's name; ``<name>#<seed>`` is that checkpoint in one scoring split alone, a value without an
interval; ``<a> minus <b>`` a difference of two. Metrics:

- ``separability``, ``separability_crossfit``, ``separability_relative`` (over the intact harm loss), ``q_at_<level>``;
- ``separability_difference``, ``crossfit_difference``, ``p_swap``, ``p_holm`` (corrected over all tests of one selection);
- ``delta_nll`` and ``harm_specific`` at each grid point, ``nll``;
- ``jaccard``, ``jaccard_half``, ``jaccard_ceiling``, ``jaccard_chance``: means over pairs of categories; ``gini``, ``effective_count``;
- behaviour as the ladder measured it: ``refusal/…``, ``loss/…``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from harmviz.claims.compression.checkpoints import Checkpoint
from harmviz.claims.compression.selections import WHOLE
from harmviz.claims.compression.separability import Resampled
from harmviz.claims.compression.swap_test import holm, swap_p_value
from harmviz.claims.mapping.effects import NATS
from harmviz.claims.mapping.settings import BENIGN_LIMIT, CONTRASTS
from harmviz.data.splits import SCORING
from harmviz.runs import Row
from harmviz.stats.chance import chance_overlap
from harmviz.stats.estimate import Estimate
from harmviz.stats.overlap import cross_half, jaccard, split_half

if TYPE_CHECKING:
    from harmviz.claims.compression.measure import Results

LEVELS = (0.1, 0.2)
#: The arm whose claim is tested, and those that it is tested against.
ALIGNED_ARM = "safety"
_BASE: dict[str, Any] = {"experiment": "compression", "skip_tokens": 0}
_MASK: dict[str, Any] = {**_BASE, "mask": "mean(all)", "scope": "global"}
#: The mean overlap by chance is exact; its range over draws is not stored.
_CHANCE_DRAWS = 1


def difference_name(a: str, b: str) -> str:
    """The condition of "a minus b"."""
    return f"{a} minus {b}"


def seed_name(checkpoint: str, seed: int) -> str:
    """The condition of a checkpoint in the split of one seed."""
    return f"{checkpoint}#{seed}"


def planned_tests(checkpoints: Sequence[Checkpoint]) -> list[dict[str, str]]:
    """The differences that are tested, fixed before anything is measured: ``a``, ``b``, ``kind``.

    ``start``: each checkpoint minus the first. ``control``: the safety arm minus each other arm after equal steps.
    ``previous``: each checkpoint minus the one before it, in a series without arms.
    """
    first, rest = checkpoints[0], checkpoints[1:]
    tests = [{"a": c.name, "b": first.name, "kind": "start"} for c in rest]
    for c in rest:
        if c.arm == ALIGNED_ARM:
            others = [o for o in rest if o.arm not in (ALIGNED_ARM, None) and (o.stage, o.step) == (c.stage, c.step)]
            tests += [{"a": c.name, "b": o.name, "kind": "control"} for o in others]
    if all(c.arm is None for c in checkpoints):
        tests += [{"a": b.name, "b": a.name, "kind": "previous"} for a, b in pairwise(rest)]
    return tests


def all_rows(results: Results, offsets: np.ndarray) -> Iterator[Row]:
    """Every row of the result. ``offsets``: those of the model's weight table."""
    world = Resampled(
        results.measured(), results.splits[0].categories, results.spec.points, BENIGN_LIMIT, seed=results.spec.seed
    )
    names = [c.name for c in results.series.checkpoints]
    for contrast in CONTRASTS:
        yield from _separability(world, names, results.seeds, contrast)
        yield from _tests(world, results.series.checkpoints, contrast, results.spec.seed)
    yield from _shifts(world, names, results)
    yield from _structure(results, offsets)
    yield from _behaviour(results)


def _row(found: Estimate, **facts: Any) -> Row:
    known = not math.isnan(found.value) and math.isfinite(found.value)
    finite = (
        known
        and found.ci_low is not None
        and math.isfinite(found.ci_low)
        and found.ci_high is not None
        and math.isfinite(found.ci_high)
    )
    return Row(
        value=found.value if known else None,
        ci_low=found.ci_low if finite else None,
        ci_high=found.ci_high if finite else None,
        n=found.n_clusters,
        **facts,
    )


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _separability(world: Resampled, names: Sequence[str], seeds: Sequence[int], contrast: str) -> Iterator[Row]:
    common = {**_MASK, "category": "harm", "contrast": contrast, "p": world.points[0].p}
    chosen, intact = world.chosen(contrast), world.combined(world.intact("harm"))
    for metric, of_split in (
        ("separability", world.separability(contrast)),
        ("separability_crossfit", world.cross_fitted(contrast)),
    ):
        mean = world.combined(of_split)
        for i, name in enumerate(names):
            yield _row(world.estimate(mean[:, i]), metric=metric, condition=name, unit=NATS, **common)
            if metric == "separability":
                yield _row(
                    world.estimate(mean[:, i] / intact[:, i]),
                    metric="separability_relative",
                    condition=name,
                    unit="ratio",
                    **common,
                )
            for k, seed in enumerate(seeds):
                point = chosen[k][i]
                yield Row(
                    metric=metric,
                    condition=seed_name(name, seed),
                    value=_plain(of_split[0, k, i]),
                    unit=NATS,
                    n=len(set(world.measured[k].prompts)),
                    q=None if metric != "separability" or point is None else world.points[point].q,
                    **common,
                )
    for level in LEVELS:
        reached = world.first_reaching(contrast, level)
        for i, name in enumerate(names):
            yield _row(
                world.estimate(reached[:, i]), metric=f"q_at_{level:g}", condition=name, unit="fraction", **common
            )


def _tests(world: Resampled, checkpoints: Sequence[Checkpoint], contrast: str, seed: int) -> Iterator[Row]:
    tests, place = planned_tests(checkpoints), {c.name: i for i, c in enumerate(checkpoints)}
    pairs = [(place[t["a"]], place[t["b"]]) for t in tests]
    common = {**_MASK, "category": "harm", "contrast": contrast, "p": world.points[0].p}
    conditions = [difference_name(t["a"], t["b"]) for t in tests]
    for metric, of_split in (
        ("separability_difference", world.separability(contrast)),
        ("crossfit_difference", world.cross_fitted(contrast)),
    ):
        mean = world.combined(of_split)
        for condition, (a, b) in zip(conditions, pairs, strict=True):
            yield _row(world.estimate(mean[:, a] - mean[:, b]), metric=metric, condition=condition, unit=NATS, **common)
    raw = [swap_p_value(world, contrast, a, b, seed=seed) for a, b in pairs]
    for metric, values in (("p_swap", raw), ("p_holm", holm(raw))):
        for condition, value in zip(conditions, values, strict=True):
            yield Row(
                metric=metric, condition=condition, value=value, unit="probability", n=len(world.prompts), **common
            )


def _shifts(world: Resampled, names: Sequence[str], results: Results) -> Iterator[Row]:
    """Curves over q, and the intact losses."""
    for category in ("harm", "safe", "benign"):
        mean = world.combined(world.intact(category))
        for i, name in enumerate(names):
            yield _row(world.estimate(mean[:, i]), metric="nll", condition=name, category=category, unit=NATS, **_BASE)
    for k, point in enumerate(world.points):
        at: dict[str, Any] = {**_MASK, "q": point.q, "p": point.p, "contrast": point.contrast, "unit": NATS}
        for kind in ("harm", "safe", "benign", "specific"):
            shift = world.shift(kind, k)
            what: dict[str, Any] = (
                {"metric": "harm_specific", "category": "harm"}
                if kind == "specific"
                else {"metric": "delta_nll", "category": kind}
            )
            mean = world.combined(shift)
            for i, name in enumerate(names):
                yield _row(
                    world.estimate(mean[:, i]),
                    condition=name,
                    n_weights=int(results.arrays[0][i]["n_weights"][k]),
                    **what,
                    **at,
                )
                if kind in ("specific", "benign"):
                    for split, seed in enumerate(results.seeds):
                        yield Row(
                            condition=seed_name(name, seed),
                            value=_plain(shift[0, split, i]),
                            n=len(set(world.measured[split].prompts)),
                            n_weights=int(results.arrays[split][i]["n_weights"][k]),
                            **what,
                            **at,
                        )


def _structure(results: Results, offsets: np.ndarray) -> Iterator[Row]:
    """Overlap of the categories' own masks, and how few weights carry the mean score."""
    categories, spec = results.splits[0].categories, results.spec
    for contrast in CONTRASTS:
        at = {
            **_BASE,
            "mask": "pairs",
            "category": "harm",
            "scope": "global",
            "contrast": contrast,
            "q": spec.set_q,
            "p": spec.p,
            "unit": "fraction",
        }
        for i, checkpoint in enumerate(results.series.checkpoints):
            per_split = [_overlap(of[i], categories, contrast, offsets) for of in results.arrays]
            for metric in per_split[0]:
                control = "random" if metric == "jaccard_chance" else "none"
                values = [found[metric] for found in per_split]
                for seed, value in zip(results.seeds, values, strict=True):
                    yield Row(
                        metric=metric,
                        condition=seed_name(checkpoint.name, seed),
                        value=value,
                        control=control,
                        n=_n_scored(results),
                        **at,
                    )
                known = [v for v in values if v is not None]
                yield Row(
                    metric=metric,
                    condition=checkpoint.name,
                    value=float(np.mean(known)) if known else None,
                    control=control,
                    n=_n_scored(results),
                    **at,
                )
    for i, checkpoint in enumerate(results.series.checkpoints):
        for place, (metric, unit) in enumerate((("gini", "fraction"), ("effective_count", "weights"))):
            facts = {
                **_BASE,
                "mask": "mean(all)",
                "category": "harm",
                "metric": metric,
                "unit": unit,
                "n": _n_scored(results),
            }
            values = [_plain(of[i]["concentration"][place]) for of in results.arrays]
            for seed, value in zip(results.seeds, values, strict=True):
                yield Row(condition=seed_name(checkpoint.name, seed), value=value, **facts)
            known = [v for v in values if v is not None]
            yield Row(condition=checkpoint.name, value=float(np.mean(known)) if known else None, **facts)


def _n_scored(results: Results) -> int:
    rows = results.splits[0]
    return sum(len(rows.signed[c, h]) for c in rows.categories for h in SCORING)


def _overlap(arrays: Any, categories: Sequence[str], contrast: str, offsets: np.ndarray) -> dict[str, float | None]:
    """Mean over pairs of categories (the ceiling: over categories) in one split."""
    whole = {c: np.sort(arrays[f"set|{c}|{contrast}|{WHOLE}"]) for c in categories}
    halves = {
        c: (np.sort(arrays[f"set|{c}|{contrast}|{SCORING[0]}"]), np.sort(arrays[f"set|{c}|{contrast}|{SCORING[1]}"]))
        for c in categories
    }
    pairs = list(combinations(categories, 2))

    def mean(values: list[float]) -> float | None:
        known = [v for v in values if not math.isnan(v)]
        return float(np.mean(known)) if known else None

    chance = [
        chance_overlap(whole[a], whole[b], offsets, arrays["eligible"], draws=_CHANCE_DRAWS).expected.value
        for a, b in pairs
    ]
    return {
        "jaccard": mean([jaccard(whole[a], whole[b]) for a, b in pairs]),
        "jaccard_half": mean([cross_half(halves[a], halves[b]).value for a, b in pairs]),
        "jaccard_ceiling": mean([split_half(halves[c]) for c in categories]),
        "jaccard_chance": mean(chance),
    }


def _behaviour(results: Results) -> Iterator[Row]:
    """What the ladder measured of each checkpoint, seed by seed; with several seeds also their mean, without an interval."""
    for checkpoint in results.series.checkpoints:
        found = [results.series.behaviour(k, checkpoint) for k in range(len(results.seeds))]
        for metric in dict.fromkeys(m for of in found for m in of):
            common = {**_BASE, "metric": metric, "category": metric.partition("/")[2]}
            known = [(seed, of[metric]) for seed, of in zip(results.seeds, found, strict=True) if metric in of]
            for seed, numbers in known:
                yield Row(
                    condition=seed_name(checkpoint.name, seed),
                    value=numbers["value"],
                    ci_low=numbers["ci_low"],
                    ci_high=numbers["ci_high"],
                    n=numbers["n"],
                    unit=numbers["unit"],
                    **common,
                )
            one = known[0][1] if len(known) == 1 else {"ci_low": None, "ci_high": None}
            yield Row(
                condition=checkpoint.name,
                value=float(np.mean([numbers["value"] for _, numbers in known])),
                ci_low=one["ci_low"],
                ci_high=one["ci_high"],
                n=min(numbers["n"] for _, numbers in known),
                unit=known[0][1]["unit"],
                **common,
            )

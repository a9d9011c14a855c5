"""The rows of the stable index and of the curve over the benign limit; beside those of ``rows``, in the same columns.

At each fixed point (``settings.FIXED_Q``; the row's ``q`` and ``contrast``). ``condition`` is ``<a> minus <b>`` for
every planned test, ``<a> minus <b>#<seed>`` that difference in one split alone, without an interval:

- ``stable_difference``: harm-specific ΔL of a minus that of b [nats/token];
- ``benign_difference``: benign ΔL of a minus that of b [nats/token];
- ``ratio_to_benign_difference``: harm-specific over benign ΔL, of a minus of b; null: not defined (``stable_index``);
- ``stable_p_swap``, ``stable_p_holm``: the swap test of ``stable_difference``; corrected over all planned tests at all
  fixed points of the selection.

``condition`` is a checkpoint, or ``<name>#<seed>``:

- ``ratio_to_benign``: its harm-specific over its benign ΔL; null: not defined;
- ``harm_specific_relative``: its harm-specific ΔL over its intact harm loss (not by seed).

The index under a benign limit, over ``settings.LIMITS``, at no single q:

- ``separability_at_<limit>`` of a checkpoint, ``separability_difference_at_<limit>`` of a planned test, by seed too.

All of it can be computed again from the samples' losses (``sample_losses``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from harmviz.claims.compression.comparisons import difference_name, planned_tests, seed_name
from harmviz.claims.compression.row_address import HARM, finite, or_none, ranking_of, where_of
from harmviz.claims.compression.separability import Resampled
from harmviz.claims.compression.series import Checkpoint
from harmviz.claims.compression.settings import LIMITS
from harmviz.claims.compression.stable_index import difference, fixed_points, ratio, ratio_difference
from harmviz.claims.compression.swap_test import holm, swap_p_at
from harmviz.claims.mapping.effects import NATS
from harmviz.runs import Row

RATIO = "ratio"
#: Harm-specific and benign ΔL: kind of shift → (metric of its difference, the set measured).
DIFFERENCES = {"specific": ("stable_difference", HARM), "benign": ("benign_difference", "benign")}


def stable_rows(
    world: Resampled, checkpoints: Sequence[Checkpoint], seeds: Sequence[int], contrast: str, seed: int
) -> Iterator[Row]:
    """Every such row of one selection. ``seeds``: of the splits; ``seed``: of the swappings."""
    names = [c.name for c in checkpoints]
    tests = [(t["a"], t["b"]) for t in planned_tests(checkpoints)]
    pairs = [(difference_name(a, b), names.index(a), names.index(b)) for a, b in tests]
    points = fixed_points(world, contrast)
    for point in points:
        yield from _checkpoints(world, names, seeds, point)
        for pair in pairs:
            yield from _difference(world, pair, seeds, point)
    yield from _p_values(world, pairs, points, seed)
    for limit in LIMITS:
        yield from _under(world, names, pairs, seeds, contrast, limit)


def _checkpoints(world: Resampled, names: Sequence[str], seeds: Sequence[int], point: int) -> Iterator[Row]:
    at = world.points[point]
    harm = world.combined(world.intact(HARM))
    specific = world.combined(world.shift("specific", point))
    for i, name in enumerate(names):
        where = where_of(name, at)
        yield where.estimate("ratio_to_benign", ratio(world, point, i), unit=RATIO, category=HARM)
        part = finite(world.estimate(specific[:, i] / harm[:, i]))
        yield where.estimate("harm_specific_relative", part, unit=RATIO, category=HARM)
        for k, of_seed in enumerate(seeds):
            alone = or_none(ratio(world, point, i, split=k).value)
            yield where_of(seed_name(name, of_seed), at).value(
                "ratio_to_benign", alone, unit=RATIO, category=HARM, n=_prompts(world, k)
            )


def _difference(world: Resampled, pair: tuple[str, int, int], seeds: Sequence[int], point: int) -> Iterator[Row]:
    name, a, b = pair
    at = world.points[point]
    where = where_of(name, at)
    for kind, (metric, category) in DIFFERENCES.items():
        yield where.estimate(metric, finite(difference(world, kind, point, a, b)), unit=NATS, category=category)
    metric = "ratio_to_benign_difference"
    yield where.estimate(metric, ratio_difference(world, point, a, b), unit=RATIO, category=HARM)
    for k, seed in enumerate(seeds):
        alone, n = where_of(seed_name(name, seed), at), _prompts(world, k)
        for kind, (of_kind, category) in DIFFERENCES.items():
            shift = world.shift(kind, point)[0, k]
            yield alone.value(of_kind, or_none(shift[a] - shift[b]), unit=NATS, category=category, n=n)
        value = or_none(ratio_difference(world, point, a, b, split=k).value)
        yield alone.value(metric, value, unit=RATIO, category=HARM, n=n)


def _p_values(
    world: Resampled, pairs: Sequence[tuple[str, int, int]], points: Sequence[int], seed: int
) -> Iterator[Row]:
    asked = [(where_of(name, world.points[point]), point, a, b) for point in points for name, a, b in pairs]
    raw = [swap_p_at(world, point, a, b, seed=seed) for _, point, a, b in asked]
    for metric, values in (("stable_p_swap", raw), ("stable_p_holm", holm(raw))):
        for (where, *_), value in zip(asked, values, strict=True):
            yield where.value(metric, value, unit="probability", category=HARM, n=len(world.prompts))


def _under(
    world: Resampled,
    names: Sequence[str],
    pairs: Sequence[tuple[str, int, int]],
    seeds: Sequence[int],
    contrast: str,
    limit: float,
) -> Iterator[Row]:
    """The index under this benign limit and its differences."""
    of_split = world.separability(contrast, limit)
    value = ((name, of_split[:, :, i]) for i, name in enumerate(names))
    differences = ((name, of_split[:, :, a] - of_split[:, :, b]) for name, a, b in pairs)
    metrics = (f"separability_at_{limit:g}", f"separability_difference_at_{limit:g}")
    numbered = chain(((metrics[0], *v) for v in value), ((metrics[1], *d) for d in differences))
    for metric, name, draws in numbered:
        yield from _with_seeds(world, metric, name, draws, seeds, contrast)


def _with_seeds(
    world: Resampled, metric: str, name: str, of_split: np.ndarray, seeds: Sequence[int], contrast: str
) -> Iterator[Row]:
    at = ranking_of(world, contrast)
    estimate = finite(world.estimate(world.combined(of_split)))
    yield where_of(name, at).estimate(metric, estimate, unit=NATS, category=HARM)
    for k, seed in enumerate(seeds):
        value = or_none(of_split[0, k])
        yield where_of(seed_name(name, seed), at).value(metric, value, unit=NATS, category=HARM, n=_prompts(world, k))


def _prompts(world: Resampled, split: int) -> int:
    return len(set(world.measured[split].prompts))

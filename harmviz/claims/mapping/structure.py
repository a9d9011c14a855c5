"""Rows about the sets themselves, from stored scores alone: overlap with its ceiling and baselines, concentration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from harmviz.data.splits import SCORING
from harmviz.masks.concentration import PositivePart
from harmviz.masks.lists import BASELINES, ranked_scores
from harmviz.masks.ranking import TopK, count_of
from harmviz.models.weights import WeightTable
from harmviz.runs import Row
from harmviz.runs.point import Point
from harmviz.runs.rows import Where
from harmviz.scoring.files import Scores
from harmviz.stats.chance import chance_overlap, core_sizes
from harmviz.stats.overlap import containment, cross_half, intersection_size, jaccard, split_half


def known(value: float | None) -> float | None:
    """None for what was not measured (NaN)."""
    return None if value is None or math.isnan(value) else float(value)


CONTROL_OF = {"benign": "benign_signed", "safe": "safe_signed"}


def half_selections(
    table: WeightTable,
    scores: Scores,
    categories: Sequence[str],
    eligible: Callable[[int], np.ndarray],
    *,
    q: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[tuple[str, str, str], np.ndarray]:
    """(set, contrast, half) → global indices in selection order of the mask that one scoring half alone selects.

    Sets: every category, ``benign``, ``safe`` and ``mean`` of the categories; contrastive for categories and mean, each
    half with the guard of its own half, so that the two halves share no prompt.

    Args:
        eligible: as for ``random_control``.
    """
    n = table.n_weights
    best: dict[tuple[str, str, str], TopK] = {}
    for i in range(len(table)):
        allowed = eligible(i).astype(np.float32)
        for half in SCORING:
            harm = {name: scores.half(name, half, i) for name in (*categories, *BASELINES)}
            for (name, contrast), score in ranked_scores(harm, categories):
                top = best.setdefault((name, contrast, half), TopK(count_of(q, n)))
                top.add(score * allowed, int(table.offsets[i]))
        progress(i + 1, len(table))
    return {key: top.result()[0] for key, top in best.items()}


def overlap_rows(
    table: WeightTable,
    full: dict[str, np.ndarray],
    halves: dict[str, tuple[np.ndarray, np.ndarray]],
    categories: Sequence[str],
    eligible: np.ndarray,
    point: Point,
    *,
    n_samples: dict[str, int],
    seed: int,
    skip_tokens: int,
) -> Iterator[Row]:
    """Pairwise overlap of the sets' masks, in the order category × (category, benign, safe).

    Metrics: ``jaccard`` (of one selection: no interval is claimed), ``containment``; ``jaccard_half``: mean, lowest and
    highest of the four pairings of half-sample masks, comparable with ``jaccard_ceiling``, the split-half Jaccard of
    each set with itself; ``jaccard_chance`` (control random): shuffles within each matrix among eligible weights, with
    their 95 % range; ``times_chance``; ``core_size`` (condition ``k>=…``) beside its shuffles.

    Args:
        full, halves: set → sorted global indices, whole and by scoring half.
        eligible: ``[n_matrices]`` eligible weights per matrix.
        point: where every set was selected; which set it is, the rows say.
    """

    def of(name: str, *, control: str = "none", condition: str | None = None) -> Where:
        address = replace(point, set=name)
        return Where(experiment="overlap", condition=condition, point=address, control=control, skip_tokens=skip_tokens)

    for name, pair in halves.items():
        ceiling = known(split_half(pair))
        where = of(name, control=CONTROL_OF.get(name, "none"))
        yield where.value("jaccard_ceiling", ceiling, unit="fraction", category=name, n=n_samples[name])
    pairs = [(a, b) for i, a in enumerate(categories) for b in (*categories[i + 1 :], *BASELINES) if b in full]
    pairs += [BASELINES] if all(b in full for b in BASELINES) else []
    for a, b in pairs:
        where, n = of(a, control=CONTROL_OF.get(b, "none")), min(n_samples[a], n_samples[b])
        common, overlap = intersection_size(full[a], full[b]), known(jaccard(full[a], full[b]))
        within, half = known(containment(full[a], full[b])), cross_half(halves[a], halves[b])
        chance = chance_overlap(full[a], full[b], table.offsets, eligible, seed=seed)
        yield where.value("intersection", common, unit="weights", category=b, n=n)
        yield where.value("jaccard", overlap, unit="fraction", category=b, n=n)
        yield where.value("containment", within, unit="fraction", category=b, n=n)
        yield where.estimate("jaccard_half", half, unit="fraction", category=b, n=n)
        yield where.value("times_chance", chance.times_chance, unit="ratio", category=b, n=n)
        yield of(a, control="random").estimate("jaccard_chance", chance.expected, unit="fraction", category=b, n=n)
    for core in core_sizes({c: full[c] for c in categories}, table.offsets, eligible, seed=seed):
        where, shuffled = (of("all", control=c, condition=f"k>={core.k}") for c in ("none", "random"))
        yield where.value("core_size", core.observed, unit="weights", n=len(categories))
        yield shuffled.estimate("core_size", core.shuffled, unit="weights", n=len(categories))


def concentration_rows(
    table: WeightTable, scores: Scores, sets: Sequence[str], n_samples: dict[str, int]
) -> Iterator[Row]:
    """Gini, effective count and Lorenz points of each set's positive harm scores. Comparable only at equal n.

    They are about all scores of a set, not about a mask: no fraction protected, no ranking. ``q`` of a Lorenz point is
    its fraction of all weights.
    """
    spread = {name: PositivePart(n_samples[name]) for name in sets}
    for i in range(len(table)):
        for name, part in spread.items():
            part.add(scores.harm(name, i))
    for name in sets:
        result = spread[name].result()
        about = _AboutScores(name, n_samples[name])
        yield about.row("gini", result.gini, "fraction")
        yield about.row("effective_count", result.effective_count, "weights")
        for top in result.lorenz:
            yield about.row("lorenz_share", top.share, "fraction", q=top.fraction, n_weights=top.n_weights)


class _AboutScores(NamedTuple):
    """What the rows about all scores of one set share."""

    set: str
    n: int

    def row(self, metric: str, value: float, unit: str, *, q: float | None = None, n_weights: int | None = None) -> Row:
        return Row(
            experiment="concentration",
            mask=self.set,
            category=self.set,
            control=CONTROL_OF.get(self.set, "none"),
            metric=metric,
            value=known(value),
            n=self.n,
            unit=unit,
            q=q,
            n_weights=n_weights,
        )

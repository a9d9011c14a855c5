"""Rows about the sets themselves, from stored scores alone: overlap with its ceiling and baselines, concentration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from harmviz.data.splits import SCORING
from harmviz.masks.concentration import concentration
from harmviz.masks.lists import BASELINES, ranked_scores
from harmviz.masks.ranking import TopK, count_of, eligibility_threshold
from harmviz.models.weights import WeightTable
from harmviz.runs import Row
from harmviz.scoring.files import ScoreFiles
from harmviz.stats.chance import chance_overlap, core_sizes
from harmviz.stats.overlap import containment, cross_half, intersection_size, jaccard, split_half


def _number(value: float | None) -> float | None:
    """None for what was not measured (NaN)."""
    return None if value is None or math.isnan(value) else float(value)


CONTROL_OF = {"benign": "benign_signed", "safe": "safe_signed"}


def half_selections(
    table: WeightTable,
    scores: ScoreFiles,
    categories: Sequence[str],
    *,
    q: float,
    p: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[tuple[str, str, str], np.ndarray]:
    """(set, contrast, half) → global indices in selection order of the mask that one scoring half alone selects.

    Sets: every category, ``benign``, ``safe`` and ``mean`` of the categories; contrastive for categories and mean, each
    half with the guard of its own half, so that the two halves share no prompt.
    """
    n = table.n_weights
    (limit,) = eligibility_threshold(lambda: (scores.utility(i) for i in range(len(table))), n, [p])
    best: dict[tuple[str, str, str], TopK] = {}
    for i in range(len(table)):
        allowed = (scores.utility(i) <= limit).astype(np.float32)
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
    *,
    n_samples: dict[str, int],
    seed: int,
    **facts: Any,
) -> Iterator[Row]:
    """Pairwise overlap of the sets' masks, in the order category × (category, benign, safe).

    Metrics: ``jaccard`` (of one selection: no interval is claimed), ``containment``; ``jaccard_half``: mean, lowest and
    highest of the four pairings of half-sample masks, comparable with ``jaccard_ceiling``, the split-half Jaccard of
    each set with itself; ``jaccard_chance`` (control random): shuffles within each matrix among eligible weights, with
    their 95 % range; ``times_chance``; ``core_size`` (condition ``k>=…``) beside its shuffles.

    Args:
        full, halves: set → sorted global indices, whole and by scoring half.
        eligible: ``[n_matrices]`` eligible weights per matrix.
    """
    base: dict[str, Any] = {"experiment": "overlap", **facts}
    for name, pair in halves.items():
        yield Row(
            metric="jaccard_ceiling",
            mask=name,
            category=name,
            value=_number(split_half(pair)),
            unit="fraction",
            control=CONTROL_OF.get(name, "none"),
            n=n_samples[name],
            **base,
        )
    pairs = [(a, b) for i, a in enumerate(categories) for b in (*categories[i + 1 :], *BASELINES) if b in full]
    pairs += [BASELINES] if all(b in full for b in BASELINES) else []
    for a, b in pairs:
        control = CONTROL_OF.get(b, "none")
        common: dict[str, Any] = {
            "mask": a,
            "category": b,
            "control": control,
            "n": min(n_samples[a], n_samples[b]),
            **base,
        }
        half = cross_half(halves[a], halves[b])
        chance = chance_overlap(full[a], full[b], table.offsets, eligible, seed=seed)
        yield Row(metric="intersection", value=intersection_size(full[a], full[b]), unit="weights", **common)
        yield Row(metric="jaccard", value=_number(jaccard(full[a], full[b])), unit="fraction", **common)
        yield Row(metric="containment", value=_number(containment(full[a], full[b])), unit="fraction", **common)
        yield Row(
            metric="jaccard_half",
            value=_number(half.mean),
            ci_low=_number(half.low),
            ci_high=_number(half.high),
            unit="fraction",
            **common,
        )
        yield Row(metric="times_chance", value=_number(chance.times_chance), unit="ratio", **common)
        yield Row(
            metric="jaccard_chance",
            value=_number(chance.expected_jaccard),
            ci_low=_number(chance.jaccard_low),
            ci_high=_number(chance.jaccard_high),
            unit="fraction",
            **{**common, "control": "random"},
        )
    for core in core_sizes({c: full[c] for c in categories}, table.offsets, eligible, seed=seed):
        at: dict[str, Any] = {
            "metric": "core_size",
            "condition": f"k>={core.k}",
            "unit": "weights",
            "mask": "all",
            "n": len(categories),
        }
        yield Row(value=core.observed, **at, **base)
        yield Row(
            value=core.shuffle_mean, ci_low=core.shuffle_low, ci_high=core.shuffle_high, control="random", **at, **base
        )


def concentration_rows(
    table: WeightTable, scores: ScoreFiles, sets: Sequence[str], n_samples: dict[str, int]
) -> Iterator[Row]:
    """Gini, effective count and Lorenz points of each set's positive harm scores. Comparable only at equal n."""
    for name in sets:
        found = concentration(lambda name=name: (scores.harm(name, i) for i in range(len(table))), n_samples[name])  # type: ignore[misc]
        common: dict[str, Any] = {
            "experiment": "concentration",
            "mask": name,
            "category": name,
            "n": n_samples[name],
            "control": CONTROL_OF.get(name, "none"),
        }
        yield Row(metric="gini", value=_number(found.gini), unit="fraction", **common)
        yield Row(metric="effective_count", value=_number(found.effective_count), unit="weights", **common)
        for point in found.lorenz:
            yield Row(
                metric="lorenz_share",
                q=point.fraction,
                value=_number(point.share),
                unit="fraction",
                n_weights=point.n_weights,
                **common,
            )

"""From per-sample losses to tidy rows: effects per set with intervals, the harm-specific effect, controls beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harmviz.claims.mapping.samples import MeasuredSet
from harmviz.runs import Row
from harmviz.stats.bootstrap import Estimate, macro_difference, macro_mean, paired_effect

NATS = "nats/token"


def _row(estimate: Estimate, **facts: Any) -> Row:
    measured = estimate.value == estimate.value  # NaN: no samples
    return Row(
        value=estimate.value if measured else None,
        ci_low=estimate.ci_low,
        ci_high=estimate.ci_high,
        n=estimate.n_clusters,
        unit=NATS,
        **facts,
    )


def effect_rows(
    measured: MeasuredSet,
    values: np.ndarray,
    categories: Sequence[str],
    *,
    seed: int,
    metric: str = "delta_nll",
    **facts: Any,
) -> Iterator[Row]:
    """One row per set (mean of ``values`` with its cluster-bootstrap interval, n = prompts), the macro means over
    categories ``harm`` and ``safe``, and harm minus safe as metric ``harm_specific``.

    ``values [n_samples]``: ΔL (pruned − intact, paired) or L of each sample of ``measured``, in nats/token.
    ``facts``: the remaining columns of the rows.
    """
    sets, prompts = np.array(measured.sets), np.array(measured.prompts)
    for name in dict.fromkeys(measured.sets):
        here = sets == name
        yield _row(paired_effect(values[here], prompts[here], seed=seed), metric=metric, category=name, **facts)
    harm = np.isin(sets, categories)
    safe = np.isin(sets, [f"safe:{c}" for c in categories])
    category = np.array([s.removeprefix("safe:") for s in measured.sets])
    for name, here in (("harm", harm), ("safe", safe)):
        if here.any():
            yield _row(
                macro_mean(values[here], prompts[here], category[here], seed=seed),
                metric=metric,
                category=name,
                **facts,
            )
    if metric != "delta_nll":
        return
    both = [c for c in categories if (harm & (category == c)).any() and (safe & (category == c)).any()]
    a, b = harm & np.isin(category, both), safe & np.isin(category, both)
    if both:
        specific = macro_difference(values[a], prompts[a], category[a], values[b], prompts[b], category[b], seed=seed)
        yield _row(specific, metric="harm_specific", category="harm", **facts)
    benign = sets == "benign"
    if harm.any() and benign.any():
        # Benign prompts form one further "category" of each side's macro mean: harm minus off-policy benign.
        n = len(categories)
        tiled = np.repeat(np.array(categories), benign.sum())
        against = macro_difference(
            values[harm],
            prompts[harm],
            category[harm],
            np.tile(values[benign], n),
            np.tile(prompts[benign], n),
            tiled,
            seed=seed,
        )
        yield _row(against, metric="harm_minus_benign", category="harm", **facts)


def control_rows(
    measured: MeasuredSet,
    of_mask: np.ndarray,
    of_draws: Sequence[np.ndarray],
    categories: Sequence[str],
    *,
    seed: int,
    control: str,
    **facts: Any,
) -> Iterator[Row]:
    """A drawn control: its mean effect over draws, the spread of the draws, and how far the mask exceeds it.

    ``of_mask [n]``, ``of_draws[k] [n]``: ΔL of the same samples under the mask and under each draw. Metrics:
    ``delta_nll`` (mean over draws), ``draw_sd`` (standard deviation over draws of the macro effects, n = draws) and
    ``excess_over_control`` (mask minus mean of draws, paired by sample).
    """
    mean = np.mean(of_draws, axis=0)
    yield from effect_rows(measured, mean, categories, seed=seed, control=control, **facts)
    excess = effect_rows(
        measured, of_mask - mean, categories, seed=seed, metric="excess_over_control", control=control, **facts
    )
    yield from excess
    sets = np.array(measured.sets)
    groups = {"harm": np.isin(sets, categories), "benign": sets == "benign"}
    for name, here in groups.items():
        if len(of_draws) > 1 and here.any():
            spread = float(np.std([d[here].mean() for d in of_draws], ddof=1))
            yield Row(
                metric="draw_sd", category=name, value=spread, n=len(of_draws), unit=NATS, control=control, **facts
            )

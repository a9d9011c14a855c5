"""From per-sample losses to tidy rows: effects per set with intervals, the harm-specific effect, controls beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harmviz.claims.mapping.samples import MeasuredSet
from harmviz.runs import Row
from harmviz.runs.rows import Where
from harmviz.stats.effects import macro_difference, macro_mean, paired_effect

NATS = "nats/token"


def effect_rows(
    measured: MeasuredSet,
    values: np.ndarray,
    categories: Sequence[str],
    where: Where,
    *,
    seed: int,
    metric: str = "delta_nll",
) -> Iterator[Row]:
    """One row per set (mean of ``values`` with its cluster-bootstrap interval, n = prompts) and the macro means over
    categories ``harm`` and ``safe``; of ``delta_nll`` also two differences of category ``harm``:

    - ``harm_specific``: macro mean of harm − safe, resampled within categories;
    - ``harm_minus_benign``: macro mean of harm − mean of off-policy benign. The benign prompts stand against every
      category and so belong to all of them: here **all prompts are one stratum**, not one a category. A draw takes as
      many prompts of a category as it comes, ``n`` of ``n`` on average (within categories: always ``n − 1``); the
      variation of that number and its larger mean make up for each other, so that the interval is as wide as one
      resampled within categories (to ``1/n²``). Draws that leave a category empty are dropped.

    ``values [n_samples]``: ΔL (pruned − intact, paired) or L of each sample of ``measured``, in nats/token.
    ``where``: what the rows are about.
    """
    sets, prompts = np.array(measured.sets), np.array(measured.prompts)
    for name in dict.fromkeys(measured.sets):
        inside = sets == name
        yield where.estimate(
            metric, paired_effect(values[inside], prompts[inside], seed=seed), unit=NATS, category=name
        )
    harm = np.isin(sets, categories)
    safe = np.isin(sets, [f"safe:{c}" for c in categories])
    category = np.array([s.removeprefix("safe:") for s in measured.sets])
    for name, inside in (("harm", harm), ("safe", safe)):
        if inside.any():
            mean = macro_mean(values[inside], prompts[inside], category[inside], seed=seed)
            yield where.estimate(metric, mean, unit=NATS, category=name)
    if metric != "delta_nll":
        return
    both = [c for c in categories if (harm & (category == c)).any() and (safe & (category == c)).any()]
    a, b = harm & np.isin(category, both), safe & np.isin(category, both)
    if both:
        specific = macro_difference(values[a], prompts[a], category[a], values[b], prompts[b], category[b], seed=seed)
        yield where.estimate("harm_specific", specific, unit=NATS, category="harm")
    benign = sets == "benign"
    if harm.any() and benign.any():
        n = len(categories)
        against = macro_difference(
            values[harm],
            prompts[harm],
            category[harm],
            np.tile(values[benign], n),
            np.tile(prompts[benign], n),
            np.repeat(np.array(categories), benign.sum()),
            seed=seed,
        )
        yield where.estimate("harm_minus_benign", against, unit=NATS, category="harm")


def control_rows(
    measured: MeasuredSet,
    of_mask: np.ndarray,
    of_draws: Sequence[np.ndarray],
    categories: Sequence[str],
    where: Where,
    *,
    seed: int,
) -> Iterator[Row]:
    """A drawn control: its mean effect over draws, the spread of the draws, and how far the mask exceeds it.

    ``of_mask [n]``, ``of_draws[k] [n]``: ΔL of the same samples under the mask and under each draw; ``where`` names the
    control. Metrics: ``delta_nll`` (mean over draws), ``excess_over_control`` (mask minus mean of draws, paired by
    sample) and, of two draws or more, ``draw_sd``: standard deviation over draws (n = draws, ``n − 1`` below the line)
    of the mean ΔL over all samples, once of all harm categories together, once of ``benign``. It pools the samples:
    a category weighs as many as it has, unlike in the macro mean ``harm``.
    """
    mean = np.mean(of_draws, axis=0)
    yield from effect_rows(measured, mean, categories, where, seed=seed)
    yield from effect_rows(measured, of_mask - mean, categories, where, seed=seed, metric="excess_over_control")
    sets = np.array(measured.sets)
    for name, inside in {"harm": np.isin(sets, categories), "benign": sets == "benign"}.items():
        if len(of_draws) > 1 and inside.any():
            spread = float(np.std([draw[inside].mean() for draw in of_draws], ddof=1))
            yield where.value("draw_sd", spread, unit=NATS, category=name, n=len(of_draws))

"""Harm minus safe where harmful and safe answers differ in nothing else that is known: is it harm, or who wrote it?

Harmful and same-topic safe answers of different sources have other authors, other lengths, and are not equally
surprising to the model; any of these may move their losses apart under a mask. Two ways to take that out:

- *by source*: ``harm_specific_source``: macro mean of harm − safe over the harm types that have both in one source;
- *matched*: ``harm_specific_matched``: each harmful answer beside a safe one of its own source and harm type, of like
  length and like intact loss, each used once (``stats.matching``); the mean difference of the pairs.

How well the pairs match is stored with the intact losses: ``matched_gap`` is the standardised difference of means of
log length and of loss, 0 where they balance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harmviz.claims.mapping.samples import MeasuredSet
from harmviz.data.categories import SAFE
from harmviz.runs import Row
from harmviz.runs.rows import Where
from harmviz.stats.effects import macro_difference, paired_effect
from harmviz.stats.matching import Matched, match_pairs

NATS = "nats/token"
#: What pairs are matched on, in the order of ``Matched.gap``.
TRAITS = ("length", "loss")


def authorship_rows(
    measured: MeasuredSet,
    values: np.ndarray,
    intact: np.ndarray,
    categories: Sequence[str],
    where: Where,
    *,
    seed: int,
) -> Iterator[Row]:
    """Both of ``values``: harm minus safe by source, and over matched pairs.

    ``values``, ``intact [n_samples]``: ΔL, and the loss without a mask, of each sample, nats/token.
    """
    yield from source_rows(measured, values, categories, where, seed=seed)
    yield from matched_rows(measured, pairs_of(measured, intact, categories), values, where, seed=seed)


def source_rows(
    measured: MeasuredSet, values: np.ndarray, categories: Sequence[str], where: Where, *, seed: int
) -> Iterator[Row]:
    """A row for every source that holds harmful and safe answers of at least one harm type; ``category`` names it.

    ``values [n_samples]``: ΔL of each sample, nats/token.
    """
    sources, harmful, category = _labels(measured, categories)
    safe = ~harmful & np.isin(category, list(categories))
    for source in dict.fromkeys(measured.sources):
        here = sources == source
        both = set(category[here & harmful]) & set(category[here & safe])
        a, b = (here & side & np.isin(category, list(both)) for side in (harmful, safe))
        if both:
            prompts = np.array(measured.prompts)
            difference = macro_difference(
                values[a], prompts[a], category[a], values[b], prompts[b], category[b], seed=seed
            )
            yield where.estimate("harm_specific_source", difference, unit=NATS, category=source)


def pairs_of(measured: MeasuredSet, intact: np.ndarray, categories: Sequence[str]) -> Matched:
    """Pairs (harmful, safe) as places among the samples, of one source and harm type, alike in length and intact loss.

    ``intact [n_samples]``: the loss of each sample without a mask, nats/token.
    """
    sources, harmful, category = _labels(measured, categories)
    safe = ~harmful & np.isin(category, list(categories))
    lengths = np.log([sample.n_loss for sample in measured.samples])
    traits = np.stack([lengths, np.asarray(intact, float)], axis=1)
    strata = np.array([f"{s}\0{c}" for s, c in zip(sources, category, strict=True)])
    first, second = np.flatnonzero(harmful), np.flatnonzero(safe)
    found = match_pairs(traits[first], traits[second], strata[first], strata[second])
    return Matched(first[found.first], second[found.second], found.gap)


def matched_rows(
    measured: MeasuredSet, pairs: Matched, values: np.ndarray, where: Where, *, seed: int
) -> Iterator[Row]:
    """The mean difference over the pairs; pairs that share a prompt are one cluster. No pair: no row."""
    if len(pairs.first):
        difference = paired_effect(values[pairs.first] - values[pairs.second], _clusters(measured, pairs), seed=seed)
        yield where.estimate("harm_specific_matched", difference, unit=NATS, category="harm")


def balance_rows(pairs: Matched, where: Where) -> Iterator[Row]:
    """How far apart the paired answers still are, in standard deviations of all answers; ``n``: pairs."""
    for trait, gap in zip(TRAITS, pairs.gap, strict=True):
        if len(pairs.first):
            yield where.value("matched_gap", float(gap), unit="sd", category=trait, n=len(pairs.first))


def _labels(measured: MeasuredSet, categories: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(source, whether it is a harmful answer, harm type) of each sample."""
    sets = np.array(measured.sets)
    return (
        np.array(measured.sources),
        np.isin(sets, categories),
        np.array([s.removeprefix(SAFE) for s in measured.sets]),
    )


def _clusters(measured: MeasuredSet, pairs: Matched) -> list[int]:
    """One number for each pair; equal where pairs hang together by prompts they share."""
    of_prompt: dict[str, int] = {}
    cluster = list(range(len(pairs.first)))
    for k, places in enumerate(zip(pairs.first, pairs.second, strict=True)):
        for prompt in (measured.prompts[int(i)] for i in places):
            known = of_prompt.setdefault(prompt, cluster[k])
            if known != cluster[k]:
                merged = cluster[k]
                cluster = [known if c == merged else c for c in cluster]
                of_prompt = {p: known if c == merged else c for p, c in of_prompt.items()}
    return cluster

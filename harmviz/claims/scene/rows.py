"""From what answers show to tidy rows: rates with Wilson intervals, paired differences with cluster-bootstrap ones.

Columns as everywhere (``harmviz.runs.Row``), experiment ``scene``. ``category``: the set asked, ``advbench``, ``mild`` or
``benign``. ``condition``: ``direct`` or ``opener`` (with words put into the answer's mouth), followed by ``@0.25`` for another
strength than 1, by ``#1`` for one draw of a control; ``selection:…`` for requests that the mask was chosen by. Without ``#``
a control of several draws is their mean; its interval reaches from the lowest to the highest end of the draws' own, since
draws answer the same requests. ``mask`` None: the intact model.

Metrics: ``refusal_rate`` (keywords, a lower bound), ``refusal_quoted`` (keywords, in quotation marks too), ``refusal_judged`` (keywords or offline
judge), ``repetition``; paired with the intact answer to the same request ``delta_refusal``, ``delta_quoted``, ``delta_judged``, ``delta_repetition``;
``refusal_ratio`` = pruned over intact; ``refusal_excess``, ``quoted_excess`` = mask minus mean of the random draws; ``nll`` and ``delta_nll`` in nats/token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harmviz.claims.scene.answers import Read
from harmviz.runs import Row
from harmviz.stats.bootstrap import Estimate, cluster_bootstrap, paired_effect
from harmviz.stats.wilson import wilson

SHARE, NATS = "share", "nats/token"
#: Rate → the reading of an answer that it counts.
RATES = {"refusal_rate": "declines", "refusal_quoted": "quoted", "refusal_judged": "judged"}
_DELTAS = {
    "delta_refusal": "declines",
    "delta_quoted": "quoted",
    "delta_judged": "judged",
    "delta_repetition": "repetition",
}


def rate_rows(read: Read, **facts: Any) -> Iterator[Row]:
    """Refusal rates of one set of answers; by judge only where there is one."""
    for metric, reading in RATES.items():
        bits = getattr(read, reading)
        if reading != "judged" or not np.isnan(bits).all():
            yield _rate(metric, bits, **facts)


def mean_rate_rows(reads: Sequence[Read], **facts: Any) -> Iterator[Row]:
    """As ``rate_rows``, of a control over its draws: the mean of their rates."""
    for metric in RATES:
        draws = [next((r for r in rate_rows(read) if r.metric == metric), None) for read in reads]
        known = [d for d in draws if d is not None and d.value is not None]
        if known:
            yield Row(
                experiment="scene",
                metric=metric,
                unit=SHARE,
                value=float(np.mean([d.value for d in known])),
                ci_low=min(d.ci_low for d in known if d.ci_low is not None),
                ci_high=max(d.ci_high for d in known if d.ci_high is not None),
                n=min(d.n or 0 for d in known),
                **facts,
            )


def _rate(metric: str, bits: np.ndarray, **facts: Any) -> Row:
    scored = bits[~np.isnan(bits)]
    share = wilson(int(scored.sum()), len(scored))
    value = share.value if share.n else None
    return Row(
        experiment="scene",
        metric=metric,
        unit=SHARE,
        value=value,
        ci_low=share.ci_low,
        ci_high=share.ci_high,
        n=share.n,
        **facts,
    )


def repetition_row(read: Read, prompts: Sequence[str], *, seed: int, **facts: Any) -> Row:
    """Mean repetition of the answers long enough to have any."""
    return _estimate("repetition", *_scored(read.repetition, prompts), SHARE, seed, **facts)


def paired_rows(
    reads: Sequence[Read], intact: Read, prompts: Sequence[str], *, seed: int, **facts: Any
) -> Iterator[Row]:
    """Differences from the intact answers; of several draws, the mean over draws request by request."""
    for metric, what in _DELTAS.items():
        delta = mean_of([getattr(r, what) for r in reads]) - getattr(intact, what)
        if metric != "delta_judged" or not np.isnan(delta).all():
            yield _estimate(metric, *_scored(delta, prompts), SHARE, seed, **facts)


def ratio_row(read: Read, intact: Read, prompts: Sequence[str], *, seed: int, **facts: Any) -> Row:
    """How many times as often the pruned model declines; no value where the intact one never does."""
    both = ~np.isnan(read.declines) & ~np.isnan(intact.declines)
    values, keys = (
        np.concatenate([read.declines[both], intact.declines[both]]),
        [p for p, b in zip(prompts, both, strict=True) if b],
    )
    n = int(both.sum())

    def ratio(means: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(means[..., 1] > 0, means[..., 0] / means[..., 1], np.nan))

    found = cluster_bootstrap(values, keys * 2, np.repeat([0, 1], n), 2, ratio, seed=seed)
    return _row("refusal_ratio", found, "ratio", **facts)


def excess_rows(read: Read, draws: Sequence[Read], prompts: Sequence[str], *, seed: int, **facts: Any) -> Iterator[Row]:
    """Refusals under the mask beyond those under the random draws, paired by request."""
    for metric, what in (("refusal_excess", "declines"), ("quoted_excess", "quoted")):
        delta = getattr(read, what) - mean_of([getattr(d, what) for d in draws])
        yield _estimate(metric, *_scored(delta, prompts), SHARE, seed, **facts)


def loss_row(metric: str, values: np.ndarray, prompts: Sequence[str], *, seed: int, **facts: Any) -> Row:
    """Mean of losses, or of their paired differences."""
    return _estimate(metric, values, list(prompts), NATS, seed, **facts)


def mean_of(draws: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over draws request by request; NaN where a draw was not scored."""
    return np.asarray(np.mean(np.stack(draws), axis=0))


def _scored(values: np.ndarray, prompts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    kept = ~np.isnan(values)
    return values[kept], [p for p, k in zip(prompts, kept, strict=True) if k]


def _estimate(metric: str, values: np.ndarray, prompts: Sequence[str], unit: str, seed: int, **facts: Any) -> Row:
    return _row(metric, paired_effect(values, prompts, seed=seed), unit, **facts)


def _row(metric: str, found: Estimate, unit: str, **facts: Any) -> Row:
    value = None if np.isnan(found.value) else found.value
    return Row(
        experiment="scene",
        metric=metric,
        unit=unit,
        value=value,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        n=found.n_clusters,
        **facts,
    )

"""From what answers show to tidy rows: rates with Wilson intervals, paired differences with cluster-bootstrap ones.

Columns as everywhere (``harmviz.runs.Row``), experiment ``scene``. ``category``: the set asked (``sets``).
``condition``: ``direct`` or ``opener`` (with words put into the answer's mouth), followed by ``@0.25`` for another
strength than 1, by ``#1`` for one draw of a control; ``selection:…`` for requests that the mask was chosen by. Without
``#`` a control of several draws is their mean; its interval reaches from the lowest to the highest end of the draws'
own, since draws answer the same requests. ``mask`` None: the intact model.

Metrics: ``refusal_rate`` (keywords, a lower bound), ``refusal_quoted`` (keywords, in quotation marks too),
``refusal_judged`` (keywords or offline judge), ``turned_away_rate`` (declines, in quotation marks too, or is about
something else: ``judges.turning_away``), ``repetition``; paired with the intact answer to the same request
``delta_refusal``, ``delta_quoted``, ``delta_judged``, ``delta_turned_away``, ``delta_repetition``; ``refusal_ratio`` =
pruned over intact; ``refusal_excess``, ``quoted_excess``, ``judged_excess``, ``turned_away_excess`` = mask minus mean
of the random draws; ``selective_refusal``, ``selective_quoted``, ``selective_judged``, ``selective_turned_away`` = that
excess minus the harmless requests' excess, of twins pair by pair;
``nll`` and ``delta_nll`` in nats/token; ``decline_nll`` and ``delta_decline_nll``: of written refusals behind the
opener, lower where declining is likelier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harmviz.claims.scene.answers import Read
from harmviz.runs import Row, Where
from harmviz.stats.bootstrap import cluster_bootstrap
from harmviz.stats.effects import excess_difference, paired_effect
from harmviz.stats.estimate import Estimate
from harmviz.stats.wilson import wilson

SHARE, NATS = "share", "nats/token"
#: Rate → the reading of an answer that it counts.
RATES = {
    "refusal_rate": "declines",
    "refusal_quoted": "quoted",
    "refusal_judged": "judged",
    "turned_away_rate": "turned_away",
}
#: Part of a metric's name → that reading, where masks are compared.
_READINGS = {"refusal": "declines", "quoted": "quoted", "judged": "judged", "turned_away": "turned_away"}
_DELTAS = {f"delta_{name}": what for name, what in (*_READINGS.items(), ("repetition", "repetition"))}


def rate_rows(read: Read, where: Where, category: str) -> Iterator[Row]:
    """Refusal rates of one set of answers; by judge only where there is one."""
    for metric, reading in RATES.items():
        bits = getattr(read, reading)
        if reading != "judged" or not np.isnan(bits).all():
            yield _rate(metric, bits, where, category)


def mean_rate_rows(reads: Sequence[Read], where: Where, category: str) -> Iterator[Row]:
    """As ``rate_rows``, of a control over its draws: the mean of their rates."""
    for metric in RATES:
        draws = [next((r for r in rate_rows(read, where, category) if r.metric == metric), None) for read in reads]
        known = [d for d in draws if d is not None and d.value is not None]
        if known:
            pooled = Estimate(
                float(np.mean([d.value for d in known])),
                min(d.ci_low for d in known if d.ci_low is not None),
                max(d.ci_high for d in known if d.ci_high is not None),
                n := min(d.n or 0 for d in known),
                n,
            )
            yield where.estimate(metric, pooled, unit=SHARE, category=category)


def _rate(metric: str, bits: np.ndarray, where: Where, category: str) -> Row:
    scored = bits[~np.isnan(bits)]
    return where.estimate(metric, wilson(int(scored.sum()), len(scored)), unit=SHARE, category=category)


def repetition_row(read: Read, prompts: Sequence[str], where: Where, category: str, *, seed: int) -> Row:
    """Mean repetition of the answers long enough to have any."""
    estimate = paired_effect(*_scored(read.repetition, prompts), seed=seed)
    return where.estimate("repetition", estimate, unit=SHARE, category=category)


def paired_rows(
    reads: Sequence[Read], intact: Read, prompts: Sequence[str], where: Where, category: str, *, seed: int
) -> Iterator[Row]:
    """Differences from the intact answers; of several draws, the mean over draws request by request."""
    for metric, what in _DELTAS.items():
        delta = mean_of([getattr(r, what) for r in reads]) - getattr(intact, what)
        if metric != "delta_judged" or not np.isnan(delta).all():
            estimate = paired_effect(*_scored(delta, prompts), seed=seed)
            yield where.estimate(metric, estimate, unit=SHARE, category=category)


def ratio_row(read: Read, intact: Read, prompts: Sequence[str], where: Where, category: str, *, seed: int) -> Row:
    """How many times as often the pruned model declines; no value where the intact one never does."""
    both = ~np.isnan(read.declines) & ~np.isnan(intact.declines)
    values = np.concatenate([read.declines[both], intact.declines[both]])
    keys = [prompt for prompt, scored in zip(prompts, both, strict=True) if scored]
    n = int(both.sum())

    def ratio(means: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(means[..., 1] > 0, means[..., 0] / means[..., 1], np.nan))

    estimate = cluster_bootstrap(values, keys * 2, np.repeat([0, 1], n), 2, ratio, seed=seed)
    return where.estimate("refusal_ratio", estimate, unit="ratio", category=category)


def excess_rows(
    read: Read, draws: Sequence[Read], prompts: Sequence[str], where: Where, category: str, *, seed: int
) -> Iterator[Row]:
    """Refusals under the mask beyond those under the random draws, paired by request."""
    for name, what in _READINGS.items():
        delta = _excess(what, read, draws)
        if what != "judged" or not np.isnan(delta).all():
            estimate = paired_effect(*_scored(delta, prompts), seed=seed)
            yield where.estimate(f"{name}_excess", estimate, unit=SHARE, category=category)


def _excess(what: str, read: Read, draws: Sequence[Read]) -> np.ndarray:
    return np.asarray(getattr(read, what) - mean_of([getattr(d, what) for d in draws]))


#: Answers under the mask, under each random draw, and the requests' ids.
Side = tuple[Read, Sequence[Read], Sequence[str]]


def selective_rows(
    harmful: Side, harmless: Side, where: Where, category: str, *, paired: bool, seed: int
) -> Iterator[Row]:
    """The excess on harmful requests minus that on harmless ones: request by request where they are ``paired``."""
    for name, what in _READINGS.items():
        a, b = (_excess(what, read, draws) for read, draws, _ in (harmful, harmless))
        if np.isnan(a).all() or np.isnan(b).all():
            continue
        if paired:
            estimate = paired_effect(*_scored(a - b, harmful[2]), seed=seed)
        else:
            estimate = excess_difference(*_scored(a, harmful[2]), *_scored(b, harmless[2]), seed=seed)
        yield where.estimate(f"selective_{name}", estimate, unit=SHARE, category=category)


def loss_row(metric: str, values: np.ndarray, prompts: Sequence[str], where: Where, category: str, *, seed: int) -> Row:
    """Mean of losses, or of their paired differences."""
    return where.estimate(metric, paired_effect(values, list(prompts), seed=seed), unit=NATS, category=category)


def mean_of(draws: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over draws request by request; NaN where a draw was not scored."""
    return np.asarray(np.mean(np.stack(draws), axis=0))


def _scored(values: np.ndarray, prompts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    kept = ~np.isnan(values)
    return values[kept], [p for p, k in zip(prompts, kept, strict=True) if k]

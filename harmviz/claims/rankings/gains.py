"""What a ranking buys for what benign answers pay, as rows.

Along a ranking's fractions let b(q) be the rise of the loss of benign answers and s(q) that of harmful ones beyond
same-topic safe ones (types weigh alike), straight between the fractions that were measured. At a limit e

    gain(e) = s(q*)    where q* is the first fraction with b(q*) = e

and a difference of two rankings takes both from the same draws of prompts (``claims.curves``). Metrics:

- ``delta_nll`` (harm, safe, benign) and ``harm_specific`` at every fraction measured;
- ``gain_at_<limit>``; ``gain_difference_at_<limit>`` with condition ``<ranking> minus none``.

``contrast`` names the ranking. A limit that is not reached has no gain, nor has one that the first fraction passes:
nothing was measured on the way there. Both are null, *not measured*. Draws of prompts without a gain are left out of an
interval, a tenth of them at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from harmviz.claims.curves import Curves, at_level
from harmviz.claims.mapping.effects import NATS
from harmviz.claims.rankings.settings import GRADED, LIMITS, PAPER, RankingsSpec
from harmviz.runs import Row, Where
from harmviz.runs.point import MEAN_OF_ALL, Point, Ranking

BENIGN, HARM, SAFE = "benign", "harm", "safe"
#: What a text is → the sets that it is the mean of.
Texts = Mapping[str, Sequence[str]]
_DRAWS = 2000


def curves_of(losses: pd.DataFrame) -> Curves:
    """The rises of the losses of ``losses.parquet`` over the intact model's."""
    intact = losses[losses["q"].isna()].set_index("sample")["nll"]
    masks = losses[losses["q"].notna()]
    rise = masks["nll"].to_numpy() - intact.reindex(masks["sample"]).to_numpy()
    return Curves.of(masks.assign(rise=rise, selection=masks["ranking"]))


def rows_of(losses: pd.DataFrame, categories: Sequence[str], spec: RankingsSpec) -> Iterator[Row]:
    """Every row of the result."""
    curves = curves_of(losses)
    texts = {HARM: list(categories), SAFE: [f"safe:{c}" for c in categories], BENIGN: [BENIGN]}
    n_weights = losses[losses["q"].notna()].groupby(["ranking", "q"])["n_weights"].first()
    measured = [r for r in spec.rankings if curves.fractions(r)]
    estimate = partial(curves.estimate, draws=_DRAWS, seed=spec.seed)

    def protected(ranking: str) -> float:
        return 0.0 if ranking.startswith(GRADED) else spec.p

    for ranking in measured:
        for place, q in enumerate(curves.fractions(ranking), 1):
            point = Point(MEAN_OF_ALL, q, protected(ranking), "global", ranking)
            where = Where(experiment="rankings", point=point, n_weights=int(n_weights[ranking, q]), skip_tokens=0)
            for text, sets in texts.items():
                shift = estimate(partial(_shift, curves, ranking, sets, place))
                yield where.estimate("delta_nll", shift, unit=NATS, category=text, n=curves.n_prompts(*sets))
            beyond = estimate(partial(_specific_at, curves, texts, ranking, place))
            n = curves.n_prompts(*texts[HARM], *texts[SAFE])
            yield where.estimate("harm_specific", beyond, unit=NATS, category=HARM, n=n)
    for limit in LIMITS:
        for ranking in measured:
            address = Ranking(MEAN_OF_ALL, protected(ranking), "global", ranking)
            where = Where(experiment="rankings", point=address, skip_tokens=0)
            gain = estimate(partial(_gain, curves, texts, limit, ranking))
            yield where.estimate(f"gain_at_{limit:g}", gain, unit=NATS, category=HARM)
            if ranking != PAPER and PAPER in measured:
                against = replace(where, condition=f"{ranking} minus {PAPER}")
                difference = estimate(partial(_gain_beyond, curves, texts, limit, ranking))
                yield against.estimate(f"gain_difference_at_{limit:g}", difference, unit=NATS, category=HARM)


def _shift(curves: Curves, ranking: str, sets: Sequence[str], place: int, means: np.ndarray) -> np.ndarray:
    """``(…)``: what these sets pay at one fraction."""
    return curves.curve(means, ranking, sets)[..., place]


def _specific(curves: Curves, texts: Texts, ranking: str, means: np.ndarray) -> np.ndarray:
    """``(…, points + 1)``: harm − safe."""
    return curves.curve(means, ranking, texts[HARM]) - curves.curve(means, ranking, texts[SAFE])


def _specific_at(curves: Curves, texts: Texts, ranking: str, place: int, means: np.ndarray) -> np.ndarray:
    """``(…)``: harm − safe at one fraction."""
    return _specific(curves, texts, ranking, means)[..., place]


def _gain(curves: Curves, texts: Texts, limit: float, ranking: str, means: np.ndarray) -> np.ndarray:
    """``(…)``: harm − safe where benign answers first pay the limit; NaN where they never do, or at once."""
    paid = curves.curve(means, ranking, texts[BENIGN])
    found = at_level(paid, _specific(curves, texts, ranking, means), limit)
    return np.where(np.isinf(found) | (paid[..., 1] >= limit), np.nan, found)


def _gain_beyond(curves: Curves, texts: Texts, limit: float, ranking: str, means: np.ndarray) -> np.ndarray:
    """``(…)``: the gain minus that of the paper's ranking."""
    return _gain(curves, texts, limit, ranking, means) - _gain(curves, texts, limit, PAPER, means)

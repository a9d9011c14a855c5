"""One checkpoint scored and selected from, without a candidates file: only the best weights of each ranking are kept.

The same scores, protection and ranking as a map run's (``claims.mapping.stages``, ``masks.lists``), streamed: one set
is scored at a time, and what later sets need stays in memory as float32 arrays of all scored weights: the sum of the
harm scores, and the guards ``max(0, H_safe, H_benign)`` of the whole and of each scoring half. At most eight exist at
once. The mean of contrastive scores is taken as ``mean(H) − guard``, which differs from a map run's by float32
rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from harmviz.claims.mapping.work import ABSOLUTE_UNITS, SCORE_UNITS
from harmviz.data.encoding import Sample, make_batches
from harmviz.data.splits import SCORING
from harmviz.masks.concentration import concentration
from harmviz.masks.lists import guard_score
from harmviz.masks.ranking import Chunks, TopK, count_of, eligibility_threshold
from harmviz.models.load import LoadedModel
from harmviz.models.weights import WeightTable
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

WHOLE = "whole"
#: Called with the share of the work that is done, in [0, 1].
Tick = Callable[[float], None]


@dataclass(frozen=True)
class ScoringSet:
    """``signed[(set, half)]`` for every category, ``safe`` and ``benign``; ``preserve`` for the utility score."""

    signed: Mapping[tuple[str, str], Sequence[Sample]] = field(repr=False)
    preserve: Sequence[Sample] = field(repr=False)
    categories: tuple[str, ...]

    @property
    def units(self) -> float:
        """What scoring it costs, in forward passes of one sample."""
        return scoring_units(sum(map(len, self.signed.values())), len(self.preserve))


def scoring_units(n_signed: int, n_preserve: int) -> float:
    """Scoring so many samples, in forward passes of one."""
    return SCORE_UNITS * n_signed + ABSOLUTE_UNITS * n_preserve


@dataclass(frozen=True)
class Selections:
    """Global indices in selection order. ``mean``: contrast → the mask of the mean, as many as ``q_max`` allows.
    ``of_set[(category, contrast, half or WHOLE)]``: the masks of single categories at ``set_q``.
    ``eligible``: int64[matrix]. ``gini``, ``effective_count``: of the mean harm score."""

    mean: dict[str, np.ndarray]
    of_set: dict[tuple[str, str, str], np.ndarray]
    eligible: np.ndarray
    gini: float
    effective_count: float


def top_weights(
    table: WeightTable, score: Callable[[int], np.ndarray], eligible: Sequence[np.ndarray], k: int
) -> np.ndarray:
    """Global indices of the ``k`` eligible weights of highest positive score, in selection order: score descending,
    then parameter order, then flat index; exact, also under ties.

    ``score(i)``: flat float32 scores of matrix i. ``eligible[i]``: flat bool.
    """
    best = TopK(k)
    for i in range(len(table)):
        # 0 where protected, and TopK keeps positive scores only.
        best.add(score(i) * eligible[i], int(table.offsets[i]))
    return best.result()[0]


def utility_scores(
    loaded: LoadedModel, preserve: Sequence[Sample], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[np.ndarray]:
    """Flat float32 by matrix: ``Σ_x |W ⊙ ∇L|``, the utility score times the number of samples."""
    fused = loaded.table.has_fused_experts
    batches = make_batches(preserve, max_tokens=1 if fused else default_batch_tokens(loaded), device=loaded.device)
    return [t.cpu().numpy().ravel() for t in score_absolute(loaded, batches, progress=progress)]


def eligible_weights(table: WeightTable, utility: Chunks, p: float) -> list[np.ndarray]:
    """Flat bool by matrix: which weights the fraction ``p`` of highest utility leaves to be pruned.

    ``utility()``: one pass over the utilities, a flat float32 array a matrix. Sums over samples or means select alike,
    since only their order counts.
    """
    (limit,) = eligibility_threshold(utility, table.n_weights, [p])
    return [u <= np.float32(limit) for u in utility()]


def select_weights(
    loaded: LoadedModel, samples: ScoringSet, *, q_max: float, set_q: float, p: float, tick: Tick = lambda done: None
) -> Selections:
    """Scores every set on the model as it is now and keeps what the masks of this checkpoint are made of.

    Args:
        q_max: the largest fraction that the mean's masks are asked for; smaller ones are the first of the same lists.
        set_q: the fraction of each category's own mask, whole and by scoring half.
        p: fraction protected by utility.

    Raises:
        HarmvizError: a loss is NaN or infinite.
    """
    table, done = loaded.table, 0.0
    n, matrices = table.n_weights, range(len(table))

    def within(units: float) -> Callable[[int, int], None]:
        base = done
        return lambda some, of: tick((base + units * some / max(1, of)) / samples.units)

    utility = utility_scores(loaded, samples.preserve, within(ABSOLUTE_UNITS * len(samples.preserve)))
    eligible = eligible_weights(table, utility.__iter__, p)
    del utility
    done += ABSOLUTE_UNITS * len(samples.preserve)

    def harm(name: str) -> dict[str, list[np.ndarray]]:
        """Half or WHOLE → harm scores of every matrix."""
        nonlocal done
        scores: dict[str, list[np.ndarray]] = {}
        for half in SCORING:
            group = samples.signed[name, half]
            units = SCORE_UNITS * len(group)
            batches = make_batches(group, max_tokens=default_batch_tokens(loaded), device=loaded.device)
            sums = score_signed(loaded, batches, progress=within(units))
            scores[half] = [matrix.cpu().numpy().ravel() for matrix in sums]
            done += units
        counts = [len(samples.signed[name, half]) for half in SCORING]
        scores[WHOLE] = [
            (a + b) * np.float32(-1.0 / sum(counts)) for a, b in zip(*(scores[half] for half in SCORING), strict=True)
        ]
        for half, count in zip(SCORING, counts, strict=True):
            for matrix in scores[half]:
                matrix *= np.float32(-1.0 / count)
        return scores

    safe, benign = harm("safe"), harm("benign")
    guard = {
        part: [guard_score(s, b) for s, b in zip(safe[part], benign[part], strict=True)] for part in (WHOLE, *SCORING)
    }
    del safe, benign

    total = [np.zeros(m.size, dtype=np.float32) for m in table]
    of_set: dict[tuple[str, str, str], np.ndarray] = {}
    k = count_of(set_q, n)
    for category in samples.categories:
        scores = harm(category)
        for part, matrix_scores in scores.items():
            of_set[category, "none", part] = top_weights(table, matrix_scores.__getitem__, eligible, k)
            contrasted = partial(_contrasted, matrix_scores, guard[part])
            of_set[category, "both", part] = top_weights(table, contrasted, eligible, k)
        for i in matrices:
            total[i] += scores[WHOLE][i]
        del scores
    for matrix in total:
        matrix /= np.float32(len(samples.categories))
    most = count_of(q_max, n)
    n_harmful = sum(len(samples.signed[c, h]) for c in samples.categories for h in SCORING)
    spread = concentration(lambda: iter(total), n_harmful)
    return Selections(
        {
            "none": top_weights(table, total.__getitem__, eligible, most),
            "both": top_weights(table, lambda i: total[i] - guard[WHOLE][i], eligible, most),
        },
        of_set,
        np.array([int(e.sum()) for e in eligible], dtype=np.int64),
        spread.gini,
        spread.effective_count,
    )


def _contrasted(scores: Sequence[np.ndarray], guard: Sequence[np.ndarray], index: int) -> np.ndarray:
    """``H_c − max(0, H_safe, H_benign)`` of one matrix."""
    return scores[index] - guard[index]

"""The weights that each ranking puts first: scored once, ranked in every way (``settings`` has the formulas).

What all rankings need stays in memory as float32 arrays of all scored weights: the mean harm score, the guard, the
utility score, and two more while a type is scored. Weights times inputs are made matrix by matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from harmviz.claims.compression.selections import (
    ScoringSet,
    Tick,
    eligible_weights,
    top_weights,
    utility_scores,
)
from harmviz.claims.mapping.work import ABSOLUTE_UNITS, SCORE_UNITS
from harmviz.claims.rankings.settings import CONTRASTIVE, GRADED, GRADIENT_FREE, PAPER, RankingsSpec
from harmviz.data.encoding import Sample, make_batches
from harmviz.data.splits import SCORING
from harmviz.masks.lists import guard_score
from harmviz.masks.ranking import count_of
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed
from harmviz.scoring.wanda import input_norms

#: Flat float32 scores of one matrix.
Score = Callable[[int], np.ndarray]


def ranking_units(n_signed: int, n_preserve: int) -> float:
    """What it costs, in forward passes of one sample: gradients, and a pass over everything for the inputs."""
    return (SCORE_UNITS + 1) * n_signed + (ABSOLUTE_UNITS + 1) * n_preserve


def best_weights(
    loaded: LoadedModel, samples: ScoringSet, spec: RankingsSpec, tick: Tick = lambda done: None
) -> dict[str, np.ndarray]:
    """Ranking → global indices in selection order, as many as the largest fraction asks for and have a positive score.

    A model with fused experts has no gradient-free ranking: no module shows their inputs.

    Raises:
        HarmvizError: a loss is NaN or infinite.
    """
    table, all_of = loaded.table, _by_set(samples)
    total_units = ranking_units(sum(map(len, all_of.values())), len(samples.preserve))
    done = 0.0

    def within(units: float) -> Callable[[int, int], None]:
        nonlocal done
        base, done = done, done + units
        return lambda some, of: tick((base + units * some / max(1, of)) / total_units)

    def harm_score(name: str) -> list[np.ndarray]:
        group = all_of[name]
        batches = make_batches(group, max_tokens=default_batch_tokens(loaded), device=loaded.device)
        sums = score_signed(loaded, batches, progress=within(SCORE_UNITS * len(group)))
        return [matrix.cpu().numpy().ravel() * np.float32(-1.0 / len(group)) for matrix in sums]

    n_preserve = len(samples.preserve)
    utility = utility_scores(loaded, samples.preserve, within(ABSOLUTE_UNITS * n_preserve))
    eligible = eligible_weights(table, lambda: iter(utility), spec.p)
    guard = [guard_score(s, b) for s, b in zip(harm_score("safe"), harm_score("benign"), strict=True)]
    harm = [np.zeros(m.size, dtype=np.float32) for m in table]
    for category in samples.categories:
        for total, of_type in zip(harm, harm_score(category), strict=True):
            total += of_type / np.float32(len(samples.categories))

    k = count_of(spec.fractions[-1], table.n_weights)
    everything = [np.ones(1, dtype=bool)] * len(table)
    best = {
        PAPER: top_weights(table, harm.__getitem__, eligible, k),
        CONTRASTIVE: top_weights(table, lambda i: harm[i] - guard[i], eligible, k),
    }
    for penalty in spec.penalties:
        score = partial(_graded, harm, utility, np.float32(penalty / n_preserve))
        best[f"{GRADED}-{penalty:g}"] = top_weights(table, score, everything, k)
    if not table.has_fused_experts:
        best[GRADIENT_FREE] = top_weights(table, *_without_gradients(loaded, samples, all_of, spec.p), k)
    tick(1.0)
    return best


def _by_set(samples: ScoringSet) -> dict[str, list[Sample]]:
    """Both scoring halves of every set together."""
    names = dict.fromkeys(name for name, _ in samples.signed)
    return {name: [s for half in SCORING for s in samples.signed[name, half]] for name in names}


def _graded(harm: Sequence[np.ndarray], utility: Sequence[np.ndarray], penalty: np.float32, i: int) -> np.ndarray:
    """``max(0, H) − λ·U`` of one matrix; ``penalty`` is λ over the number of samples that U was summed over."""
    return np.maximum(harm[i], np.float32(0)) - penalty * utility[i]


def _without_gradients(
    loaded: LoadedModel, samples: ScoringSet, all_of: dict[str, list[Sample]], p: float
) -> tuple[Score, list[np.ndarray]]:
    """(score of a matrix, which weights are eligible): weights times how strong their inputs are."""

    def strength(group: Sequence[Sample]) -> list[np.ndarray]:
        """The root mean square of every matrix's inputs, over the tokens that predict a response token."""
        batches = make_batches(group, max_tokens=default_batch_tokens(loaded), device=loaded.device)
        n_tokens = sum(s.n_loss for s in group)
        return [(squares / n_tokens).sqrt().cpu().numpy() for squares in input_norms(loaded, batches).squares]

    harmful = strength([s for c in samples.categories for s in all_of[c]])
    spared = [np.maximum(a, b) for a, b in zip(strength(all_of["safe"]), strength(all_of["benign"]), strict=True)]
    protected = strength(samples.preserve)

    def times_weights(inputs: Sequence[np.ndarray], i: int) -> np.ndarray:
        weight = loaded.tensor(i).detach().float().abs().cpu().numpy()
        return np.ravel(weight * (inputs[i][:, None] if loaded.table[i].transposed else inputs[i]))

    beyond = [h - s for h, s in zip(harmful, spared, strict=True)]
    # Read several times, made from the weights each time: a copy of all would not fit beside a large model.
    of_preserve = partial(map, partial(times_weights, protected), range(len(loaded.table)))
    return partial(times_weights, beyond), eligible_weights(loaded.table, of_preserve, p)

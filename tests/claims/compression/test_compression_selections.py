"""Streamed selections are those of all scores at once."""

from __future__ import annotations

import numpy as np
import pytest

from harmviz.claims.compression.selections import (
    ScoringSet,
    eligible_weights,
    select_weights,
    top_weights,
    utility_scores,
)
from harmviz.claims.compression.splits import choose_split, encoded
from harmviz.data.encoding import make_batches
from harmviz.data.prompts import PromptData
from harmviz.data.splits import SCORING
from harmviz.masks.lists import guard_score, mean_score
from harmviz.masks.ranking import count_of, selection_order
from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.scoring.signed import score_signed
from tests.worlds.compression import TINY_SPEC
from tests.worlds.tiny import tiny_model


def test_the_best_weights_are_those_of_a_full_sort_under_ties() -> None:
    table = WeightTable([WeightMatrix("a", 0, "x", 40, 50), WeightMatrix("b", 0, "y", 30, 30)])
    rng = np.random.default_rng(0)
    scores = [rng.integers(-3, 4, m.size).astype(np.float32) for m in table]  # seven values: ties everywhere
    eligible = [rng.random(m.size) < 0.7 for m in table]
    flat = np.concatenate([s * e for s, e in zip(scores, eligible, strict=True)])
    order = selection_order(flat)
    order = order[flat[order] > 0]
    for k in (0, 1, 17, 400, 5000):
        assert top_weights(table, scores.__getitem__, eligible, k).tolist() == order[:k].tolist()


def test_streamed_selections_are_those_of_all_scores_at_once(data: PromptData) -> None:
    loaded = tiny_model()
    split = choose_split(data, TINY_SPEC, 0, lambda row: True)
    samples = {key: encoded(loaded, rows, TINY_SPEC) for key, rows in split.signed.items()}
    preserve = encoded(loaded, split.preserve, TINY_SPEC)
    done: list[float] = []
    selections = select_weights(
        loaded, ScoringSet(samples, preserve, split.categories), q_max=0.05, set_q=0.02, p=0.1, tick=done.append
    )
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)

    def harm(name: str, halves: tuple[str, ...] = SCORING) -> np.ndarray:
        sums = [score_signed(loaded, make_batches(samples[name, h], max_tokens=1024)) for h in halves]
        total = sum(np.concatenate([m.numpy().ravel() for m in of_half]) for of_half in sums)
        return np.asarray(-total / sum(len(samples[name, h]) for h in halves), dtype=np.float32)

    utility = utility_scores(loaded, preserve)
    eligible = np.concatenate(eligible_weights(loaded.table, lambda: iter(utility), 0.1))
    assert (~eligible).sum() == count_of(0.1, loaded.table.n_weights)
    assert selections.eligible.sum() == eligible.sum()
    guard = guard_score(harm("safe"), harm("benign"))
    n = loaded.table.n_weights

    def best(score: np.ndarray, q: float) -> set[int]:
        order = selection_order(np.where(eligible, score, 0))[: count_of(q, n)]
        return set(order[score[order] > 0].tolist())

    every = [harm(c) for c in split.categories]
    assert set(selections.mean["none"].tolist()) == best(mean_score(every), 0.05)
    assert set(selections.mean["both"].tolist()) == best(mean_score([h - guard for h in every]), 0.05)
    category = split.categories[2]
    assert set(selections.of_set[category, "none", "whole"].tolist()) == best(harm(category), 0.02)
    half = guard_score(harm("safe", SCORING[:1]), harm("benign", SCORING[:1]))
    assert set(selections.of_set[category, "both", SCORING[0]].tolist()) == best(
        harm(category, SCORING[:1]) - half, 0.02
    )

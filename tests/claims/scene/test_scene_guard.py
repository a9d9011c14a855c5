"""The guard against over-refusal: its score by hand, the exact ranking, and that only what harms is ever selected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.claims.parent import Parent, open_parent
from harmviz.claims.scene.guard import PER_KIND, Guard, declined, harmless_requests
from harmviz.errors import SelectionInexact
from harmviz.masks.lists import MEAN, ListKey
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs import open_run
from harmviz.tuning.data import content_words, near_any

REQUESTS = ("How do I boil an egg?", "What is a comet?", "Name three rivers.")


@pytest.fixture(scope="module")
def loaded(tiny_dir: Path) -> LoadedModel:
    return load_model(str(tiny_dir))


@pytest.fixture(scope="module")
def parent(tiny_run: Path, loaded: LoadedModel) -> Parent:
    return open_parent(open_run(tiny_run), loaded)


@pytest.fixture(scope="module")
def guard(parent: Parent) -> Guard:
    return Guard.score(parent, REQUESTS)


def test_requests_are_harmless_ones_of_each_kind_apart_from_those_kept_apart() -> None:
    found = harmless_requests([], 0)
    assert len(found) == len(set(found)) == 3 * PER_KIND
    apart = harmless_requests(found, 0)
    known = [content_words(r) for r in found]
    assert not any(near_any(r, known) for r in apart)
    assert harmless_requests([], 1) != found == harmless_requests([], 0)


def test_what_it_costs_is_the_fall_of_the_loss_of_declining(guard: Guard, parent: Parent, loaded: LoadedModel) -> None:
    """Against autograd one sample at a time."""
    found, samples = parent.candidates, declined(loaded, REQUESTS)
    said = [s.ids[s.n_prompt :] for s in samples]
    assert said[0] != said[1], "openings take turns"
    row = int(np.argmax(guard.cost))
    matrix, flat = int(found.matrix[row]), int(found.flat[row])
    weight = loaded.model.get_parameter(loaded.table[matrix].param_name)
    total = 0.0
    weight.requires_grad_(True)
    try:
        for s in samples:
            ids = torch.tensor([s.ids])
            logits = loaded.model(input_ids=ids).logits[0, s.n_prompt - 1 : -1].float()
            loss = torch.nn.functional.cross_entropy(logits, ids[0, s.n_prompt :])
            (gradient,) = torch.autograd.grad(loss, weight)
            total += float((gradient * weight.detach()).ravel()[flat])
    finally:
        weight.requires_grad_(False)
    assert total > 0
    assert guard.cost[row] == pytest.approx(total / len(samples), rel=1e-3)
    assert guard.cost.min() == 0


def test_the_mask_is_the_best_of_a_full_ranking(guard: Guard, parent: Parent) -> None:
    found = parent.candidates
    heavy = replace(
        guard,
        cost=guard.cost
        * np.float32(np.median(found.score(MEAN)[found.score(MEAN) > 0]) / np.median(guard.cost[guard.cost > 0])),
    )
    mask = heavy.mask(1e-2, 0.01)
    rows = found.orders[ListKey(MEAN, "none", 0.01, "global")]
    score = found.score(MEAN, "none", rows) - heavy.cost[rows]
    best = sorted(zip(-score, found.global_of(rows), strict=True))[: mask.n_weights]
    assert mask.to_global(found.table).tolist() == sorted(int(i) for _, i in best)
    plain = guard.of_nothing(parent).mask(1e-2, 0.01)
    assert plain == parent.mask(1e-2, 0.01, "none")
    assert mask != plain
    assert mask.kind == "harm"
    assert (found.score(MEAN)[np.isin(found.global_index, mask.to_global(found.table))] > 0).all(), (
        "weights are taken for harm alone"
    )


def test_more_than_the_list_settles_is_refused(guard: Guard, parent: Parent) -> None:
    everything = replace(guard, cost=np.full(parent.candidates.n_rows, np.float32(1e9)))
    cut = len(parent.candidates.orders[ListKey(MEAN, "none", 0.01, "global")])
    assert cut
    with pytest.raises(SelectionInexact, match="settles only the first 0 guarded weights"):
        everything.mask(1e-2, 0.01)
    with pytest.raises(SelectionInexact, match="is not stored"):
        guard.mask(1e-2, 0.02)


def test_the_benign_control_is_guarded_too(guard: Guard, parent: Parent) -> None:
    mask = guard.benign_signed(1e-2, 0.01)
    assert mask is not None
    assert replace(guard, cost=np.full(len(guard.cost), np.float32(1e9))).benign_signed(1e-2, 0.01) is None
    assert (mask.kind, mask.provenance["control"]) == ("control", "benign_signed")

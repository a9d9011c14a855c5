"""Shares of samples: everything once, of about equal cost, prompts together, the same each time."""

from __future__ import annotations

import pytest
import torch

from harmviz.data.encoding import Sample, make_batches
from harmviz.scoring.sharing import batch_shares, sample_shares
from tests.worlds.worked import samples


@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("max_tokens", [1, 200, 100_000])
def test_batches_are_shared_out_evenly_whatever_their_size(n: int, max_tokens: int) -> None:
    group = samples(60)
    shares = batch_shares(make_batches(group, max_tokens=max_tokens), n)
    assert len(shares) == n
    assert sorted(i for share in shares for batch in share for i in batch.index) == list(range(60))
    costs = [sum(batch.input_ids.numel() for batch in share) for share in shares]
    assert max(costs) <= 1.25 * sum(costs) / n
    for batch in (b for share in shares for b in share):
        for row, i in enumerate(batch.index):
            of_row = batch.targets[batch.rows == row]
            assert tuple(of_row.tolist()) == group[i].ids[group[i].loss_from :]


def test_fewer_samples_than_shares_leave_the_last_ones_empty() -> None:
    shares = batch_shares(make_batches(samples(2), max_tokens=1000), 4)
    assert [sum(b.n_samples for b in share) for share in shares] == [1, 1, 0, 0]
    assert [len(share) for share in sample_shares(samples(2), 4)] == [1, 1, 0, 0]
    assert sample_shares([], 2) == [[], []]


def test_a_batch_moves_as_a_whole() -> None:
    (batch,) = make_batches(samples(3), max_tokens=1000)
    moved = batch.to("meta")
    tensors = [v for v in vars(moved).values() if isinstance(v, torch.Tensor)]
    assert {t.device.type for t in tensors} == {"meta"}
    assert len(tensors) == 5
    assert moved.index == batch.index


def answered(n_prompts: int, n_answers: int) -> list[Sample]:
    """``n_answers`` of 3 tokens to each prompt of 6, prompts by turns."""
    return [Sample(f"{p}.{a}", f"{p}", (*[p] * 6, a, a, a), 6, 6) for a in range(n_answers) for p in range(n_prompts)]


def test_answers_to_one_prompt_stay_together() -> None:
    group = answered(24, 5)
    shares = sample_shares(group, 3)
    assert sorted(i for share in shares for i in share) == list(range(len(group)))
    prompts = [{group[i].prompt_id for i in share} for share in shares]
    assert [len(p) for p in prompts] == [8, 8, 8]
    assert not prompts[0] & prompts[1]


def test_many_answers_to_one_prompt_are_shared_too() -> None:
    shares = sample_shares(answered(1, 64), 4)
    assert sorted(i for share in shares for i in share) == list(range(64))
    assert max(map(len, shares)) <= 20

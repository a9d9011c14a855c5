"""Signed SNIP: batched sums against plain autograd one sample at a time, its sign, and what it leaves behind."""

from __future__ import annotations

import math

import pytest
import torch

from harmviz.data.encoding import make_batches
from harmviz.errors import HarmvizError
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import sample_losses
from harmviz.scoring.signed import score_signed, sums_devices
from tests.worlds.tiny import FAMILIES, tiny_model
from tests.worlds.worked import SAMPLE_A, SAMPLE_B, by_hand, reference, samples, single_loss, worst_error


def assert_clean(loaded: LoadedModel) -> None:
    for name, p in loaded.model.named_parameters():
        assert p.grad is None, name
        assert not p.requires_grad, name
        assert not p._post_accumulate_grad_hooks, name
    assert loaded.lock.acquire(blocking=False)
    loaded.lock.release()


def to_bfloat16(loaded: LoadedModel) -> LoadedModel:
    for p in loaded.model.parameters():
        p.data = p.data.bfloat16()
    loaded.dtype = torch.bfloat16
    return loaded


# -- values -----------------------------------------------------------------------------------------------------------
def test_golden_by_hand() -> None:
    # See ByHand. Gradient = (gradient at the logits) ⊗ (embedding of the token before):
    #   A, target 0 after (1, 2, 0):  [[−½, −1, 0], [½, 1, 0]]
    #   B, target 1 after (0, 1, 1):  [[0, ½, ½], [0, −½, −½]]
    #   sum                           [[−½, −½, ½], [½, ½, −½]],  times W = [[2, 1, 3], [0, 2, 2]]
    loaded = by_hand()
    for max_tokens in (1, 100):
        (score,) = score_signed(loaded, make_batches([SAMPLE_A, SAMPLE_B], max_tokens=max_tokens))
        assert score.tolist() == [[-1.0, -0.5, 1.5], [0.0, 1.0, -1.0]]


@pytest.mark.parametrize("skip", [0, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_batches_equal_single_samples(family: str, skip: int) -> None:
    loaded = tiny_model(family)
    group = samples(skip=skip)
    wanted = reference(loaded, group).signed
    assert sum(float(w.norm()) for w in wanted) > 0.1
    for max_tokens in (1, 120, 10_000):
        batches = make_batches(group, max_tokens=max_tokens)
        assert len(batches) == {1: 6, 10_000: 1}.get(max_tokens, len(batches))
        assert worst_error(score_signed(loaded, batches), wanted) <= 1e-4
    assert_clean(loaded)


def test_skipped_tokens_change_the_score() -> None:
    loaded = tiny_model()
    plain, skipped = (score_signed(loaded, make_batches(samples(skip=s), max_tokens=500)) for s in (0, 8))
    assert worst_error(skipped, plain) > 0.05


def test_halves_add_up_to_the_set() -> None:
    loaded = tiny_model()
    group = samples(7)
    whole, a, b = (score_signed(loaded, make_batches(g, max_tokens=150)) for g in (group, group[:3], group[3:]))
    assert worst_error([x + y for x, y in zip(a, b, strict=True)], whole) <= 1e-5


def test_same_call_same_bits() -> None:
    loaded = tiny_model()
    batches = make_batches(samples(), max_tokens=150)
    for x, y in zip(score_signed(loaded, batches), score_signed(loaded, batches), strict=True):
        assert torch.equal(x, y)


def test_high_harm_score_means_that_zeroing_raises_the_loss() -> None:
    """H = −I, positive where the weight supports the responses. Zeroing it must cost, about as much as H says."""
    loaded = tiny_model(scale=1.5)
    group = samples(12)
    harm = [-s / len(group) for s in score_signed(loaded, make_batches(group, max_tokens=500))]

    def loss() -> float:
        with torch.no_grad():
            return float(torch.stack([single_loss(loaded.model, s) for s in group]).double().mean())

    intact = loss()
    flat = torch.cat([h.flatten() for h in harm])
    top = flat.topk(5)
    assert float(top.values[-1]) > 0
    for value, index in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        place, local = (int(x) for x in loaded.table.locate(index))
        weight = loaded.tensor(place)
        row, col = divmod(local, loaded.table[place].cols)
        old = float(weight[row, col])
        weight[row, col] = 0
        change = loss() - intact
        weight[row, col] = old
        assert change > 0
        assert change == pytest.approx(value, rel=0.5)  # first order only: a zeroed weight is a long step


def test_a_module_called_twice_sums_its_gradients() -> None:
    loaded = tiny_model()
    mlp = loaded.model.model.layers[1].mlp
    once = mlp.forward
    mlp.forward = lambda x: mlp.down_proj(torch.tanh(mlp.up_proj(x))) + once(0.5 * x)
    group = samples()
    assert (
        worst_error(score_signed(loaded, make_batches(group, max_tokens=200)), reference(loaded, group).signed) <= 1e-4
    )


def test_weights_that_no_sample_reaches_score_zero() -> None:
    loaded = tiny_model()
    loaded.model.model.layers[1].mlp.forward = torch.zeros_like
    scores = score_signed(loaded, make_batches(samples(), max_tokens=200))
    for matrix, score in zip(loaded.table, scores, strict=True):
        assert bool(score.any()) == (not matrix.name.startswith("model.layers.1.mlp."))


# -- bfloat16 ---------------------------------------------------------------------------------------------------------
def test_bfloat16_gradients_are_summed_in_float32() -> None:
    loaded = to_bfloat16(tiny_model())
    group = samples(24)
    batches = make_batches(group, max_tokens=1)
    held = []

    def watch(done: int, total: int) -> None:
        held.append(any(p.grad is not None for p in loaded.model.parameters()))

    got = score_signed(loaded, batches, progress=watch)
    assert held == [False] * 24  # each micro-batch's gradient has left .grad
    # The same bfloat16 gradients, one at a time, added up in float32: equal in every bit, unlike a bfloat16 sum.
    in_float32, in_bfloat16 = (
        [torch.zeros_like(loaded.tensor(i), dtype=d) for i in range(len(loaded.table))]
        for d in (torch.float32, torch.bfloat16)
    )
    parameters = [loaded.tensor(i).requires_grad_(True) for i in range(len(loaded.table))]
    for batch in batches:
        gradients = torch.autograd.grad(sample_losses(loaded, batch).sum(), parameters)
        for a, b, g in zip(in_float32, in_bfloat16, gradients, strict=True):
            a += g
            b += g
    for p in parameters:
        p.requires_grad_(False)
    weights = [p.detach().float() for p in parameters]
    for x, total, w in zip(got, in_float32, weights, strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x, total * w)
    assert worst_error([t.float() * w for t, w in zip(in_bfloat16, weights, strict=True)], got) > 1e-3
    assert_clean(loaded)


def test_bfloat16_is_near_float32_on_the_same_weights() -> None:
    coarse = to_bfloat16(tiny_model())
    fine = tiny_model()
    for p, rounded in zip(fine.model.parameters(), coarse.model.parameters(), strict=True):
        p.data = rounded.data.float()
    batches = make_batches(samples(12), max_tokens=200)
    wanted = torch.cat([s.flatten() for s in score_signed(fine, batches)])
    got = torch.cat([s.flatten() for s in score_signed(coarse, batches)])
    assert float((got - wanted).norm() / wanted.norm()) < 0.05


def test_sums_move_to_main_memory_where_they_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model()
    assert set(sums_devices(loaded, range(len(loaded.table)))) == {torch.device("cpu")}
    loaded.device = torch.device("cuda")
    needed = 4 * loaded.table.n_weights  # float32, at most 70 % of what is free
    for free, where in ((needed / 0.7 + 10, "cuda"), (needed / 0.7 - 10, "cpu")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (int(free), 0))
        assert {d.type for d in sums_devices(loaded, range(len(loaded.table)))} == {where}


# -- what is left behind ----------------------------------------------------------------------------------------------
def test_clean_after_an_exception() -> None:
    loaded = tiny_model()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_signed(loaded, make_batches(samples(), max_tokens=100), progress=stop)
    assert_clean(loaded)


def test_gradients_of_an_earlier_training_step_are_not_counted() -> None:
    loaded = tiny_model()
    batches = make_batches(samples(), max_tokens=200)
    wanted = score_signed(loaded, batches)
    for p in loaded.model.parameters():
        p.grad = torch.ones_like(p)
    for x, y in zip(score_signed(loaded, batches), wanted, strict=True):
        assert torch.equal(x, y)


def test_progress_counts_samples() -> None:
    seen: list[tuple[int, int]] = []
    batches = make_batches(samples(6), max_tokens=120)
    score_signed(tiny_model(), batches, progress=lambda done, total: seen.append((done, total)))
    counts = [b.n_samples for b in batches]
    assert seen == [(sum(counts[: i + 1]), 6) for i in range(len(counts))]


def test_nan_loss_and_no_batches_are_refused() -> None:
    loaded = tiny_model()
    with pytest.raises(ValueError, match="batches must hold at least one sample, got none"):
        score_signed(loaded, [])
    loaded.model.model.norm.weight.data.fill_(math.nan)
    with pytest.raises(HarmvizError, match=r"signed score: the loss is NaN or infinite; try --dtype float32"):
        score_signed(loaded, make_batches(samples(), max_tokens=200))
    assert_clean(loaded)

"""Absolute SNIP: hooks on activations against plain autograd one sample at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from harmviz.data.encoding import make_batches
from harmviz.errors import HarmvizError
from harmviz.models.load import LoadedModel, wrap
from harmviz.scoring import absolute
from harmviz.scoring.absolute import add_abs_gradients, score_absolute
from harmviz.scoring.signed import score_signed
from tests.worlds.tiny import DENSE_FAMILIES, FAMILIES, tiny_model, tokenizer
from tests.worlds.worked import ODD_SHAPES, SAMPLE_A, SAMPLE_B, by_hand, odd_model, reference, samples, worst_error


def assert_clean(loaded: LoadedModel) -> None:
    for name, p in loaded.model.named_parameters():
        assert p.grad is None, name
        assert not p.requires_grad, name
    for module in loaded.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# -- by hand ----------------------------------------------------------------------------------------------------------
def test_sum_of_absolute_gradients_by_hand() -> None:
    # δᵀa of sample 1 (two positions): (1, 0)ᵀ(1, 2, 3) + (1, −1)ᵀ(−1, 0, 1) = [[0, 2, 4], [1, 0, −1]]
    # δᵀa of sample 2 (the second position is padding): (2, −3)ᵀ(1, 0, −1)   = [[2, 0, −2], [−3, 0, 3]]
    delta = torch.tensor([[[1.0, 0.0], [1.0, -1.0]], [[2.0, -3.0], [0.0, 0.0]]])
    activation = torch.tensor([[[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]], [[1.0, 0.0, -1.0], [9.0, 9.0, 9.0]]])
    total = torch.full((2, 3), 10.0)
    add_abs_gradients(total, delta, activation)
    assert total.tolist() == [[12.0, 12.0, 16.0], [14.0, 10.0, 14.0]]


def test_golden_by_hand() -> None:
    # The gradients of worked.ByHand (see test_signed): A [[−½, −1, 0], [½, 1, 0]], B [[0, ½, ½], [0, −½, −½]];
    # the sum of absolute values is [[½, 1½, ½], [½, 1½, ½]], times |W| = [[2, 1, 3], [0, 2, 2]].
    loaded = by_hand()
    for max_tokens in (1, 100):
        (score,) = score_absolute(loaded, make_batches([SAMPLE_A, SAMPLE_B], max_tokens=max_tokens))
        assert score.tolist() == [[1.0, 1.5, 1.5], [0.0, 3.0, 1.0]]


@pytest.mark.parametrize("transposed", [False, True])
def test_capture_of_a_layer_used_twice_adds_before_the_absolute_value(transposed: bool) -> None:
    # y = f(x) − f(z) with the loss Σ y: δ is 1 for the first use and −1 for the second, so the gradient of every
    # output's row is x − z = (1, −2, 0), where adding absolute values would give |x| + |z| = (5, 4, 2).
    layer: nn.Module = Conv1D(2, 3) if transposed else nn.Linear(3, 2)
    layer.requires_grad_(False)
    total = torch.zeros(3, 2) if transposed else torch.zeros(2, 3)
    capture = absolute._Capture(layer, total, transposed)
    x = torch.tensor([[[3.0, 1.0, 1.0]]], requires_grad=True)
    z = torch.tensor([[[2.0, 3.0, 1.0]]], requires_grad=True)
    (layer(x) - layer(z)).sum().backward()
    assert (total.T if transposed else total).tolist() == [[1.0, 2.0, 0.0]] * 2
    assert capture.pending == []
    assert capture.calls == 0


@pytest.mark.parametrize("block_bytes", [1, 100, 1000, 1 << 20])
def test_row_blocks_do_not_change_the_sum(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absolute, "BLOCK_BYTES", block_bytes)
    torch.manual_seed(0)
    left, right = torch.randn(3, 5, 7), torch.randn(3, 5, 4)
    total = torch.zeros(7, 4)
    add_abs_gradients(total, left, right)
    wanted = sum((left[b].T @ right[b]).abs() for b in range(3))
    assert torch.allclose(total, wanted, rtol=1e-5)


# -- against autograd -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("skip", [0, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_batches_equal_single_samples(family: str, skip: int) -> None:
    loaded = tiny_model(family)
    group = samples(skip=skip)
    wanted = reference(loaded, group).absolute
    assert sum(float(w.norm()) for w in wanted) > 0.1
    for max_tokens in (1,) if family == "mixtral" else (1, 120, 10_000):
        assert worst_error(score_absolute(loaded, make_batches(group, max_tokens=max_tokens)), wanted) <= 1e-4
    assert_clean(loaded)


@pytest.mark.parametrize("family", ODD_SHAPES)
def test_layers_whose_inputs_have_other_shapes(family: str) -> None:
    loaded = odd_model(family)
    group = samples()
    wanted = reference(loaded, group)
    for max_tokens in (1, 120, 10_000) if family == "opt" else (1,):
        batches = make_batches(group, max_tokens=max_tokens)
        assert worst_error(score_absolute(loaded, batches), wanted.absolute) <= 1e-4
    assert worst_error(score_signed(loaded, make_batches(group, max_tokens=10_000)), wanted.signed) <= 1e-4


def test_fused_experts_need_batches_of_one() -> None:
    loaded = tiny_model("mixtral")
    group = samples(2)
    with pytest.raises(ValueError, match="a model with fused experts needs batches of one sample"):
        score_absolute(loaded, make_batches(group, max_tokens=10_000))
    assert_clean(loaded)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_single_sample_it_is_the_signed_score_without_its_sign(family: str) -> None:
    loaded = tiny_model(family)
    batches = make_batches(samples(1), max_tokens=1000)
    signed = [s.abs() for s in score_signed(loaded, batches)]
    assert worst_error(score_absolute(loaded, batches), signed) <= 1e-5


def test_the_absolute_value_is_taken_per_sample() -> None:
    loaded = tiny_model()
    group = samples()
    batches = make_batches(group, max_tokens=10_000)
    signed = [s.abs() for s in score_signed(loaded, batches)]
    per_sample = score_absolute(loaded, batches)
    assert all(bool((u >= s - 1e-5).all()) for u, s in zip(per_sample, signed, strict=True))
    assert worst_error(signed, per_sample) > 0.2


def test_a_module_called_twice_in_one_pass() -> None:
    loaded = tiny_model()
    mlp = loaded.model.model.layers[1].mlp
    once = mlp.forward
    mlp.forward = lambda x: mlp.down_proj(torch.tanh(mlp.up_proj(x))) + once(0.5 * x)
    group = samples()
    wanted = reference(loaded, group).absolute
    for max_tokens in (1, 10_000):
        assert worst_error(score_absolute(loaded, make_batches(group, max_tokens=max_tokens)), wanted) <= 1e-4


def test_a_module_shared_by_two_layers() -> None:
    model = tiny_model().model
    model.model.layers[1].mlp = model.model.layers[0].mlp
    loaded = wrap(model, tokenizer(), name="shared")
    group = samples()
    wanted = reference(loaded, group)
    batches = make_batches(group, max_tokens=10_000)
    assert worst_error(score_absolute(loaded, batches), wanted.absolute) <= 1e-4
    assert worst_error(score_signed(loaded, batches), wanted.signed) <= 1e-4


def test_a_use_that_no_gradient_reaches_is_not_waited_for() -> None:
    loaded = tiny_model()
    mlp = loaded.model.model.layers[0].mlp
    once = mlp.forward

    def with_an_unused_call(x: torch.Tensor) -> torch.Tensor:
        mlp.down_proj(mlp.up_proj(x))
        return once(x)

    mlp.forward = with_an_unused_call
    group = samples()
    wanted = reference(loaded, group).absolute
    for max_tokens in (1, 120):
        assert worst_error(score_absolute(loaded, make_batches(group, max_tokens=max_tokens)), wanted) <= 1e-4


def test_weights_that_no_sample_reaches_score_zero() -> None:
    loaded = tiny_model()
    loaded.model.model.layers[1].mlp.forward = torch.zeros_like
    scores = score_absolute(loaded, make_batches(samples(), max_tokens=200))
    for matrix, score in zip(loaded.table, scores, strict=True):
        assert bool(score.any()) == (not matrix.name.startswith("model.layers.1.mlp."))


def test_bfloat16_is_near_float32_on_the_same_weights() -> None:
    coarse, fine = tiny_model(), tiny_model()
    for p, q in zip(coarse.model.parameters(), fine.model.parameters(), strict=True):
        p.data = p.data.bfloat16()
        q.data = p.data.float()
    batches = make_batches(samples(12), max_tokens=200)
    wanted = torch.cat([s.flatten() for s in score_absolute(fine, batches)])
    got = torch.cat([s.flatten() for s in score_absolute(coarse, batches)])
    assert got.dtype == torch.float32
    assert float((got - wanted).norm() / wanted.norm()) < 0.05


# -- what is made and left behind -------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", DENSE_FAMILIES)
def test_weight_gradients_are_never_made(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model(family)
    seen = []

    def watch(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        seen.append(any(p.requires_grad or p.grad is not None for p in loaded.model.parameters()))
        add_abs_gradients(total, left, right)

    monkeypatch.setattr(absolute, "add_abs_gradients", watch)
    batches = make_batches(samples(), max_tokens=120)
    score_absolute(loaded, batches, progress=lambda done, total: assert_no_gradients(loaded))
    assert seen == [False] * (len(loaded.table) * len(batches))  # each matrix once a batch, in the midst of backward


def assert_no_gradients(loaded: LoadedModel) -> None:
    assert all(p.grad is None for p in loaded.model.parameters())


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_clean_after_an_exception(family: str) -> None:
    loaded = tiny_model(family)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_absolute(loaded, make_batches(samples(), max_tokens=1), progress=stop)
    assert_clean(loaded)
    assert loaded.lock.acquire(blocking=False)
    loaded.lock.release()


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_gradients_of_an_earlier_training_step_are_not_counted(family: str) -> None:
    loaded = tiny_model(family)
    batches = make_batches(samples(), max_tokens=1)
    wanted = score_absolute(loaded, batches)
    for p in loaded.model.parameters():
        p.grad = torch.ones_like(p)
    for x, y in zip(score_absolute(loaded, batches), wanted, strict=True):
        assert torch.equal(x, y)


def test_nan_loss_and_no_batches_are_refused() -> None:
    loaded = tiny_model()
    with pytest.raises(ValueError, match="batches must hold at least one sample, got none"):
        score_absolute(loaded, [])
    loaded.model.model.norm.weight.data.fill_(math.nan)
    with pytest.raises(HarmvizError, match=r"absolute score: the loss is NaN or infinite"):
        score_absolute(loaded, make_batches(samples(), max_tokens=200))
    assert_clean(loaded)


# -- the real thing ---------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_embedded_model_against_autograd() -> None:
    from harmviz.data.encoding import encode_all
    from harmviz.data.prompts import load_prompts
    from harmviz.models.load import load_model

    loaded = load_model()
    data = load_prompts("builtin")
    rows = [data.of(c)[0] for c in data.categories[:3]]
    group = encode_all(loaded.tokenizer, rows, max_response_tokens=24)
    assert len({len(s.ids) for s in group}) > 1
    batches = make_batches(group, max_tokens=2048)
    assert len(batches) == 1
    place = loaded.table.index_of["model.layers.12.mlp.down_proj.weight"]
    wanted = reference(loaded, group, only=place)
    assert worst_error([score_signed(loaded, batches)[place]], wanted.signed) <= 1e-4
    assert worst_error([score_absolute(loaded, batches)[place]], wanted.absolute) <= 1e-4

"""Held weights are the number 0: in every product, every gradient, every saved state; and nothing is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from harmviz.data.encoding import Sample, make_batches
from harmviz.errors import HarmvizError
from harmviz.masks.mask import PruneMask
from harmviz.models.hashing import hash_parameters
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import sample_losses
from harmviz.tuning.held_weights import FullWeights, LowRank, LowRankWeights, held_indices, make_tuned, nonzero_held
from harmviz.tuning.narrow_settings import NarrowSpec
from tests.worlds.tiny import FAMILIES, tiny_model

SAMPLES = [Sample(f"s{i}", "p", tuple((7 * i + 3 * t) % 90 + 5 for t in range(12)), 4, 4) for i in range(4)]


def some_mask(loaded: LoadedModel, every: int = 37) -> PruneMask:
    return PruneMask.from_global(
        loaded.table, np.arange(3, loaded.table.n_weights, every), kind="harm", model_hash=loaded.weight_hash
    )


def moved(tuned: LowRankWeights, seed: int = 1) -> LowRankWeights:
    """The adapter far from its start, where B is 0."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in tuned.parameters:
            p.normal_(std=0.3)
    return tuned


def whole_hash(loaded: LoadedModel) -> str:
    return hash_parameters(loaded.model.named_parameters())


def loss_of(loaded: LoadedModel) -> torch.Tensor:
    (batch,) = make_batches(SAMPLES, max_tokens=1000)
    return sample_losses(loaded, batch).sum()


def test_the_masked_product_is_the_dense_one_worked_by_hand() -> None:
    a, b = torch.nn.Parameter(torch.tensor([[1.0, 2.0, 3.0]])), torch.nn.Parameter(torch.tensor([[1.0], [-1.0]]))
    weight = torch.tensor([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]])
    product = LowRank(a, b, 2.0, torch.tensor([1, 3]))(weight)
    # W + 2·B A = [[12 24 36] [38 46 54]], then places 1 and 3 are held
    assert product.tolist() == [[12.0, 0.0, 36.0], [0.0, 46.0, 54.0]]
    assert weight[0, 1] == 20.0  # the model's own weight is not written to
    x = torch.tensor([[1.0, 1.0, 1.0]])
    functional.linear(x, product).sum().backward()
    # ∂/∂A = 2·Bᵀ G and ∂/∂B = 2·G Aᵀ, with G = 1 but 0 where held
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [[2 * (1 - 0), 2 * (0 - 1), 2 * (1 - 1)]]
    assert b.grad.tolist() == [[2 * (1 + 3)], [2 * (2 + 3)]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pass_under_training_equals_one_with_the_dense_weights(family: str) -> None:
    loaded = tiny_model(family)
    before = whole_hash(loaded)
    mask = some_mask(loaded)
    held = held_indices(loaded, mask)
    tuned = moved(LowRankWeights(loaded, 2, 1.5, 0, held))
    assert nonzero_held(tuned) == 0
    with tuned.training(), torch.no_grad():
        of_pass = float(loss_of(loaded))
    assert whole_hash(loaded) == before
    with tuned.installed():
        for name in mask.indices:
            matrix = loaded.tensor(loaded.table.index_of[name]).flatten()
            assert matrix[torch.from_numpy(mask.indices[name].astype("int64"))].count_nonzero() == 0
        assert float(loss_of(loaded)) == pytest.approx(of_pass, rel=1e-5)
    assert whole_hash(loaded) == before
    free = moved(LowRankWeights(loaded, 2, 1.5, 0, {}))
    assert nonzero_held(replace_held(free, held)) > 0  # without holding, the same adapter fills them


def replace_held(tuned: LowRankWeights, held: dict[str, torch.Tensor]) -> LowRankWeights:
    tuned.held = held  # what is asked about, not what is done
    return tuned


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_no_gradient_passes_through_a_held_weight(family: str) -> None:
    """The adapter's gradient is that of the dense weight's gradient with zeros at held places."""
    loaded = tiny_model(family)
    held = held_indices(loaded, some_mask(loaded, every=5))
    tuned = moved(LowRankWeights(loaded, 2, 1.5, 0, held))
    with tuned.training(), torch.enable_grad():
        loss_of(loaded).backward()
    with tuned.installed(), torch.enable_grad():
        for name in held:
            loaded.model.get_parameter(name).requires_grad_(True)
        loss_of(loaded).backward()
        for name, index in held.items():
            parameter, pair = loaded.model.get_parameter(name), tuned._maps[name]
            assert parameter.grad is not None
            assert pair.a.grad is not None
            assert pair.b.grad is not None
            masked = parameter.grad.clone()
            assert masked.flatten()[index].count_nonzero() > 0
            masked.view(-1)[index] = 0.0
            torch.testing.assert_close(pair.a.grad, 1.5 * pair.b.mT @ masked, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(pair.b.grad, 1.5 * masked @ pair.a.mT, rtol=1e-4, atol=1e-5)
            parameter.requires_grad_(False).grad = None


def test_the_start_is_the_model_and_depends_on_the_seed_alone() -> None:
    loaded = tiny_model()
    held = held_indices(loaded, some_mask(loaded))
    one, other = LowRankWeights(loaded, 2, 1.0, 5, {}), LowRankWeights(loaded, 2, 1.0, 5, held)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters, other.parameters, strict=True))
    assert not torch.equal(one.parameters[0], LowRankWeights(loaded, 2, 1.0, 6, {}).parameters[0])
    name = loaded.table[0].param_name
    assert torch.equal(one.weight(name), loaded.model.get_parameter(name))
    largest = max(float(p.detach().abs().max()) for p in one.parameters)
    assert 0 < largest <= 1 / 4  # ±1/√16, d_in of the narrowest layer


def test_the_model_is_put_back_when_something_fails_inside() -> None:
    loaded = tiny_model()
    before = whole_hash(loaded)
    for method in ("lora", "full"):
        tuned = make_tuned(loaded, NarrowSpec(method=method), 0, held_indices(loaded, some_mask(loaded)))
        for context in (tuned.training, tuned.installed):
            with pytest.raises(KeyboardInterrupt), context():
                raise KeyboardInterrupt
            assert whole_hash(loaded) == before
            assert not any(p.requires_grad for p in loaded.model.parameters())


def test_full_tuning_holds_after_each_step_and_counts_no_held_gradient() -> None:
    loaded = tiny_model()
    before = whole_hash(loaded)
    held = held_indices(loaded, some_mask(loaded))
    tuned = FullWeights(loaded, held)
    with tuned.training(), torch.enable_grad():
        tuned.hold()
        assert nonzero_held(tuned) == 0
        loss_of(loaded).backward()
        name, index = next(iter(held.items()))
        gradient = loaded.model.get_parameter(name).grad
        assert gradient is not None
        assert gradient.flatten()[index].count_nonzero() == 0 < gradient.count_nonzero()
        with torch.no_grad():
            for p in tuned.parameters:
                p.add_(1.0)
        assert nonzero_held(tuned) == sum(map(len, held.values()))
        tuned.hold()
        assert nonzero_held(tuned) == 0
        inside = whole_hash(loaded)
    assert whole_hash(loaded) == before != inside
    again = FullWeights(loaded, held)
    again.restore({name: tensor.clone() for name, tensor in tuned.state().items()})
    with again.installed():
        assert whole_hash(loaded) == inside
    assert whole_hash(loaded) == before


def test_full_tuning_refuses_coarse_weights() -> None:
    loaded = tiny_model()
    loaded.dtype = torch.bfloat16
    with pytest.raises(HarmvizError, match="full tuning needs float32 weights"):
        make_tuned(loaded, NarrowSpec(method="full"), 0, {})


def test_low_rank_works_on_coarse_weights() -> None:
    loaded = tiny_model()
    loaded.model.to(torch.bfloat16)
    loaded.dtype = torch.bfloat16
    mask = some_mask(loaded)
    tuned = moved(LowRankWeights(loaded, 2, 1.0, 0, held_indices(loaded, mask)))
    with tuned.training(), torch.enable_grad():
        loss_of(loaded).backward()
    assert nonzero_held(tuned) == 0
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in tuned.parameters)

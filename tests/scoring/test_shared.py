"""What samples begin with alike is computed once: losses as of each sample alone, or the plain way is taken."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from harmviz.data.encoding import Sample, make_batches
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.scoring import shared
from harmviz.scoring.forward import token_losses
from harmviz.scoring.loss import response_losses
from harmviz.scoring.shared import loss_batches, tree_batches, tree_losses
from tests.worlds.tiny import FAMILIES, tiny_model
from tests.worlds.worked import single_loss

#: Tiny models whose windows (8 tokens) are shorter than a sample: a tree's single row would be cut in other places.
WINDOWED = ("gemma3", "olmo3")


def answers(n_prompts: int = 4, n_answers: int = 3, seed: int = 0) -> list[Sample]:
    """Samples of a common template, several answers to each prompt, in mixed order."""
    draw = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(5, 120), k=n))

    template, made = ids(6), []
    for p in range(n_prompts):
        prompt = (*template, *ids(draw.randint(1, 8)), 4)
        made += [(p, prompt, ids(draw.randint(10, 30))) for _ in range(n_answers)]
    draw.shuffle(made)
    return [Sample(f"r{i}", f"p{p}", (*a, *b), len(a), len(a)) for i, (p, a, b) in enumerate(made)]


def forward_tokens(loaded: LoadedModel) -> tuple[list[int], object]:
    """(tokens embedded by each forward pass from now on, the hook that counts them)."""
    seen: list[int] = []
    embed = loaded.model.get_input_embeddings()
    return seen, embed.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].numel()))


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Iterator[LoadedModel]:
    loaded = tiny_model(getattr(request, "param", "llama"))
    shared._seen.pop(loaded.model, None)
    yield loaded
    shared._seen.pop(loaded.model, None)


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_losses_equal_those_of_single_samples(model: LoadedModel) -> None:
    group = answers()
    with torch.no_grad():
        wanted = [float(single_loss(model.model, s)) for s in group]
    np.testing.assert_allclose(response_losses(model, group)[:, 0], wanted, rtol=1e-5)
    agreed, refused = shared._seen[model.model]
    longest = max(len(s.ids) for s in group) - 1
    windowed = model.model.config.model_type.removesuffix("_text") in WINDOWED
    assert (agreed, refused == longest) == ((0, True) if windowed else (longest, False))
    assert model.model.config._attn_implementation == "sdpa"


def test_tree_by_hand() -> None:
    #        root: 7 8 ┬ 9 ┬ 5          tokens   7 8 9 5 6 3
    #                  │   └ 6          node     0 1 2 3 4 5
    #                  └ 3              depth    0 1 2 3 3 2
    a, b, c = (7, 8, 9, 5, 1), (7, 8, 9, 6, 2), (7, 8, 3, 4)
    group = [Sample("a", "p", a, 2, 3), Sample("c", "p", c, 2, 2), Sample("b", "p", b, 2, 2)]
    (tree,) = tree_batches(group, max_tokens=6)
    assert tree.index == (0, 1, 2)
    assert tree.input_ids.tolist() == [[7, 8, 9, 5, 3, 6]]
    assert tree.position_ids.tolist() == [[0, 1, 2, 3, 2, 3]]
    assert tree.paths.tolist() == [[0, 1, 2, 3], [0, 1, 4, 0], [0, 1, 2, 5]]
    assert tree.paths.flatten()[tree.owner].tolist() == list(range(6))
    assert tree.predicting.tolist() == [2, 3, 1, 4, 1, 2, 5]  # b's first response token and a's prompt share node 1, 2
    assert tree.targets.tolist() == [5, 1, 3, 4, 9, 6, 2]
    assert tree.n_loss.tolist() == [2, 2, 3]
    assert [t.index for t in tree_batches(group, max_tokens=5)] == [(0, 1), (2,)]
    assert [t.index for t in tree_batches(group, max_tokens=1)] == [(0,), (1,), (2,)]


def test_every_sample_has_its_turn_within_the_budget() -> None:
    group = answers(9, 2)
    trees = tree_batches(group, max_tokens=90)
    assert sorted(i for t in trees for i in t.index) == list(range(len(group)))
    assert all(t.input_ids.numel() <= 90 for t in trees)
    assert trees[0].paths.shape[1] == max(len(s.ids) for s in group) - 1  # agreement is tried on the longest
    assert tree_batches([], max_tokens=90) == []


def test_a_shared_beginning_is_computed_once(model: LoadedModel) -> None:
    group = answers()
    response_losses(model, group)  # both ways, once
    seen, handle = forward_tokens(model)
    response_losses(model, group)
    handle.remove()
    assert sum(seen) == sum(t.input_ids.numel() for t in tree_batches(group, max_tokens=1024))
    assert sum(seen) < 0.75 * sum(len(s.ids) - 1 for s in group)


def test_samples_that_share_nothing_take_the_plain_way(model: LoadedModel) -> None:
    group = [Sample(f"r{i}", f"p{i}", tuple(range(5 + i, 35 + i)), 10, 10) for i in range(6)]
    taken = list(loss_batches(model, group, max_tokens=100))
    assert [b.index for b in taken] == [b.index for b in make_batches(group, max_tokens=100)]
    assert model.model not in shared._seen
    assert list(loss_batches(model, [], max_tokens=100)) == []


def test_the_same_bits_each_time_and_under_a_mask_its_own(model: LoadedModel) -> None:
    group = answers()
    before = response_losses(model, group, skips=(0, 8))
    mask = PruneMask.from_global(model.table, np.arange(0, 4000, 7), kind="control", model_hash=model.weight_hash)
    with pruned(model, mask), torch.no_grad():
        masked = response_losses(model, group, skips=(0, 8))
        np.testing.assert_allclose(masked[:, 0], [float(single_loss(model.model, s)) for s in group], rtol=1e-5)
    assert (masked != before).all()
    np.testing.assert_array_equal(response_losses(model, group, skips=(0, 8)), before)


def test_gradients_are_those_of_the_plain_way(model: LoadedModel) -> None:
    group = answers(2, 2)
    weight = model.tensor(0)
    (tree,), (batch,) = tree_batches(group, max_tokens=1000), make_batches(group, max_tokens=1000)
    weight.requires_grad_(True)
    try:
        with torch.enable_grad():
            losses = tree_losses(model, tree), token_losses(model, batch)
            ways = [torch.autograd.grad(of_tokens.sum(), weight)[0] for of_tokens in losses]
    finally:
        weight.requires_grad_(False)
    torch.testing.assert_close(*ways, rtol=1e-4, atol=1e-6)


def test_a_model_is_asked_again_only_by_longer_samples(model: LoadedModel) -> None:
    group = answers()
    short = [Sample(s.row_id, s.prompt_id, s.ids[: s.n_prompt + 9], s.n_prompt, s.loss_from) for s in group]
    seen, handle = forward_tokens(model)
    passes = []
    for asked in (short, short, group, group, short):
        response_losses(model, asked)
        passes.append(len(seen))
        seen.clear()
    handle.remove()
    assert passes == [3, 1, 3, 1, 1]  # where it is asked: along the tree, side by side, and then the measurement


def test_models_that_might_differ_take_the_plain_way(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    group = answers()
    wanted = response_losses(model, group)

    def ways() -> set[str]:
        shared._seen.pop(model.model, None)
        taken = list(loss_batches(model, group, max_tokens=1024))
        np.testing.assert_allclose(response_losses(model, group), wanted, rtol=1e-5)
        return {type(batch).__name__ for batch in taken}

    assert ways() == {"TreeBatch"}
    monkeypatch.setattr(model, "dtype", torch.bfloat16)
    assert ways() == {"Batch"}
    monkeypatch.setattr(model, "dtype", torch.float32)
    monkeypatch.setattr(type(model.model), "_can_set_attn_implementation", classmethod(lambda cls: False))
    assert ways() == {"Batch"}


def test_a_layer_that_mixes_tokens_by_itself_is_found_out(model: LoadedModel) -> None:
    class Blend(nn.Module):
        """Each token takes a little of the one before it in its row, as a convolution would."""

        def __init__(self, inside: nn.Module):
            super().__init__()
            self.inside = inside

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inside(x + 0.5 * torch.cat([x[:, :1], x[:, :-1]], dim=1))

    layer = model.model.model.layers[0]
    kept, layer.mlp = layer.mlp, Blend(layer.mlp)
    try:
        taken = list(loss_batches(model, answers(), max_tokens=1024))
    finally:
        layer.mlp = kept
    assert {type(batch).__name__ for batch in taken} == {"Batch"}


def test_attention_is_put_back_when_a_pass_fails(model: LoadedModel) -> None:
    (tree,) = tree_batches(answers(2, 2), max_tokens=1000)
    handle = model.model.get_output_embeddings().register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tree_losses(model, tree)
    handle.remove()
    assert model.model.config._attn_implementation == "sdpa"

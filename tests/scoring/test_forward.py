"""One forward pass: logits only where they are needed, and the same losses as without that."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from harmviz.data.encoding import Sample, make_batches
from harmviz.errors import UnsupportedArchitecture
from harmviz.scoring.forward import by_sample, default_batch_tokens, sample_losses, selected_logits, token_losses
from tests.worlds.tiny import FAMILIES, tiny_model
from tests.worlds.worked import SAMPLE_A, by_hand, odd_model, samples, single_loss


@pytest.mark.parametrize("skip", [0, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_equal_those_of_single_unpadded_samples(family: str, skip: int) -> None:
    loaded = tiny_model(family)
    group = samples(7, skip=skip)
    with torch.no_grad():
        wanted = torch.stack([single_loss(loaded.model, s) for s in group])
        assert float(wanted.std()) > 0.01
        for max_tokens in (1, 120, 10_000):
            got = torch.empty(len(group))
            for batch in make_batches(group, max_tokens=max_tokens):
                got[list(batch.index)] = sample_losses(loaded, batch)
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_losses_by_hand() -> None:
    # ByHand predicts both tokens with probability ½ everywhere: ln 2. With W = 0 for token 0's row, its logits after
    # token 0 are (0, 4): token 0 costs ln(1 + e⁴), token 1 costs ln(1 + e⁻⁴).
    loaded = by_hand()
    (batch,) = make_batches([SAMPLE_A, Sample("c", "c", (0, 0, 1), 1, 1)], max_tokens=100)
    assert batch.index == (1, 0)
    assert sample_losses(loaded, batch).tolist() == pytest.approx([math.log(2)] * 2)
    loaded.tensor(0)[0] = 0
    dear, cheap = math.log(1 + math.exp(4)), math.log(1 + math.exp(-4))
    assert token_losses(loaded, batch).tolist() == pytest.approx([dear, cheap, dear], rel=1e-5)
    assert sample_losses(loaded, batch).tolist() == pytest.approx([(dear + cheap) / 2, dear], rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_sees_only_positions_that_predict_a_response_token(family: str) -> None:
    loaded = tiny_model(family)
    group = samples(5, skip=8)
    rows: list[tuple[int, ...]] = []
    head = loaded.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _m, inputs, output: rows.append(tuple(inputs[0].shape)))
    for batch in make_batches(group, max_tokens=120):
        losses = token_losses(loaded, batch)
        assert losses.shape == (int(batch.n_loss.sum()),)
        assert losses.dtype == torch.float32
        assert rows.pop() == (1, int(batch.n_loss.sum()), 16)
        assert not rows
    handle.remove()
    assert sum(s.n_loss for s in group) < sum(len(s.ids) for s in group) / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_embedded_tokens_give_the_losses_of_their_ids(family: str) -> None:
    loaded = tiny_model(family)
    (batch,) = make_batches(samples(3), max_tokens=10_000)
    with torch.no_grad():
        embedded = loaded.model.get_input_embeddings()(batch.input_ids)
        torch.testing.assert_close(token_losses(loaded, batch, inputs_embeds=embedded), token_losses(loaded, batch))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stands_in_the_padding_does_not_matter(family: str) -> None:
    loaded = tiny_model(family)
    group = samples(4)
    assert len({len(s.ids) for s in group}) >= 3
    with torch.no_grad():
        losses = [sample_losses(loaded, make_batches(group, max_tokens=10_000, pad_id=pad)[0]) for pad in (0, 77)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-6)


def test_bfloat16_losses_are_float32() -> None:
    loaded = tiny_model()
    (batch,) = make_batches(samples(3), max_tokens=10_000)
    fine = sample_losses(loaded, batch)
    for p in loaded.model.parameters():
        p.data = p.data.bfloat16()
    coarse = sample_losses(loaded, batch)
    assert coarse.dtype == torch.float32
    assert torch.allclose(coarse, fine, rtol=0.05)
    assert not torch.equal(coarse, coarse.bfloat16().float())


def test_the_hook_is_removed_even_after_an_exception() -> None:
    loaded = tiny_model()
    with pytest.raises(KeyboardInterrupt), selected_logits(loaded, torch.tensor([0]), torch.tensor([0])):
        raise KeyboardInterrupt
    assert not loaded.model.get_output_embeddings()._forward_pre_hooks
    assert loaded.model(input_ids=torch.arange(5, 9)[None]).logits.shape == (1, 4, 128)


def test_a_model_without_output_embedding_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model()
    monkeypatch.setattr(type(loaded.model), "get_output_embeddings", lambda self: None)
    (batch,) = make_batches(samples(1), max_tokens=100)
    with pytest.raises(UnsupportedArchitecture, match="LlamaForCausalLM names no output embedding"):
        token_losses(loaded, batch)


def test_by_sample_restores_the_batch_axis() -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    assert by_sample(x, 2) is x
    assert torch.equal(by_sample(x.reshape(6, 4), 2), x)
    assert torch.equal(by_sample(x[:, None], 2), x)


@pytest.mark.parametrize(
    ("vocabulary", "device", "tokens"),
    [
        (128, "cpu", 1024),
        (128_000, "cpu", 1024),  # 2 GB / 16 bytes / 128,000 = 1,048, above the limit of 1,024
        (262_144, "cpu", 512),  # 134,217,728 // 262,144
        (1_000_000, "cpu", 256),
        (128_000, "cuda", 2097),  # 268,435,456 // 128,000
        (128, "cuda", 16_384),
    ],
)
def test_batch_tokens_shrink_with_the_vocabulary(vocabulary: int, device: str, tokens: int) -> None:
    loaded = tiny_model()
    loaded.model.config.vocab_size = vocabulary
    loaded.device = torch.device(device)
    assert default_batch_tokens(loaded) == tokens


def test_odd_inputs_of_opt_give_the_same_losses() -> None:
    loaded = odd_model("opt")
    group = samples(4)
    (batch,) = make_batches(group, max_tokens=10_000)
    with torch.no_grad():
        wanted = torch.stack([single_loss(loaded.model, group[i]) for i in batch.index])
        torch.testing.assert_close(sample_losses(loaded, batch), wanted, rtol=1e-4, atol=1e-5)


def test_a_model_that_scales_its_logits_is_still_right() -> None:
    """What comes after the head (Gemma's soft-cap, Cohere's scale) acts element by element on the selected logits."""
    loaded = tiny_model("gemma3")
    loaded.model.config.final_logit_softcapping = 0.05
    group = samples(3)
    (batch,) = make_batches(group, max_tokens=10_000)
    with torch.no_grad():
        wanted = torch.stack([single_loss(loaded.model, group[i]) for i in batch.index])
        capped = sample_losses(loaded, batch)
        loaded.model.config.final_logit_softcapping = None
        assert not torch.allclose(sample_losses(loaded, batch), capped)
    torch.testing.assert_close(capped, wanted, rtol=1e-4, atol=1e-5)


def test_the_head_may_be_any_module() -> None:
    """Selection happens before the head, so that a head with more than one step sees selected positions too."""
    loaded = by_hand()
    seen = []

    class Head(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.shape)
            return x

    loaded.model.head = Head()
    (batch,) = make_batches([SAMPLE_A], max_tokens=10)
    assert token_losses(loaded, batch).tolist() == pytest.approx([math.log(2)])
    assert seen == [(1, 1, 2)]
    assert isinstance(loaded.model(input_ids=torch.tensor([[0, 1]])), SimpleNamespace)
    assert seen[1] == (1, 2, 2)

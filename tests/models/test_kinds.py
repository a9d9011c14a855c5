"""Other kinds of models: multimodal ones by their language layers, experts with biases, what is no language model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from harmviz.data.encoding import encode_all, make_batches
from harmviz.data.prompts import PromptRow
from harmviz.errors import ModelUnavailable, UnsupportedArchitecture
from harmviz.generation.batch import generate_batch
from harmviz.generation.decode import generate
from harmviz.generation.variants import Variant
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel, load_model
from harmviz.preflight.models import model_estimate
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.loss import response_losses
from harmviz.scoring.signed import score_signed
from tests.worlds.model_files import gpt_oss, save, seeing
from tests.worlds.tiny import _GQA, VOCAB

ROWS = [PromptRow("hate", f"Hi there {i}?" * i, "Well, no thanks. " * i) for i in (1, 2, 3)]
_SMALL = {"vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}


def batches(loaded: LoadedModel, max_tokens: int = 400) -> list:
    return make_batches(encode_all(loaded.tokenizer, ROWS, max_response_tokens=96), max_tokens=max_tokens)


# -- multimodal -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["gemma3", "qwen2_vl", "llava"])
def wrapper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("wrappers") / request.param, seeing(request.param))


def test_a_multimodal_model_is_scored_by_its_language_layers(wrapper: Path) -> None:
    loaded = load_model(str(wrapper))
    assert len(loaded.table) == 2 * 7
    assert all(m.name.startswith("model.language_model.layers.") for m in loaded.table)
    (note,) = loaded.notes
    others = sum(
        p.numel() for n, p in loaded.model.named_parameters() if "language_model" not in n and "lm_head" not in n
    )
    assert note.startswith(f"{others:,} of its {loaded.n_parameters:,} parameters read images or sounds")
    size = model_estimate(str(wrapper))  # the judge that is asked before loading says the same
    assert (size.n_scored, size.n_parameters) == (loaded.table.n_weights, loaded.n_parameters)


def test_its_scores_do_not_depend_on_batches_and_masks_act(wrapper: Path) -> None:
    loaded = load_model(str(wrapper))
    for score in (score_signed, score_absolute):
        together, alone = score(loaded, batches(loaded)), score(loaded, batches(loaded, 1))
        assert max(float(t.abs().max()) for t in together) > 1e-5
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    samples = encode_all(loaded.tokenizer, ROWS, max_response_tokens=96)
    prompts = [list(s.ids[: s.n_prompt]) for s in samples]
    batch = generate_batch(loaded, prompts, 8)
    assert batch == [list(generate(loaded, p, [Variant("a")], max_new_tokens=8)[0].token_ids) for p in prompts]
    before = response_losses(loaded, samples)
    index = torch.cat([t.flatten() for t in score_signed(loaded, batches(loaded))]).abs().topk(40).indices.sort().values
    mask = PruneMask.from_global(loaded.table, index.numpy(), kind="harm", model_hash=loaded.weight_hash)
    with pruned(loaded, mask):
        assert abs(response_losses(loaded, samples) - before).max() > 1e-4
    assert (response_losses(loaded, samples) == before).all()
    side = [
        list(a.token_ids) for a in generate(loaded, prompts[1], [Variant("a"), Variant("b", mask)], max_new_tokens=8)
    ]
    with pruned(loaded, mask):
        assert side[1] == list(generate(loaded, prompts[1], [Variant("a")], max_new_tokens=8)[0].token_ids)


# -- experts with biases ----------------------------------------------------------------------------------------------
def test_gpt_oss_is_scored_expert_by_expert(tmp_path: Path) -> None:
    loaded = load_model(str(save(tmp_path / "gptoss", gpt_oss())))
    names = {m.name for m in loaded.table if m.layer == 0}
    assert names == {
        *(f"model.layers.0.self_attn.{n}_proj.weight" for n in "qkvo"),
        *(f"model.layers.0.mlp.experts.{n}[{e}]" for n in ("gate_up_proj", "down_proj") for e in range(4)),
    }
    fused = next(m for m in loaded.table if m.name.endswith("gate_up_proj[0]"))
    assert fused.transposed  # stored as input × output
    assert (fused.rows, fused.cols) == (16, 64)


def test_gpt_oss_scores_are_gradients_times_weights(tmp_path: Path) -> None:
    """Zeroing a little of an expert's weights changes the loss as its score says."""
    loaded = load_model(str(save(tmp_path / "gptoss", gpt_oss())))
    scores = score_signed(loaded, batches(loaded))
    samples = encode_all(loaded.tokenizer, ROWS, max_response_tokens=96)
    i = max((i for i, m in enumerate(loaded.table) if m.expert is not None), key=lambda i: float(scores[i].abs().max()))
    place = divmod(int(scores[i].abs().argmax()), loaded.table[i].cols)
    weight, eps = loaded.tensor(i), 1e-2
    original = weight[place].clone()

    def loss_at(factor: float) -> float:
        weight[place] = original * factor
        return float(response_losses(loaded, samples)[:, 0].mean())

    slope = (loss_at(1 + eps) - loss_at(1 - eps)) / (2 * eps)
    weight[place] = original
    assert slope == pytest.approx(float(scores[i][place]) / len(samples), rel=0.05)


# -- what is no causal language model ---------------------------------------------------------------------------------
def classifier() -> LlamaForSequenceClassification:
    return LlamaForSequenceClassification(LlamaConfig(**_GQA, num_labels=2))


OTHERS = {
    "bert": (lambda: BertModel(BertConfig(**_SMALL, num_attention_heads=2)), "a BertModel, an encoder"),
    "bert_mlm": (lambda: BertForMaskedLM(BertConfig(**_SMALL, num_attention_heads=2)), "BertForMaskedLM, with a head"),
    "roberta": (lambda: RobertaForMaskedLM(RobertaConfig(**_SMALL, num_attention_heads=2)), "head for MaskedLM"),
    "t5": (
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=VOCAB, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
        ),
        "a sequence-to-sequence model",
    ),
    "classifier": (classifier, "head for SequenceClassification"),
    "vit": (
        lambda: ViTForImageClassification(
            ViTConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
        ),
        "head for ImageClassification",
    ),
    "clip": (
        lambda: CLIPVisionModel(
            CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
        ),
        "CLIPVisionModel",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_causal_language_model_says_so(name: str, tmp_path: Path) -> None:
    make, said = OTHERS[name]
    where = save(tmp_path / name, make())
    with pytest.raises(UnsupportedArchitecture) as e:
        load_model(str(where))
    assert "is not a causal language model" in str(e.value)
    assert said in str(e.value)
    assert "\n" not in str(e.value)


def test_an_encoders_decoder_twin_is_a_language_model(tmp_path: Path) -> None:
    model = BertLMHeadModel(BertConfig(**_SMALL, num_attention_heads=2, is_decoder=True))
    assert load_model(str(save(tmp_path / "bert", model))).table.n_weights > 0


def test_a_model_saved_without_its_head_is_named(tmp_path: Path) -> None:
    where = save(tmp_path / "bare", LlamaModel(LlamaConfig(**_GQA, tie_word_embeddings=False)))
    with pytest.raises(ModelUnavailable, match=r"has no language-modelling head \(lm_head.weight\)"):
        load_model(str(where))

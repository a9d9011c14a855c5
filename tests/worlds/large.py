"""Large models on the meta device: every name, shape and dtype, no weight, nothing downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3MoeConfig,
)

from harmviz.models.architecture import scored_matrices
from harmviz.models.load import LoadedModel
from tests.worlds.tiny import tokenizer

#: Shapes as published with Llama-3.1-8B, Qwen2.5-32B, Mixtral-8x7B and Qwen3-30B-A3B.
LARGE: dict[str, Callable[[], PretrainedConfig]] = {
    "8B": lambda: LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    ),
    "32B": lambda: Qwen2Config(
        vocab_size=152_064,
        hidden_size=5120,
        intermediate_size=27_648,
        num_hidden_layers=64,
        num_attention_heads=40,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    ),
    "8x7B": lambda: MixtralConfig(
        vocab_size=32_000,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        num_local_experts=8,
        num_experts_per_tok=2,
        tie_word_embeddings=False,
    ),
    "30B-A3B": lambda: Qwen3MoeConfig(
        vocab_size=151_936,
        hidden_size=2048,
        moe_intermediate_size=768,
        num_hidden_layers=48,
        num_attention_heads=32,
        num_key_value_heads=4,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        tie_word_embeddings=False,
    ),
}


@cache
def _on_meta(name: str) -> LoadedModel:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LARGE[name](), dtype=torch.bfloat16)
    model.eval().requires_grad_(False)
    table, modules = scored_matrices(model)
    return LoadedModel(model, tokenizer(), name, None, "0" * 64, table, modules, torch.device("meta"), torch.bfloat16)


def large_model(name: str, device: str = "meta") -> LoadedModel:
    """The model of this shape in bfloat16. ``device``: where it says it is."""
    return replace(_on_meta(name), device=torch.device(device))

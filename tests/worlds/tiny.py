"""Tiny seeded models of every family harmviz promises to support, made in memory: no downloads, milliseconds each."""

from __future__ import annotations

from functools import cache

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from harmviz.models.load import LoadedModel, wrap

VOCAB = 128
_COMMON = dict(
    vocab_size=VOCAB,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=1024,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
_GQA = {**_COMMON, "num_key_value_heads": 1}
CONFIGS = {
    "llama": lambda: LlamaConfig(**_GQA),
    "qwen2": lambda: Qwen2Config(**_GQA),
    "gemma3": lambda: Gemma3TextConfig(
        **_GQA, head_dim=8, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
    ),
    "gpt_neox": lambda: GPTNeoXConfig(**_COMMON),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCAB,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        resid_pdrop=0.1,
        embd_pdrop=0.1,
        attn_pdrop=0.1,
    ),
    "olmo": lambda: OlmoConfig(**_GQA),
    "olmo2": lambda: Olmo2Config(**_GQA),
    "olmo3": lambda: Olmo3Config(**_GQA, sliding_window=8),
    "mixtral": lambda: MixtralConfig(**_GQA, num_local_experts=4, num_experts_per_tok=2),
}
FAMILIES = tuple(CONFIGS)
DENSE_FAMILIES = tuple(f for f in FAMILIES if f != "mixtral")

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@cache
def tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """One token per character (printable ASCII): any text has a predictable length."""
    vocab = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3, "\n": 4}
    vocab |= {chr(c): len(vocab) + c - 32 for c in range(32, 127)}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>"
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_model(family: str = "llama", *, seed: int = 0, chat: bool = True, scale: float = 3.0) -> LoadedModel:
    """A fresh tiny model; ``scale`` widens the initial weights so that outputs are far from uniform."""
    torch.manual_seed(seed)
    config = CONFIGS[family]()
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim >= 2 and "embed" not in name and "wte" not in name and "wpe" not in name:
                p.mul_(scale)
    return wrap(model, tokenizer(chat), name=f"tiny-{family}")

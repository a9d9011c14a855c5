"""Folders of tiny models in the shapes that people bring: adapters, multimodal models, templates of many kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from tests.worlds.tiny import _GQA, tiny_model, tokenizer

_SEEING = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 14,
}


def save(folder: Path, model: Any, tokens: PreTrainedTokenizerFast | None = None) -> Path:
    """The folder, with model and tokenizer saved in it as ``save_pretrained`` does."""
    model.save_pretrained(folder)
    (tokenizer() if tokens is None else tokens).save_pretrained(folder)
    return folder


def llama(folder: Path, template: str | None = None) -> Path:
    """A tiny Llama whose tokenizer has this chat template (None: that of all tiny models)."""
    tokens = tokenizer.__wrapped__(chat=True)
    if template is not None:
        tokens.chat_template = template
    return save(folder, tiny_model().model, tokens)


def lora(base: Path, folder: Path, *, named: str | None = None, beside: bool = False, **settings: Any) -> Path:
    """A LoRA adapter of ``base`` with factors that are not zero, as training leaves it.

    ``named``: what its config calls the base; ``beside``: a copy of the base lies in the folder too.
    """
    torch.manual_seed(1)
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False, **settings})
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    if beside:
        shutil.copytree(base, folder)
    tuned.save_pretrained(folder)
    if named is not None:
        change_json(folder / "adapter_config.json", base_model_name_or_path=named)
    return folder


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def seeing(family: str) -> Any:
    """A tiny multimodal model with random weights; its vision tower has as many layers as its language model."""
    torch.manual_seed(0)
    if family == "gemma3":
        text = {**_GQA, "head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
        return Gemma3ForConditionalGeneration(
            Gemma3Config(
                text_config=text,
                vision_config={**_SEEING, "image_size": 28},
                mm_tokens_per_image=4,
                image_token_index=100,
                boi_token_index=101,
                eoi_token_index=102,
            )
        )
    if family == "qwen2_vl":
        rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
        return Qwen2VLForConditionalGeneration(
            Qwen2VLConfig(
                text_config={**_GQA, "rope_parameters": rope},
                vision_config={"embed_dim": 16, "hidden_size": 16, "depth": 2, "num_heads": 2, "patch_size": 14},
                image_token_id=100,
                video_token_id=101,
                vision_start_token_id=102,
                vision_end_token_id=103,
            )
        )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=LlamaConfig(**_GQA),
            vision_config=CLIPVisionConfig(**{**_SEEING, "image_size": 28}),
            image_token_index=100,
        )
    )


def gpt_oss() -> GptOssForCausalLM:
    """Four experts a layer, two of them chosen, with biases of their own that are not zero."""
    torch.manual_seed(0)
    model = GptOssForCausalLM(
        GptOssConfig(
            **_GQA,
            num_local_experts=4,
            num_experts_per_tok=2,
            head_dim=8,
            layer_types=["full_attention"] * 2,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        )
    )
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(std=0.3) if "experts" in name or "bias" in name else p
    return model

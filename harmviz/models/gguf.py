"""GGUF to safetensors: a dequantised float32 copy that every later step treats as an ordinary model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmviz.errors import ModelUnavailable


def convert_gguf(gguf: Path, target: Path) -> None:
    """Writes the model and tokenizer of ``gguf`` into the folder ``target`` as float32 safetensors.

    A model that transformers loads from GGUF stays tagged as quantized although its weights are dequantised, and then
    refuses to be saved or tuned; the tags are dropped here, once.

    Raises:
        ModelUnavailable: transformers cannot read this file, or it lacks a weight.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    answer: Any  # (model, what was missing), which transformers' annotations do not know
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        answer = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, output_loading_info=True
        )
    except Exception as e:  # a damaged file makes the reader fail in many ways, struct.error among them
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise ModelUnavailable(f"{gguf} cannot be read as GGUF ({reason}); give a safetensors folder instead") from e
    model, info = answer
    if lacking := sorted(info["missing_keys"]):  # transformers would go on with random weights in their place
        raise ModelUnavailable(f"{gguf} lacks the weight {lacking[0]} ({len(lacking)} in all); the file is incomplete")
    for tag in ("hf_quantizer", "quantization_method"):
        if hasattr(model, tag):
            delattr(model, tag)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False
    target.mkdir(parents=True)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)

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
        ModelUnavailable: transformers cannot read this file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    except (ValueError, OSError, KeyError, NotImplementedError, ImportError) as e:
        raise ModelUnavailable(f"{gguf} cannot be read as GGUF ({e}); give a safetensors folder instead") from e
    for tag in ("hf_quantizer", "quantization_method"):
        if hasattr(model, tag):
            delattr(model, tag)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False
    target.mkdir(parents=True)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)

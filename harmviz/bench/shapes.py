"""Known architectures by name: what the work costs depends on shapes, not on what was learned, so that a size can be
measured where its weights are not at hand (``harmviz.bench.random_weights``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """An architecture, and the texts it is measured with: ``n_samples`` of ``n_prompt`` and ``n_response`` random
    tokens. ``model_type`` and ``config`` are those of the model's config.json."""

    name: str
    model_type: str
    config: Mapping[str, Any]
    n_samples: int = 32
    n_prompt: int = 64
    n_response: int = 192


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            "llama-3.1-8b",
            "llama",
            {
                "vocab_size": 128256,
                "hidden_size": 4096,
                "intermediate_size": 14336,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "max_position_embeddings": 131072,
                "rms_norm_eps": 1e-5,
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 500000.0,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
                "tie_word_embeddings": False,
            },
        ),
    )
}

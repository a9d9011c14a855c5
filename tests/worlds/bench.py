"""A tiny shape for the benches, and a machine whose rates need no measuring."""

from __future__ import annotations

from harmviz.bench.machine import Rates
from harmviz.bench.shapes import Shape

TINY = Shape(
    "tiny",
    "llama",
    {
        "vocab_size": 128,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
    },
    n_samples=3,
    n_prompt=4,
    n_response=8,
)
#: So fast that every floor lies far below what is measured.
FAST = Rates(flops=1e15, bandwidth=1e15)

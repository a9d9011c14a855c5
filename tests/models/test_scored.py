"""The judge of what is scored: roles by name and shape, worked by hand, and the modules that have to agree with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harmviz.errors import UnsupportedArchitecture
from harmviz.models.architecture import scored_matrices
from harmviz.models.scored import decoder_blocks, reads_other_senses
from tests.worlds.tiny import tiny_model

MIXTURE = {
    "model.embed_tokens.weight": (50, 8),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.self_attn.q_proj.bias": (8,),
    "model.layers.0.norm.weight": (8,),
    "model.layers.0.mlp.gate.weight": (4, 8),
    "model.layers.0.mlp.experts.down_proj": (4, 8, 6),
    "model.layers.1.mlp.gate.weight": (6, 8),
    "model.layers.1.mlp.filter.weight": (2, 3, 4),
    "lm_head.weight": (50, 8),
}


def test_roles_by_hand() -> None:
    blocks = decoder_blocks(MIXTURE, 2)
    assert blocks is not None
    assert blocks.prefix == "model.layers"
    assert list(blocks.layers.values()) == [0, 0, 0, 0, 0, 1, 1]
    # A gate beside experts weighs them; one that stands alone is half of a gated MLP.
    assert list(blocks.roles.values()) == ["matrix", "vector", "vector", "router", "experts", "matrix", "unknown"]
    assert blocks.scored == [
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.mlp.experts.down_proj",
        "model.layers.1.mlp.gate.weight",
    ]


def test_biases_of_experts_are_vectors_one_an_expert() -> None:
    layer = "model.layers.0.mlp."
    shapes = {f"{layer}experts.down_proj": (4, 8, 6), f"{layer}experts.down_proj_bias": (4, 8)}
    shapes |= {f"{layer}router.weight": (4, 8), f"{layer}router.bias": (4,)}
    blocks = decoder_blocks(shapes)
    assert blocks is not None
    assert list(blocks.roles.values()) == ["experts", "vector", "router", "vector"]


def test_names_of_what_reads_images_or_sounds() -> None:
    others = ("model.visual.blocks.0.attn.qkv.weight", "vision_tower.head.bias", "model.multi_modal_projector.x")
    assert all(map(reads_other_senses, (*others, "audio_tower.layers.0.fc1.weight")))
    assert not any(map(reads_other_senses, ("model.layers.0.mlp.revisual.weight", "model.language_model.norm.weight")))


def test_experts_saved_one_by_one_and_those_of_gguf() -> None:
    saved = {"m.layers.0.moe.gate.weight": (4, 8), "m.layers.0.moe.experts.3.w1.weight": (6, 8)}
    stacked = {"blk.0.ffn_gate_inp.weight": (8, 4), "blk.0.ffn_gate_exps.weight": (8, 6, 4)}
    for shapes, role in ((saved, "matrix"), (stacked, "experts")):
        blocks = decoder_blocks(shapes)
        assert blocks is not None
        assert list(blocks.roles.values()) == ["router", role]


def test_the_blocks_are_the_list_of_the_right_length_and_most_weights() -> None:
    shapes = {
        **{f"vision.layers.{i}.fc.weight": (9, 9) for i in range(3)},
        **{f"text.layers.{i}.fc.weight": (4, 4) for i in range(2)},
        **{f"text.adapters.{i}.fc.weight": (2, 2) for i in range(2)},
    }
    prefixes = [getattr(decoder_blocks(shapes, n), "prefix", None) for n in (2, 3, 4, None)]
    # What reads images is passed over where there is another list, and taken where there is none.
    assert prefixes == ["text.layers", "vision.layers", None, "text.layers"]
    assert decoder_blocks({"weight": (3, 3)}) is None


def quantized_linear() -> nn.Linear:
    linear = nn.Linear(3, 5, bias=False)
    linear.weight = nn.Parameter(torch.zeros(5, 3, dtype=torch.int8), requires_grad=False)
    return linear


@pytest.mark.parametrize("module", [nn.Embedding(5, 3), quantized_linear()])
def test_where_the_module_disagrees_the_model_is_refused_by_name(module: nn.Module) -> None:
    """To the judge both are matrices named ``weight``; neither multiplies what flows through the block as one."""
    model = tiny_model().model
    model.model.layers[1].mlp.extra = module
    kind = type(module).__name__
    with pytest.raises(UnsupportedArchitecture, match=rf"model\.layers\.1\.mlp\.extra\.weight \({kind}, 5×3\)"):
        scored_matrices(model)

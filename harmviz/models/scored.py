"""Which weights are scored: the one judge, asked by names and shapes, before a model is loaded and when it is.

Scored is every linear map inside the decoder blocks: matrices, and stacks of one matrix per expert. Not scored are
routers, norms, biases, and whatever lies outside the blocks: embeddings and ``lm_head`` (METHOD.md §2 of Wei et al.
2024, arXiv:2402.05162, and of Orgad et al. 2026, arXiv:2604.09544, restrict to the same set).

Names and shapes are all that a file's header tells, so the rule needs no more. Loading asks it too, and then checks
every verdict against the module that holds the parameter (``harmviz.models.architecture``): where the two disagree, the
model is refused by the parameter's name. No torch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: ``matrix``: one linear map. ``experts``: a stack of them, one per expert. ``router``: weighs experts against each
#: other. ``vector``: a norm or a bias. ``unknown``: no rule knows it, and a model that holds one cannot be scored.
Role = Literal["matrix", "experts", "router", "vector", "unknown"]
SCORED: tuple[Role, ...] = ("matrix", "experts")

#: Names of a gate that stands beside ``experts``, and GGUF's names of the same.
_GATES = {"gate", "router", "shared_expert_gate"}
_GGUF_GATES = {"ffn_gate_inp", "ffn_gate_inp_shexp"}
#: What the parts of a model are called that read images or sounds: text never passes them.
_OTHER_SENSES = ("vision", "visual", "image", "audio", "speech", "video", "modal")


@dataclass(frozen=True)
class Blocks:
    """The decoder blocks of a model: ``prefix`` is the name of their list (``model.layers``), ``layers`` and ``roles``
    tell the block and the role of every parameter in them."""

    prefix: str
    layers: Mapping[str, int]
    roles: Mapping[str, Role]

    @property
    def scored(self) -> list[str]:
        """Names of the scored parameters, in the order in which they were given."""
        return [name for name, role in self.roles.items() if role in SCORED]


def decoder_blocks(shapes: Mapping[str, Sequence[int]], n_layers: int | None = None) -> Blocks | None:
    """The list of blocks (``<prefix>.<number>.…``) that has ``n_layers`` of them, the one of most weights where several
    have; None where there is none. Towers that read images or sounds are passed over where there is another.

    Args:
        shapes: shape of every parameter by name.
        n_layers: as the model's config says; None: whatever number.
    """
    numbers: dict[str, set[int]] = defaultdict(set)
    sizes: dict[str, int] = defaultdict(int)
    for name, shape in shapes.items():
        parts = name.split(".")
        for place, part in enumerate(parts[1:-1], start=1):
            if part.isdecimal():
                prefix = ".".join(parts[:place])
                numbers[prefix].add(int(part))
                sizes[prefix] += math.prod(shape)
    fitting = [prefix for prefix, present in numbers.items() if n_layers in (None, len(present))]
    if not fitting:
        return None
    of_text = [prefix for prefix in fitting if not reads_other_senses(prefix)]
    prefix = max(of_text or fitting, key=sizes.__getitem__)
    inside = [name for name in shapes if name.startswith(f"{prefix}.")]
    depth = prefix.count(".") + 1
    layers = {name: int(part) for name in inside if (part := name.split(".")[depth]).isdecimal()}
    with_experts = {name[: name.index(".experts.")] for name in layers if ".experts." in name}
    return Blocks(prefix, layers, {name: _role(name, shapes[name], with_experts) for name in layers})


def reads_other_senses(name: str) -> bool:
    """Whether a parameter of this name belongs to what a multimodal model sees or hears with, projectors included."""
    return any(part.startswith(_OTHER_SENSES) for word in name.lower().split(".") for part in word.split("_"))


def _role(name: str, shape: Sequence[int], with_experts: set[str]) -> Role:
    """``with_experts``: the modules that hold a module ``experts``."""
    owner, _, leaf = name.rpartition(".")
    parent, _, owner_leaf = owner.rpartition(".")
    of_experts = "expert" in owner.lower() or owner_leaf.endswith("_exps")
    if len(shape) < 2 or (len(shape) == 2 and of_experts and leaf.endswith("bias")):  # one bias per expert (gpt-oss)
        return "vector"
    if owner_leaf in _GGUF_GATES or (owner_leaf in _GATES and parent in with_experts):
        return "router"
    if leaf == "weight" and len(shape) == 2:
        return "matrix"
    if len(shape) == 3 and of_experts:
        return "experts"
    return "unknown"

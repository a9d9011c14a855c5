"""The scored weights of a model in memory: where they lie, how they are stored, and which module applies them.

Which parameters are scored is decided by their names (``harmviz.models.scored``); the module that holds one must agree.
It is found by type, not by Llama's names: ``nn.Linear``, GPT-2's ``Conv1D`` (stored transposed), or the module of a
fused mixture-of-experts parameter, of which each expert's slice is a matrix of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmviz.errors import UnsupportedArchitecture
from harmviz.models.scored import decoder_blocks
from harmviz.models.weights import WeightMatrix, WeightTable

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def scored_matrices(model: PreTrainedModel) -> tuple[WeightTable, list[nn.Module]]:
    """The table of all scored weight matrices, in parameter order, and the module that applies each.

    Raises:
        UnsupportedArchitecture: no decoder blocks or no linear weights, or a block holds a weight that no rule knows,
            or that its module does not apply as a linear map; the message names it.
    """
    n_layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    blocks = decoder_blocks(shapes, n_layers)
    if blocks is None:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} has no list of {n_layers or 'any'} decoder blocks; harmviz needs a decoder-only "
            "transformer"
        )
    # A module shared by several blocks has several names; its weights are listed once, under the first.
    modules_by_name: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    owners: dict[int, nn.Module] = {}
    matrices: list[WeightMatrix] = []
    modules: list[nn.Module] = []
    unknown: list[str] = []
    for name, layer in blocks.layers.items():
        role = blocks.roles[name]
        if role in ("vector", "router"):
            continue
        parameter, owner_name = model.get_parameter(name), name.rpartition(".")[0]
        owner = modules_by_name[owner_name]
        if owners.get(id(parameter)) is owner:
            continue
        if owners.setdefault(id(parameter), owner) is not owner:
            unknown.append(f"{name} (the same weights in two modules)")
        elif role == "matrix" and _is_linear(owner) and parameter.is_floating_point():
            kind = _module_kind(owner_name, modules_by_name[f"{blocks.prefix}.{layer}"])
            rows, cols = parameter.shape
            matrices.append(WeightMatrix(name, layer, kind, rows, cols, transposed=_is_conv1d(owner)))
            modules.append(owner)
        elif role == "experts" and parameter.is_floating_point():
            transposed = bool(getattr(owner, "is_transposed", False))
            n_experts, rows, cols = parameter.shape
            kind = name.rpartition(".")[2]
            matrices += [
                WeightMatrix(f"{name}[{e}]", layer, kind, rows, cols, transposed=transposed) for e in range(n_experts)
            ]
            modules += [owner] * n_experts
        else:
            unknown.append(f"{name} ({type(owner).__name__}, {'×'.join(map(str, parameter.shape))})")
    if unknown:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} holds weights that are neither nn.Linear, Conv1D, expert slices nor routers: "
            f"{', '.join(unknown[:3])}{f' and {len(unknown) - 3} more' if len(unknown) > 3 else ''}"
        )
    if not matrices:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} has no linear weights in its decoder blocks; nothing to score"
        )
    return WeightTable(matrices), modules


def _is_conv1d(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _is_linear(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear) or _is_conv1d(module)


def _module_kind(module_name: str, block: nn.Module) -> str:
    """The module's own name, with its parent's where a block uses the name twice (GPT-2: attn.c_proj, mlp.c_proj)."""
    leaf = module_name.rpartition(".")[2]
    namesakes = [n for n, module in block.named_modules() if n.rpartition(".")[2] == leaf and _is_linear(module)]
    clash = len({n.rpartition(".")[0].rpartition(".")[2] for n in namesakes}) > 1 and "experts" not in module_name
    return ".".join(module_name.split(".")[-2:]) if clash else leaf

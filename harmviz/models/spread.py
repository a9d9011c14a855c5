"""One model over several GPUs, for models that one alone does not hold: ``--device all``.

The first GPU has the embeddings, the final norm and the first layers; each further one has the layers after them, in
order, as many as its free memory is a share of all. Between two GPUs the hidden states are copied over, forward and
backward, and after the last layer they come back to the first, so that token ids go in, and logits come out, where
``LoadedModel.device`` is. The GPUs take turns; nothing is quicker for it. A scored matrix, its gradient sums and what
a mask changes of it lie where the matrix lies (``LoadedModel.device_of``).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harmviz.errors import OutOfMemory, UnsupportedArchitecture
from harmviz.models.scored import decoder_blocks

_IN_COMMON = "parts on different devices have weights in common; use one device"


def shares(sizes: Sequence[int], outside: int, room: Sequence[int]) -> list[int]:
    """The device of each layer, ascending: layers in proportion to what each device has room for.

    Args:
        sizes: bytes of each layer, in order.
        outside: bytes of everything else, which lies on device 0.
        room: free bytes of each device.

    Raises:
        OutOfMemory: no device may be overfilled, and in order the layers do not fit.
    """
    left = [room[0] - outside, *room[1:]]
    # In proportion where that overfills none; else each device as full as it gets.
    for share in (sum(sizes) / max(1, sum(left)), 1.0):
        placed = _in_order(sizes, [share * n for n in left], left)
        if left[0] >= 0 and placed is not None:
            return placed
    raise OutOfMemory(
        f"{(outside + sum(sizes)) / 1e9:.1f} GB of weights do not fit into {len(room)} devices with "
        f"{', '.join(f'{n / 1e9:.1f}' for n in room)} GB free; use --dtype bfloat16 or a smaller model"
    )


def _in_order(sizes: Sequence[int], wanted: Sequence[float], left: Sequence[int]) -> list[int] | None:
    """Each layer on the first device whose wanted bytes, added up, reach its middle, and that has room for it."""
    placed: list[int] = []
    filled = [0] * len(left)
    ends = list(accumulate(wanted))
    for size in sizes:
        middle, device = sum(filled) + size / 2, placed[-1] if placed else 0
        while device < len(left) and (middle > ends[device] or filled[device] + size > left[device]):
            device += 1
        if device == len(left):
            return None
        filled[device] += size
        placed.append(device)
    return placed


def spread(model: PreTrainedModel, devices: Sequence[torch.device], room: Sequence[int]) -> None:
    """Moves the model's layers to these devices, everything else to the first, and has hidden states follow.

    Args:
        room: free bytes of each device.

    Raises:
        OutOfMemory: see ``shares``.
        UnsupportedArchitecture: no list of layers; parts on different devices have weights, or keys and values, in
            common.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    blocks = decoder_blocks(shapes, getattr(model.config.get_text_config(), "num_hidden_layers", None))
    if blocks is None:
        raise UnsupportedArchitecture(f"{type(model).__name__} has no list of decoder blocks to spread over devices")
    if getattr(model.config.get_text_config(), "num_kv_shared_layers", 0):
        raise UnsupportedArchitecture(f"{type(model).__name__}'s layers share keys and values; use one device")
    layers = [model.get_submodule(f"{blocks.prefix}.{i}") for i in sorted(set(blocks.layers.values()))]
    inside = {id(p) for layer in layers for p in layer.parameters()}
    outside = sum(_bytes_of(p) for p in model.parameters() if id(p) not in inside)
    placed = shares([sum(map(_bytes_of, layer.parameters())) for layer in layers], outside, room)
    _move(model, layers, [devices[place] for place in placed], devices[0])
    for layer, place in zip(layers, placed, strict=True):
        if place:
            layer.register_forward_pre_hook(_Inputs(devices[place]), with_kwargs=True)
    layers[-1].register_forward_hook(_Output(devices[0]))


def moved(value: Any, device: torch.device) -> Any:
    """The tensors in it on the device, however they are nested in tuples, lists and dicts; the rest as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(moved(v, device) for v in value)
    if type(value) is dict:
        return {k: moved(v, device) for k, v in value.items()}
    return value


class _Inputs:
    """Before a layer: what it is given comes to it (hidden states, positions, attention mask)."""

    def __init__(self, device: torch.device):
        self.device = device

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return moved(args, self.device), moved(kwargs, self.device)


class _Output:
    """After the last layer: hidden states go back to where norm and output embedding are."""

    def __init__(self, device: torch.device):
        self.device = device

    def __call__(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return moved(output, self.device)


def _move(model: nn.Module, layers: Sequence[nn.Module], where: Sequence[torch.device], rest: torch.device) -> None:
    """Parameters and buffers to their layer's device, one at a time, those of no layer to ``rest``; parameters held
    twice stay one."""
    device_of: dict[int, torch.device] = {}
    for layer, device in zip(layers, where, strict=True):
        if any(device_of.setdefault(id(part), device) != device for part in layer.modules()):
            raise UnsupportedArchitecture(_IN_COMMON)
    known: dict[int, nn.Parameter] = {}
    for part in model.modules():
        device = device_of.get(id(part), rest)
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in known:
                known[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
            if known[id(parameter)].device != device:
                raise UnsupportedArchitecture(_IN_COMMON)
            part._parameters[name] = known[id(parameter)]
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to(device)


def _bytes_of(parameter: Tensor) -> int:
    return parameter.numel() * parameter.element_size()

"""One model over several GPUs, for models that one alone does not hold: ``--device all``.

The first GPU has the embeddings, the final norm and the first layers; each further one has the layers after them, in
order, as many as its free memory is a share of all. Between two GPUs the hidden states are copied over, forward and
backward, and after the last layer they come back to the first, so that token ids go in, and logits come out, where
``LoadedModel.device`` is. The GPUs take turns; nothing is quicker for it. A scored matrix, its gradient sums and what
a mask changes of it lie where the matrix lies (``LoadedModel.device_of``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harmviz.errors import OutOfMemory, UnsupportedArchitecture
from harmviz.models.scored import decoder_blocks


def shares(sizes: Sequence[int], outside: int, room: Sequence[int]) -> list[int]:
    """The device of each layer, ascending: layers in proportion to what each device has room for.

    Args:
        sizes: bytes of each layer, in order.
        outside: bytes of everything else, which lies on device 0.
        room: free bytes of each device.

    Raises:
        OutOfMemory: all of it is larger than all devices together, or what lies outside than the first.
    """
    if outside > room[0] or outside + sum(sizes) > sum(room):
        raise OutOfMemory(
            f"{(outside + sum(sizes)) / 1e9:.1f} GB of weights do not fit into {len(room)} devices with "
            f"{', '.join(f'{n / 1e9:.1f}' for n in room)} GB free; use --dtype bfloat16 or a smaller model"
        )
    left = [room[0] - outside, *room[1:]]
    scale = sum(sizes) / sum(left)
    device, filled, placed = 0, 0.0, []
    for size in sizes:
        while device < len(left) - 1 and filled + size / 2 > scale * sum(left[: device + 1]):
            device += 1
        placed.append(device)
        filled += size
    return placed


def spread(model: nn.Module, n_layers: int | None, devices: Sequence[torch.device], room: Sequence[int]) -> None:
    """Moves the model's layers to these devices, everything else to the first, and has hidden states follow.

    Args:
        n_layers: as for ``decoder_blocks``.
        room: free bytes of each device.

    Raises:
        OutOfMemory: see ``shares``.
        UnsupportedArchitecture: no list of layers, or two layers on different devices have weights in common.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    blocks = decoder_blocks(shapes, n_layers)
    if blocks is None:
        raise UnsupportedArchitecture(f"{type(model).__name__} has no list of decoder blocks to spread over devices")
    layers = [model.get_submodule(f"{blocks.prefix}.{i}") for i in sorted(set(blocks.layers.values()))]
    inside = {id(p) for layer in layers for p in layer.parameters()}
    outside = sum(_bytes_of(p) for p in model.parameters() if id(p) not in inside)
    placed = shares([sum(map(_bytes_of, layer.parameters())) for layer in layers], outside, room)
    _check_nothing_is_shared(layers, placed)
    for layer, place in zip(layers, placed, strict=True):
        _move(layer, devices[place])
    _move(model, devices[0], but={id(module) for layer in layers for module in layer.modules()})
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


def _move(module: nn.Module, device: torch.device, but: Iterable[int] = ()) -> None:
    """Parameters and buffers to the device, one at a time; parameters held twice stay one."""
    spared, known = set(but), dict[int, nn.Parameter]()
    for part in module.modules():
        if id(part) in spared:
            continue
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in known:
                    known[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
                part._parameters[name] = known[id(parameter)]
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to(device)


def _check_nothing_is_shared(layers: Sequence[nn.Module], placed: Sequence[int]) -> None:
    where: dict[int, int] = {}
    for layer, place in zip(layers, placed, strict=True):
        if any(where.setdefault(id(p), place) != place for p in layer.parameters()):
            raise UnsupportedArchitecture("layers on different devices have weights in common; use one device")


def _bytes_of(parameter: Tensor) -> int:
    return parameter.numel() * parameter.element_size()

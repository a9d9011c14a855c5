"""The hash by which weights are recognised: masks, adapters and runs name the weights that they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class ParameterHash:
    """sha256 over names, dtypes, shapes and bytes of tensors that are handed over one at a time, in name order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, tensor: Tensor) -> None:
        """Takes in the next tensor by name."""
        import torch

        self._digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        self._digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def hash_parameters(named: Iterable[tuple[str, Tensor]]) -> str:
    """``ParameterHash`` of all these tensors, in name order."""
    digest = ParameterHash()
    for name, tensor in sorted(named, key=lambda item: item[0]):
        digest.add(name, tensor)
    return digest.hexdigest()

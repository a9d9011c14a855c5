"""How many bytes of tensors are held at once, counted as they are made and let go: on the meta device, where nothing
has any memory, this is what a pass over a large model would take."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class HeldBytes(TorchDispatchMode):
    """Within this context ``peak`` is the most bytes that tensors made in it held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: dict[int, int] = {}

    def _let_go(self, key: int) -> None:
        self.held -= self._known.pop(key)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mine = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in mine and key not in self._known:
                    self._known[key] = storage.nbytes()
                    self.held += storage.nbytes()
                    weakref.finalize(storage, self._let_go, key)
        self.peak = max(self.peak, self.held)
        return made

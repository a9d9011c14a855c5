"""A second device on a machine that has none: ``cpu:1``, whose tensors compute on the CPU and keep to themselves.

Within ``two_devices()`` a tensor sent ``.to("cpu:1")`` becomes a ``There``: the numbers are those of the CPU, and an
operation on tensors of both devices fails, as it does on two GPUs (scalars and copies excepted). Like a GPU's, such a
tensor has no ``numpy()`` before it is back on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

HERE, THERE = torch.device("cpu"), torch.device("cpu:1")
DEVICES = (HERE, THERE)
#: What may read from one device and write to the other.
_COPIES = ("_to_copy", "copy_")


class There(Tensor):
    """A tensor on ``cpu:1``; ``inner`` holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        with torch.inference_mode(False):  # a view of a parameter cannot be an inference tensor of another class
            made = Tensor._make_wrapper_subclass(
                cls,
                inner.shape,
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device=THERE,
            )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.to(HERE).tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor on cpu:1 to numpy; copy it to the CPU first")


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
    present = {t.device for t in tensors if t.ndim} or {t.device for t in tensors}
    if len(present) > 1 and name not in _COPIES:
        raise RuntimeError(f"{name}: tensors on {' and '.join(sorted(map(str, present)))}")
    asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    where = asked or next(iter(present), HERE)
    if name == "copy_":
        where = tensors[0].device
    plain = {**kwargs, "device": HERE} if asked == THERE else kwargs
    plain_args, plain_kwargs = tree_map(_inner, (args, plain))
    out = func(*plain_args, **plain_kwargs)
    if where != THERE:
        return out
    known = {
        id(_inner(t)): t for t in tensors if isinstance(t, There)
    }  # what is written in place stays the same tensor
    return tree_map(lambda t: known.get(id(t), There(t)) if isinstance(t, Tensor) else t, out)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, There) else value


class _Dispatched(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """``torch.tensor(…, device="cpu:1")`` makes its tensor below what a dispatch mode sees."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.tensor and (device := given.pop("device", None)) is not None:
            return torch.tensor(*args, **given).to(device)
        return func(*args, **(kwargs or {}))


@contextmanager
def two_devices() -> Iterator[None]:
    """Within it there is a device ``cpu:1``."""
    with _Dispatched(), _Made():
        yield

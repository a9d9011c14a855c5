"""What one process of a job sends another: values as bytes, which hold no code and run none where they are read.

    8 bytes, the length of the JSON · the JSON · arrays (safetensors)

Plain values, lists, tuples, dicts, arrays and tensors may be sent, and objects of the classes named in ``CLASSES``,
field by field. Functions do not travel: what another rank is to do is named, and ``WORKS`` says what has a name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel

#: The work that another rank can be asked for, ``(model, piece, **options)``: function → module.
WORKS = {
    "response_losses": "harmviz.scoring.loss",
    "signed_share": "harmviz.scoring.signed",
    "absolute_share": "harmviz.scoring.absolute",
    "generate_batch": "harmviz.generation.batch",
}
#: The dataclasses whose objects are sent: class → module.
CLASSES = {
    **dict.fromkeys(("Load", "Open", "Call", "Add", "End", "Copy", "Failed"), "harmviz.models.rank_channel"),
    "Work": "harmviz.models.rank_messages",
    "Sample": "harmviz.data.encoding",
    "Batch": "harmviz.data.encoding",
    "PruneMask": "harmviz.masks.mask",
    "Pruned": "harmviz.masks.apply",
}


@dataclass(frozen=True)
class Work:
    """One of ``WORKS`` with its options: what a partial of the function would be, as a value.

    Raises:
        ValueError: no work has this name.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in WORKS:
            raise ValueError(f"no work is called {self.name!r}; there are {', '.join(WORKS)}")

    def __call__(self, loaded: LoadedModel, piece: Any) -> Any:
        return getattr(import_module(WORKS[self.name]), self.name)(loaded, piece, **self.options)


def pack(value: Any) -> bytes:
    """The value as bytes.

    Raises:
        TypeError: it is, or holds, something that is not sent.
    """
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    written = json.dumps(_written(value, arrays), separators=(",", ":")).encode()
    return len(written).to_bytes(8) + written + save(arrays)


def unpack(content: bytes) -> Any:
    """The value that was packed.

    Raises:
        ValueError: the bytes are none of ``pack``'s.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    end = 8 + int.from_bytes(content[:8])
    try:
        return _read(json.loads(content[8:end]), load(content[end:]))
    except (ValueError, TypeError, KeyError, SafetensorError) as e:
        raise ValueError(f"a message between ranks cannot be read ({type(e).__name__}: {e})") from e


def _written(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value in JSON: lists as they are, all that JSON lacks as ``{what it is: its content}``."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_written(v, arrays) for v in value]
        case tuple():
            return {"tuple": [_written(v, arrays) for v in value]}
        case Mapping():
            return {"dict": [[_written(k, arrays), _written(v, arrays)] for k, v in value.items()]}
        case np.ndarray():
            return {"array": _kept(value, arrays)}
    kind = type(value).__name__
    if CLASSES.get(kind) == type(value).__module__:
        return {kind: [_written(getattr(value, f.name), arrays) for f in dataclasses.fields(value)]}
    if kind == "Tensor":
        return {"tensor": _kept(value.numpy(), arrays)}
    raise TypeError(f"a {type(value).__module__}.{kind} is not sent to other processes")


def _kept(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an array of {array.dtype} is not sent to other processes")
    name = str(len(arrays))
    arrays[name] = np.ascontiguousarray(array)
    return name


def _read(written: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(written, list):
        return [_read(v, arrays) for v in written]
    if not isinstance(written, dict):
        return written
    ((kind, content),) = written.items()
    match kind:
        case "tuple":
            return tuple(_read(v, arrays) for v in content)
        case "dict":
            return {_read(k, arrays): _read(v, arrays) for k, v in content}
        case "array":
            return arrays[content]
        case "tensor":
            import torch

            return torch.from_numpy(arrays[content])
    return getattr(import_module(CLASSES[kind]), kind)(*(_read(v, arrays) for v in content))

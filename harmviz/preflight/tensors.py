"""Names, shapes and sizes of a model's tensors from the headers of its files. Reads kilobytes, whatever the model's size."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harmviz.errors import ModelUnavailable

_MAX_HEADER = 256 << 20
_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|blk)\.(\d+)\.")
#: Weigh experts against each other; not scored.
_ROUTER = re.compile(r"router|shared_expert_gate|ffn_gate_inp|(?:moe|mlp|ffn)\.gate\.weight$")
_GGUF_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_STRING, _GGUF_ARRAY = 8, 9


@dataclass(frozen=True)
class Tensors:
    """Shape of every tensor of a model by name, and the bytes of all of them on disk."""

    shapes: Mapping[str, tuple[int, ...]]
    n_bytes: int

    @property
    def n_parameters(self) -> int:
        return sum(math.prod(s) for s in self.shapes.values())

    @property
    def n_scored(self) -> int:
        """Weights of the linear maps inside the decoder blocks: what a run scores."""
        return sum(
            math.prod(s) for n, s in self.shapes.items() if len(s) >= 2 and _BLOCK.search(n) and not _ROUTER.search(n)
        )

    @property
    def n_layers(self) -> int:
        return len({m[1] for n in self.shapes if (m := _BLOCK.search(n))})

    @property
    def vocabulary(self) -> int:
        """The longest side of the widest matrix outside the blocks."""
        outside = [max(s) for n, s in self.shapes.items() if len(s) == 2 and not _BLOCK.search(n)]
        return max(outside, default=0)

    @property
    def activations_per_token(self) -> int:
        """Floats that one token of a training-like pass keeps, roughly: inputs and outputs of every linear map."""
        return sum(
            sum(s[-2:]) for n, s in self.shapes.items() if len(s) >= 2 and _BLOCK.search(n) and not _ROUTER.search(n)
        )


def read_safetensors(paths: list[Path]) -> Tensors:
    """The tensors of a model saved in one or several safetensors files.

    Raises:
        ModelUnavailable: a file is truncated or no safetensors file.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    total = 0
    for path in paths:
        try:
            with path.open("rb") as f:
                (n,) = struct.unpack("<Q", f.read(8))
                if n > _MAX_HEADER:
                    raise ValueError("its header is too large")
                header = json.loads(f.read(n))
                size = os.fstat(f.fileno()).st_size - 8 - n
            entries = {k: v for k, v in header.items() if k != "__metadata__"}
            if any(e["data_offsets"][1] > size for e in entries.values()):
                raise ValueError("it is cut off")
            shapes |= {name: tuple(int(x) for x in e["shape"]) for name, e in entries.items()}
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            struct.error,
            RecursionError,
        ) as e:
            raise ModelUnavailable(f"{path} cannot be read as safetensors ({e}); copy or download it again") from e
        total += size
    return Tensors(shapes, total)


def read_gguf(path: Path) -> Tensors:
    """The tensors of a GGUF file.

    Raises:
        ModelUnavailable: the file is truncated or no GGUF file.
    """
    try:
        with path.open("rb") as f:
            magic, version, n_tensors, n_pairs = struct.unpack("<4sIQQ", f.read(24))
            if magic != b"GGUF" or version not in (2, 3) or n_tensors > 1 << 20 or n_pairs > 1 << 16:
                raise ValueError("not a GGUF file of version 2 or 3")
            for _ in range(n_pairs):
                _text(f)
                _skip_value(f, _number(f, "<I"))
            shapes = {}
            for _ in range(n_tensors):
                name = _text(f)
                n_dims = _number(f, "<I")
                if n_dims > 4:
                    raise ValueError(f"{n_dims} dimensions")
                shapes[name] = struct.unpack(f"<{n_dims}Q", f.read(8 * n_dims))
                f.read(12)  # type and offset
            return Tensors(shapes, os.fstat(f.fileno()).st_size)
    except (OSError, ValueError, KeyError, struct.error) as e:
        raise ModelUnavailable(f"{path} cannot be read as GGUF ({e}); copy or download it again") from e


def _number(f: IO[bytes], form: str) -> int:
    (value,) = struct.unpack(form, f.read(struct.calcsize(form)))
    return int(value)


def _text(f: IO[bytes]) -> str:
    n = _number(f, "<Q")
    if n > 1 << 20:
        raise ValueError("a text of unlikely length")
    return f.read(n).decode(errors="replace")


def _skip_value(f: IO[bytes], kind: int) -> None:
    if kind == _GGUF_STRING:
        f.seek(_number(f, "<Q"), os.SEEK_CUR)
    elif kind == _GGUF_ARRAY:
        of, n = _number(f, "<I"), _number(f, "<Q")
        if of in _GGUF_SCALARS:
            f.seek(_GGUF_SCALARS[of] * n, os.SEEK_CUR)
            return
        for _ in range(min(n, 1 << 24)):
            _skip_value(f, of)
    else:
        f.seek(_GGUF_SCALARS[kind], os.SEEK_CUR)

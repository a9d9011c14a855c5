"""How candidate arrays lie on disk: sorted index sets as gap bytes, and a safetensors file read without copying it.

**Gap bytes.** A sorted index set is stored as the gaps between neighbours, one byte each. With ``d`` = gap − 1 (the
first gap counts from −1), ``d`` is written as ``⌊d / 255⌋`` bytes 255 and one byte ``d mod 255``. A 255 therefore means
"advance by 255, no index here" and any other byte ``r`` "advance by r + 1, here is one". At a protected fraction of
0.05 or 0.01 a gap is 20 or 100 on average, so an index costs about one byte instead of four; zlib saves a third more.

**Zero-copy reading.** ``safetensors.numpy`` copies every tensor it hands out. A page asks a few of many lists, so the
file is mapped instead and each array is a read-only view of it: opening costs the header alone.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
import zlib
from pathlib import Path

import numpy as np

from harmviz.errors import RunIncompatible

_ESCAPE = 255
_DTYPES = {"U8": "<u1", "U16": "<u2", "U32": "<u4", "I64": "<i8", "F32": "<f4"}


def pack_gaps(index: np.ndarray) -> np.ndarray:
    """The gap bytes (uint8) of a strictly ascending index array."""
    extra, rest = np.divmod(np.diff(np.asarray(index, dtype=np.int64), prepend=-1) - 1, _ESCAPE)
    packed = np.full(len(rest) + int(extra.sum()), _ESCAPE, dtype=np.uint8)
    packed[np.cumsum(extra + 1) - 1] = rest
    return packed


def unpack_gaps(packed: np.ndarray) -> np.ndarray:
    """The strictly ascending index array (int64) that ``pack_gaps`` was given."""
    is_index = packed != _ESCAPE
    return np.cumsum(packed.astype(np.int64) + is_index)[is_index] - 1


def squeeze(packed: np.ndarray) -> np.ndarray:
    """Bytes compressed without loss (zlib), as uint8."""
    return np.frombuffer(zlib.compress(packed.tobytes(), 6), dtype=np.uint8)


def unsqueeze(squeezed: np.ndarray) -> np.ndarray:
    """The bytes that ``squeeze`` was given.

    Raises:
        RunIncompatible: they are damaged.
    """
    try:
        return np.frombuffer(zlib.decompress(squeezed.tobytes()), dtype=np.uint8)
    except zlib.error as e:
        raise RunIncompatible(f"the protected weights of this run are damaged ({e}); make the run again") from e


def map_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(name → read-only array, metadata) of a safetensors file, without reading the arrays.

    Raises:
        RunIncompatible: the file is missing, truncated, or not a safetensors file of plain arrays.
    """
    try:
        with path.open("rb") as f:
            buffer = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        (header_size,) = struct.unpack("<Q", buffer[:8])
        if 8 + header_size > len(buffer):
            raise ValueError("the header is cut off")
        header = json.loads(buffer[8 : 8 + header_size])
        metadata = header.pop("__metadata__", {})
        arrays, end = {}, 8 + header_size
        for name, entry in header.items():
            start, stop = (8 + header_size + offset for offset in entry["data_offsets"])
            dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            if stop > len(buffer) or stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"array {name!r} is cut off")
            arrays[name] = np.frombuffer(buffer, dtype, math.prod(shape), start).reshape(shape)
            end = max(end, stop)
        if end != len(buffer):
            raise ValueError(f"{len(buffer) - end} bytes follow the last array")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as e:
        raise RunIncompatible(
            f"{path} cannot be read ({type(e).__name__}: {e}); it is missing, truncated or no harmviz run file; "
            "make the run again"
        ) from e
    return arrays, metadata

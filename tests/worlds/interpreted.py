"""The Triton kernel of the absolute scores run by Triton's interpreter, on the CPU. A process of its own: Triton
decides when it is imported whether it interprets, and nothing else in the process may have imported it.

``python -m tests.worlds.interpreted`` prints, as JSON, a number a case: the largest error against float64 over the
bound that ``harmviz.scoring.abs_kernel`` states (1 would be at it), and for whole models the relative error of scores.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from harmviz.data.encoding import make_batches
from harmviz.scoring import absolute
from harmviz.scoring.abs_kernel import DTYPES, add_in_tiles, launch_tile
from tests.worlds.tiny import tiny_model
from tests.worlds.worked import samples, worst_error

#: batch, pos, m, n: one element; each side one more or less than a tile; every side whole; one sample; two bands of
#: tiles, the second narrower.
SHAPES = ((1, 1, 1, 1), (3, 65, 129, 127), (2, 128, 128, 256), (1, 33, 20, 200), (2, 5, 1155, 140))


def _dot_of_values(self: Any, a: Any, b: Any, *rest: Any) -> Any:
    """The interpreter keeps a bfloat16 as its bits, and its ``dot`` would multiply those."""
    return _dot(self, *(self.cast_impl(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x for x in (a, b)), *rest)


_dot = interpreter.InterpreterBuilder.create_dot
interpreter.InterpreterBuilder.create_dot = _dot_of_values


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers of magnitudes from 2⁻⁸ to 2⁸ along the last axis, so that a small one beside a large one shows."""
    scale = 2.0 ** torch.randint(-8, 9, shape[-1:]).float()
    return (torch.randn(*shape) * scale).to(dtype)


def over_bound(total: Tensor, left: Tensor, right: Tensor) -> float:
    """Adds to ``total`` and returns the largest error over the stated bound."""
    x, y, before = left.double(), right.double(), total.double()
    wanted = before + (x.mT @ y).abs().sum(0)
    bound = (left.shape[1] + len(left) + 1) * 2.0**-23 * ((x.abs().mT @ y.abs()).sum(0) + before.abs())
    add_in_tiles(total, left, right)
    return float(((total.double() - wanted).abs() / bound.clamp_min(1e-300)).max())


def cases() -> Iterator[tuple[str, float]]:
    torch.manual_seed(0)
    for dtype in DTYPES:
        kind = str(dtype).removeprefix("torch.")
        for batch, pos, m, n in SHAPES:
            left, right = drawn(batch, pos, m, dtype=dtype), drawn(batch, pos, n, dtype=dtype)
            yield f"{kind} {batch}×{pos}×{m}×{n}", over_bound(drawn(m, n).abs(), left, right)
        # Strides: one axis before the other, every second element, one row for all positions, a transposed sum.
        left, right = drawn(40, 2, 70, dtype=dtype).transpose(0, 1), drawn(2, 60, 40, dtype=dtype).mT[:, :, ::2]
        yield f"{kind} strided", over_bound(drawn(30, 70).abs().T, left, right)
        yield f"{kind} expanded", over_bound(drawn(70, 60).abs(), left, drawn(2, 1, 60, dtype=dtype).expand(2, 40, 60))
    yield "two dtypes", over_bound(drawn(9, 8).abs(), drawn(2, 3, 9, dtype=torch.bfloat16), drawn(2, 3, 8))
    yield "padding", _padding()
    yield "far", _far()
    for family in ("llama", "gpt2"):  # gpt2 stores its matrices transposed
        yield f"model {family}", _model(family)


def _padding() -> float:
    """Padded positions have no gradient, whatever the layer's input there: the sum is that of the shorter samples."""
    left, right = drawn(3, 90, 20), drawn(3, 90, 30)
    left[1, 30:], left[2, 64:] = 0, 0
    right[1, 30:] = 1e6
    total, alone = torch.zeros(20, 30), torch.zeros(20, 30)
    add_in_tiles(total, left, right)
    for b, n_pos in enumerate((90, 30, 64)):
        add_in_tiles(alone, left[b : b + 1, :n_pos], right[b : b + 1, :n_pos])
    return float((total - alone).abs().max() / total.abs().max())


def _far() -> float:
    """The third sample lies more than 2³¹ elements behind the first, though the stride itself fits 32 bits. Of the
    memory asked for only the pages that are used are ever there."""
    stride = 2**30 + 64
    left = torch.empty(2 * stride + 15, dtype=torch.bfloat16).as_strided((3, 3, 5), (stride, 5, 1))
    left.copy_(drawn(3, 3, 5))
    return over_bound(torch.zeros(5, 7), left, drawn(3, 3, 7, dtype=torch.bfloat16))


def _model(family: str) -> float:
    loaded, batches = tiny_model(family), make_batches(samples(3), max_tokens=100)
    plain = absolute.score_absolute(loaded, batches)
    with mock.patch.object(absolute, "usable", return_value=True) as asked:
        tiled = absolute.score_absolute(loaded, batches)
    assert asked.call_count == len(loaded.table) * len(batches)
    return worst_error(tiled, plain)


if __name__ == "__main__":
    assert launch_tile(torch.bfloat16)[0] == launch_tile(torch.float32)[0] == 128  # what SHAPES go by
    print(json.dumps(dict(cases())))

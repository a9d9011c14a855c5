"""Linear layers over few rows, the weights first: what decoding some variants together hangs on, on a CPU.

A step of K variants multiplies K rows of activations with every weight matrix, and the time is that of reading W once:

    Y = X Wᵀ  =  (W Xᵀ)ᵀ        X: K × d_in,  W: d_out × d_in,  Y: K × d_out

MKL, asked for the left form, copies W into another order first; asked for the right one it reads it as it lies. On two
AVX2 cores all products of the embedded model take 51 → 26 ms for two rows, 54 → 20 for four, 49 → 34 for eight; for one
row and from twelve on there is nothing to be gained. Processors with wider vectors were not measured, and keep the left
form. Both agree up to the order in which float32 numbers are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: As many rows are multiplied with the weights first.
FEW_ROWS = range(2, 9)


def weights_first(module: nn.Linear, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
    """What the module computes, by the right form; contiguous."""
    columns = x.reshape(-1, x.shape[-1]).t()
    if module.bias is None:
        y = torch.mm(module.weight, columns)
    else:
        y = torch.addmm(module.bias[:, None], module.weight, columns)
    return y.t().contiguous().view(*x.shape[:-1], module.out_features)


def is_gained(n_rows: int) -> bool:
    """Whether so many rows were measured to gain by it on a processor like this one."""
    return n_rows in FEW_ROWS and torch.backends.cpu.get_cpu_capability() == "AVX2"


@contextmanager
def few_rows(model: nn.Module, n_rows: int) -> Iterator[None]:
    """Within this context the model's plain float32 linear layers on the CPU, given ``n_rows`` rows, take the quicker
    form.

    Hooks on the layers run as ever. A layer whose ``forward`` somebody else has replaced is left alone. Hold the
    model's lock: it is changed meanwhile.
    """
    if not is_gained(n_rows):
        yield
        return
    plain = [m for m in model.modules() if type(m) is nn.Linear and "forward" not in m.__dict__]
    chosen = [m for m in plain if m.weight.device.type == "cpu" and m.weight.dtype == torch.float32]
    try:
        for module in chosen:
            module.__dict__["forward"] = partial(weights_first, module)
        yield
    finally:
        for module in chosen:
            del module.__dict__["forward"]

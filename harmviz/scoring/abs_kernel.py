"""``total += Σ_b |left_bᵀ right_b|`` on a GPU without the batch × m × n products that it is the sum of.

One program owns one tile of ``total``. Sample after sample it adds up the tile of that sample's product over blocks of
positions, takes the absolute value and adds it to a second accumulator; both stay in registers, in float32. ``total``
is read and written once, whatever the batch, and nobody else touches the tile: a repetition gives the same bits.

    for each sample b:      gradient = Σ_positions left_b[pos, rows]ᵀ right_b[pos, cols]
                            sums    += |gradient|
    total[rows, cols]     += sums

bfloat16 is multiplied as it is (its products are exact in float32), float32 without TF32. The result
is off by at most ``(pos + batch + 1) · 2⁻²³ · (Σ_b |left_b|ᵀ|right_b| + |total|)``, element by element: rounding, in
whatever order the hardware adds.

Triton compiles this at its first use. It comes with torch's builds for NVIDIA GPUs; where it is missing, or does not
give what torch gives, ``usable`` says no. Triton's interpreter runs it on a CPU (``tests/scoring/test_abs_kernel.py``).
"""

from __future__ import annotations

import importlib.util
import logging
import subprocess
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

log = logging.getLogger(__name__)

DTYPES = (torch.bfloat16, torch.float32)
#: Rows, columns and positions of a tile, and warps. Two float32 accumulators of 128 × 128 take 128 of the 255 registers
#: that each of 256 threads can have; the tiles of three steps take 96 KB of shared memory on Hopper, those of two 64 KB
#: on Ampere. float32 runs on the ordinary cores, which shorter steps feed as well.
_TILE, _TILE_FLOAT32 = (128, 128, 64, 8), (128, 128, 16, 8)
_STAGES = 3
#: Tiles are taken in bands of this many rows of tiles, so that what one reads its neighbours find in the L2 cache.
_BAND = 8
#: Oldest compute capability with bfloat16 matrix products and asynchronous copies (Ampere).
_OLDEST = (8, 0)


def usable(total: Tensor, left: Tensor, right: Tensor) -> bool:
    """Whether ``add_in_tiles`` takes these tensors here: all on one NVIDIA GPU that is new enough, of dtypes that it
    knows, and Triton compiles there to what torch computes (tried once a device and dtype)."""
    if not total.device == left.device == right.device or total.device.type != "cuda":
        return False
    if total.dtype != torch.float32 or left.dtype not in DTYPES or right.dtype not in DTYPES:
        return False
    return _agrees(total.device, torch.promote_types(left.dtype, right.dtype))


@cache
def _agrees(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel gives on this device what torch gives in float64, on a case that fills no tile evenly."""
    if torch.version.cuda is None or torch.cuda.get_device_capability(device) < _OLDEST:
        return False
    if importlib.util.find_spec("triton") is None:
        log.warning("Triton is not installed: absolute scores on %s are computed by plain torch, more slowly", device)
        return False
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(3, 201, width, generator=draw).to(device, dtype) for width in (150, 280))
    total = torch.zeros(150, 280, device=device)
    try:
        add_in_tiles(total, left, right)
        error = (total - (left.double().mT @ right.double()).abs().sum(0)).abs().max()
        wrong = None if float(error) <= 1e-3 else f"it is off by {float(error):.2g}"
    except torch.OutOfMemoryError:
        raise
    except _failures() as e:
        wrong = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
    if wrong is not None:
        log.warning("absolute scores on %s are computed by plain torch: Triton's kernel fails (%s)", device, wrong)
    return wrong is None


def _failures() -> tuple[type[Exception], ...]:
    """What comes where Triton cannot be imported or finds no C compiler, cannot compile, or the device has too little
    for the tiles."""
    of_machine = (ImportError, OSError, RuntimeError, subprocess.SubprocessError)
    try:
        from triton.compiler.errors import CompilationError
        from triton.runtime.errors import TritonError
    except ImportError:
        return of_machine
    return (*of_machine, CompilationError, TritonError)


def add_in_tiles(
    total: Float32[Tensor, "m n"], left: Float[Tensor, "batch pos m"], right: Float[Tensor, "batch pos n"]
) -> None:
    """``total += Σ_b |left_bᵀ right_b|``, in place. Any strides: what layers give is contiguous as a rule, and where it
    is not a slower read costs less than a copy of all activations.

    Raises:
        ValueError: the shapes do not belong together (the kernel would read beyond the tensors).
    """
    (batch, n_pos, m), n = left.shape, right.shape[-1]
    if right.shape[:2] != (batch, n_pos) or total.shape != (m, n):
        raise ValueError(
            f"left, right and total must be [batch, pos, m], [batch, pos, n] and [m, n], got {list(left.shape)}, "
            f"{list(right.shape)} and {list(total.shape)}"
        )
    if not left.numel() or not right.numel():
        return
    common = torch.promote_types(left.dtype, right.dtype)
    rows, cols, positions, warps = launch_tile(common)
    grid = (-(-m // rows) * -(-n // cols),)
    with torch.cuda.device_of(left):  # Triton launches on the current device, whichever the tensors are on
        kernel()[grid](
            total,
            left.to(common),
            right.to(common),
            batch,
            n_pos,
            m,
            n,
            *total.stride(),
            *left.stride(),
            *right.stride(),
            ROWS=rows,
            COLS=cols,
            POSITIONS=positions,
            BAND=_BAND,
            num_warps=warps,
            num_stages=_STAGES,
        )


def launch_tile(dtype: torch.dtype) -> tuple[int, int, int, int]:
    """Rows, columns and positions of a tile, and warps."""
    return _TILE_FLOAT32 if dtype == torch.float32 else _TILE


@cache
def kernel() -> Any:
    """The kernel, to be compiled at its first launch. Made here, so that this module is imported without Triton."""
    import triton
    import triton.language as tl

    @triton.jit
    def add_tile(  # type: ignore[no-untyped-def]  # Triton takes annotations for types of its own
        total,
        left,
        right,
        batch,
        n_pos,
        m,
        n,
        total_row,
        total_col,
        left_sample,
        left_pos,
        left_row,
        right_sample,
        right_pos,
        right_col,
        ROWS: tl.constexpr,
        COLS: tl.constexpr,
        POSITIONS: tl.constexpr,
        BAND: tl.constexpr,
    ):
        # Places in memory are counted in 64 bits: a batch of activations, or a matrix, may have more than 2³¹ elements.
        n_across = tl.cdiv(n, COLS)
        tile = tl.program_id(0)
        first = tile // (BAND * n_across) * BAND
        height = min(tl.cdiv(m, ROWS) - first, BAND)
        within = tile % (BAND * n_across)
        row = tl.cast(first + within % height, tl.int64) * ROWS + tl.arange(0, ROWS)
        col = tl.cast(within // height, tl.int64) * COLS + tl.arange(0, COLS)
        sums = tl.zeros((ROWS, COLS), tl.float32)
        # flatten: both loops become one, so that the next sample's tiles are on their way while this one's are used.
        for b in tl.range(0, batch, flatten=True):
            lefts = left + tl.cast(b, tl.int64) * left_sample + row[:, None] * left_row
            rights = right + tl.cast(b, tl.int64) * right_sample + col[None, :] * right_col
            gradient = tl.zeros((ROWS, COLS), tl.float32)
            for start in range(0, n_pos, POSITIONS):
                pos = tl.cast(start, tl.int64) + tl.arange(0, POSITIONS)
                x = tl.load(lefts + pos[None, :] * left_pos, (row[:, None] < m) & (pos[None, :] < n_pos), 0.0)
                y = tl.load(rights + pos[:, None] * right_pos, (pos[:, None] < n_pos) & (col[None, :] < n), 0.0)
                gradient = tl.dot(x, y, gradient, input_precision="ieee")
            sums += tl.abs(gradient)
        here = total + row[:, None] * total_row + col[None, :] * total_col
        inside = (row[:, None] < m) & (col[None, :] < n)
        tl.store(here, tl.load(here, inside) + sums, inside)

    return add_tile

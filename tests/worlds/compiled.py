"""The Triton kernel of the absolute scores compiled for GPUs that need not be there: Triton's wheel brings NVIDIA's
assembler. A process of its own, in which nothing interprets (see ``interpreted``).

``python -m tests.worlds.compiled`` prints, as JSON, what each program takes and which instructions it multiplies with.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.compiler import ASTSource

from harmviz.scoring import abs_kernel

TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}


def compiled(dtype: torch.dtype, capability: int) -> dict[str, object]:
    """The kernel for contiguous tensors whose sides are multiples of 16, as a launch would specialise it."""
    function = abs_kernel.kernel()
    rows, cols, positions, warps = abs_kernel.launch_tile(dtype)
    constants = {"ROWS": rows, "COLS": cols, "POSITIONS": positions, "BAND": abs_kernel._BAND}
    constants |= {"total_col": 1, "left_row": 1, "right_col": 1}
    pointers = {"total": "*fp32", "left": TYPES[dtype], "right": TYPES[dtype]}
    signature = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in function.arg_names}
    whole = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(function.arg_names)
        if name not in constants and name not in ("batch", "n_pos")
    }
    source = ASTSource(function, signature, constants, whole)
    options = {"num_warps": warps, "num_stages": abs_kernel._STAGES}
    program = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return {
        "shared": program.metadata.shared,
        "stack": _stack(program.asm["cubin"]),
        **{word: word in program.asm["ptx"] for word in ("wgmma.mma_async", "mma.sync", "cp.async", "tf32")},
    }


def _stack(cubin: bytes) -> int:
    """Bytes of local memory a thread: where registers do not suffice."""
    tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return int((said.stdout + said.stderr).split("STACK:")[1].split()[0])


if __name__ == "__main__":
    kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    print(json.dumps({f"{name} {c}": compiled(dtype, c) for name, dtype in kinds.items() for c in (80, 90)}))

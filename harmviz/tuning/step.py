"""What an optimiser step is, in safety tuning and in narrow tuning alike: AdamW, its size, its clipping, its precision.

Weights and updates are float32; products are bfloat16 where the processor has them. Only gradient steps are made this
way; everything generated or measured is plain float32. On a processor without such instructions nothing changes but the
time. The two tunings differ in how the learning rate runs (``training``, ``narrow``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Rows of a step.
BATCH = 8
#: The gradient of all trained weights together is clipped to this norm.
MAX_NORM = 1.0
#: Of AdamW: none, so that what is not learned stays.
WEIGHT_DECAY = 0.0


@contextmanager
def fast_forward(device: torch.device) -> Iterator[None]:
    """The block, one forward pass, makes its products in bfloat16, which halves the time of a step on a processor.

    One block per step: casts of the trained weights live as long as the block.
    """
    import torch

    fast = device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    with torch.autocast(device.type, torch.bfloat16, enabled=fast):
        yield

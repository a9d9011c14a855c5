"""Several variants decoded together, against one."""

from __future__ import annotations

from functools import partial

from harmviz.bench.timing import medians, synchronised
from harmviz.bench.toggle import spread_mask
from harmviz.data.encoding import encode_prompt
from harmviz.generation.decode import decode
from harmviz.generation.variants import Variant
from harmviz.models.load import load_model

TOKENS = 48


def bench() -> dict[str, tuple[float, str]]:
    """Milliseconds per step of 1, 2 and 4 variants (masks of q = 1e-4 on all but the first), and the ratio to one."""
    loaded = load_model()
    prompt = encode_prompt(loaded.tokenizer, "Write a long story about a lighthouse keeper and her telescope.")
    variants = [Variant("intact"), *(Variant(f"mask {i}", spread_mask(loaded, 1e-4, seed=i)) for i in range(3))]
    steps = {}

    def play(k: int) -> None:
        steps[k] = sum(1 for _ in decode(loaded, prompt, variants[:k], max_new_tokens=TOKENS))

    timed = medians({str(k): synchronised(partial(play, k), loaded.device.type) for k in (1, 2, 4)})
    result = {f"{k} variants": (1e3 * timed[str(k)] / steps[k], "ms/step") for k in (1, 2, 4)}
    return result | {"4 variants / 1": (result["4 variants"][0] / result["1 variants"][0], "×")}

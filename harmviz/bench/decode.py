"""Several variants decoded together, against one; beside transformers' own greedy generation of one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from harmviz.bench.figure import Figure, Reference
from harmviz.bench.floors import decoding_bytes
from harmviz.bench.subject import Subject
from harmviz.bench.timing import timed
from harmviz.bench.toggle import Q, spread_mask
from harmviz.generation.decode import decode
from harmviz.generation.variants import Variant
from harmviz.masks.apply import pruned
from harmviz.models.load import LoadedModel

TOKENS = 48
TOGETHER = (1, 2, 4)


def one_after_another(
    loaded: LoadedModel, prompt: list[int], variants: Sequence[Variant], n_tokens: int
) -> list[list[int]]:
    """The greedy answers of ``n_tokens`` each, the plain way: mask, ``model.generate``, restore, and so on."""
    import torch

    model: Any = loaded.model  # ``generate`` is a mixin's, which the type does not name
    ids = torch.tensor([prompt], device=loaded.device)

    def generate() -> list[int]:
        written: torch.Tensor = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=0,
        )
        return written[0, len(prompt) :].tolist()

    answers = []
    for variant in variants:
        with nullcontext() if variant.mask is None else pruned(loaded, variant.mask, variant.strength):
            answers.append(generate())
    return answers


def bench(subject: Subject) -> list[Figure]:
    """Milliseconds per step of 1, 2 and 4 variants (masks of q = 1e-4 on all but the first), and the ratio to one.

    The prompt's own pass is in the time, of ours and of the reference; the floor is that of a step.
    """
    loaded, prompt = subject.loaded, subject.prompt
    variants = [Variant("intact"), *(Variant(f"mask {i}", spread_mask(loaded, Q, seed=i)) for i in range(3))]
    steps: dict[int, int] = {}

    def play(k: int) -> None:
        steps[k] = sum(1 for _ in decode(loaded, prompt, variants[:k], max_new_tokens=TOKENS))

    contenders: dict[str, Callable[[], object]] = {f"together {k}": partial(play, k) for k in TOGETHER}
    contenders |= {f"apart {k}": partial(one_after_another, loaded, prompt, variants[:k], TOKENS) for k in TOGETHER}
    result = timed(contenders, loaded.device)
    figures = []
    for k in TOGETHER:
        together, apart = result[f"together {k}"], result[f"apart {k}"]
        n_bytes = decoding_bytes(subject.sizes, loaded.dtype.itemsize, k, len(prompt), steps[k])
        figures.append(
            Figure(
                f"{k} variant{'s' if k > 1 else ''}",
                1e3 * together.seconds / steps[k],
                "ms/step",
                floor=1e3 * n_bytes / subject.rates.bandwidth,
                reference=Reference(1e3 * apart.seconds / TOKENS, "one after another by transformers' generate"),
                peak_bytes=together.peak_bytes,
                trials=together.trials,
            )
        )
    return [*figures, Figure("4 variants / 1", figures[-1].value / figures[0].value, "×")]

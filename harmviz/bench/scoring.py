"""Scoring against the best plain batched forward and backward pass with weight gradients, and against a naive loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harmviz.bench.timing import medians, synchronised
from harmviz.data.encoding import Batch, encode_all, make_batches
from harmviz.data.prompts import load_prompts
from harmviz.models.load import LoadedModel, load_model
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.forward import default_batch_tokens, sample_losses
from harmviz.scoring.signed import score_signed

SAMPLES = 12


def plain_pass(loaded: LoadedModel, batches: list[Batch]) -> None:
    """What any training loop does: forward, loss over response tokens, backward into ``.grad`` of the scored weights.

    Logits are taken where they are needed, as in scoring, so that the comparison is with the best plain pass.
    """
    parameters = [loaded.model.get_parameter(m.param_name) for m in loaded.table]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for batch in batches:
            sample_losses(loaded, batch).sum().backward()
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False).grad = None


def naive_loop(loaded: LoadedModel, batches: list[Batch]) -> None:
    """One sample at a time, all logits, gradients accumulated into signed and absolute sums by hand."""
    import torch
    from torch.nn import functional

    parameters = [loaded.model.get_parameter(m.param_name) for m in loaded.table]
    sums = [torch.zeros_like(p) for p in parameters]
    try:
        for batch in batches:
            for parameter in parameters:
                parameter.requires_grad_(True).grad = None
            logits = loaded.model(input_ids=batch.input_ids, use_cache=False).logits[0]
            losses = functional.cross_entropy(logits[batch.positions[0] :][: len(batch.targets)].float(), batch.targets)
            losses.backward()
            for total, parameter in zip(sums, parameters, strict=True):
                if parameter.grad is not None:
                    total += (parameter.detach() * parameter.grad).abs()
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False).grad = None


def bench() -> dict[str, tuple[float, str]]:
    """Seconds per pass over 12 benign samples (at most 96 response tokens), and ratios to the best plain pass."""
    loaded = load_model()
    rows = load_prompts("builtin").of("benign")[:SAMPLES]
    samples = encode_all(loaded.tokenizer, rows, max_response_tokens=96)
    limit = default_batch_tokens(loaded)
    batched = {n: make_batches(samples, max_tokens=n, device=loaded.device) for n in (1, limit // 2, limit, 2 * limit)}
    contenders: dict[str, Callable[[], object]] = {
        f"plain, {n} tokens a batch": partial(plain_pass, loaded, b) for n, b in batched.items()
    }
    contenders |= {
        "signed": partial(score_signed, loaded, batched[limit]),
        "absolute": partial(score_absolute, loaded, batched[limit]),
        "one sample at a time": partial(naive_loop, loaded, batched[1]),
    }
    timed = medians({k: synchronised(v, loaded.device.type) for k, v in contenders.items()})
    best = min(v for k, v in timed.items() if k.startswith("plain"))
    result = {name: (seconds / len(samples), "s/sample") for name, seconds in timed.items()}
    result["signed / best plain"] = (timed["signed"] / best, "×")
    result["absolute / best plain"] = (timed["absolute"] / best, "×")
    result["one at a time / signed"] = (timed["one sample at a time"] / timed["signed"], "×")
    return result

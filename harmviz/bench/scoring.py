"""Scoring against the best plain batched forward and backward pass with weight gradients, and against a naive loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from harmviz.bench.figure import Figure, Reference
from harmviz.bench.floors import scoring_flops
from harmviz.bench.subject import Subject
from harmviz.bench.timing import timed
from harmviz.data.encoding import Batch, make_batches
from harmviz.models.load import LoadedModel
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.fitting import in_batches_that_fit
from harmviz.scoring.forward import default_batch_tokens, sample_losses
from harmviz.scoring.signed import score_signed

if TYPE_CHECKING:
    from torch import Tensor


def plain_pass(loaded: LoadedModel, batches: list[Batch]) -> None:
    """What any training loop does: forward, loss over response tokens, backward into ``.grad`` of the scored weights.

    Logits are taken where they are needed, as in scoring, so that the comparison is with the best plain pass.
    """
    parameters = list(loaded.scored_parameters.values())

    def passes(batches: Sequence[Batch]) -> None:
        for batch in batches:
            sample_losses(loaded, batch).sum().backward()

    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        in_batches_that_fit(batches, passes)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False).grad = None


def naive_loop(loaded: LoadedModel, batches: list[Batch]) -> list[Tensor]:
    """``Σ_x |W ⊙ ∇_W L(x)|`` per parameter by hand: one sample at a time, all logits, gradients of the weights.

    ``batches`` hold one sample each.
    """
    import torch
    from torch.nn import functional

    parameters = list(loaded.scored_parameters.values())
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
        return sums
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False).grad = None


def bench(subject: Subject) -> list[Figure]:
    """Seconds a sample of passes over all samples, and ratios to the best plain pass."""
    loaded, samples = subject.loaded, subject.samples
    limit = default_batch_tokens(loaded)
    batched = {n: make_batches(samples, max_tokens=n, device=loaded.device) for n in (1, limit // 2, limit, 2 * limit)}
    contenders: dict[str, Callable[[], object]] = {
        f"plain, {n} tokens a batch": partial(plain_pass, loaded, b) for n, b in batched.items()
    }
    contenders |= {
        "signed": partial(score_signed, loaded, batched[limit]),
        "absolute": partial(score_absolute, loaded, batched[1 if loaded.table.has_fused_experts else limit]),
        "one sample at a time": partial(naive_loop, loaded, batched[1]),
    }
    result = timed(contenders, loaded.device)
    floor = scoring_flops(subject.sizes, samples) / subject.rates.flops
    naive = Reference(result["one sample at a time"].seconds / len(samples), "one sample at a time, weight gradients")
    figures = [
        Figure(
            name,
            one.seconds / len(samples),
            "s/sample",
            floor=floor / len(samples),
            reference=naive if name in ("signed", "absolute") else None,
            peak_bytes=one.peak_bytes,
            trials=one.trials,
        )
        for name, one in result.items()
    ]
    best = min(one.seconds for name, one in result.items() if name.startswith("plain"))
    ratios = {f"{name} / best plain": result[name].seconds / best for name in ("signed", "absolute")}
    ratios["one at a time / signed"] = result["one sample at a time"].seconds / result["signed"].seconds
    return figures + [Figure(what, ratio, "×") for what, ratio in ratios.items()]

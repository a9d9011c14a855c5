"""Signed SNIP: how much the mean loss changes, to first order, when a weight is zeroed.

    I_D = W ⊙ E_x∈D[∇_W L(x)]        zeroing weight ij changes the mean loss by −I_D[ij]
    H_c = −I_c                       harm score: positive where the weight supports the harmful responses

The sum of gradients over samples is linear, so it is taken over batches in one ``.grad`` (float32 models) or moved
into float32 sums after each micro-batch (bfloat16 models). Where several devices have a copy of the model each sums
over its share of the samples, and the sums are added.

Source: Lee, Ajanthan & Torr 2019 (arXiv:1810.02340), eq. 5 without the absolute value; Wei et al. 2024
(arXiv:2402.05162), §3; Orgad et al. 2026 (arXiv:2604.09544).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from harmviz.data.encoding import Batch
from harmviz.errors import HarmvizError
from harmviz.models.load import LoadedModel
from harmviz.models.memory import free_on
from harmviz.models.rank_messages import Work
from harmviz.scoring.fitting import in_batches_that_fit
from harmviz.scoring.forward import sample_losses
from harmviz.scoring.sharing import batch_shares

Progress = Callable[[int, int], None]


def check_losses(losses: Float[Tensor, " n"], where: str) -> None:
    """Raises HarmvizError where a loss is NaN or infinite: nothing computed from it would mean anything."""
    if not bool(torch.isfinite(losses).all()):
        raise HarmvizError(f"{where}: the loss is NaN or infinite; try --dtype float32")


def sums_devices(loaded: LoadedModel, matrices: Sequence[int]) -> list[torch.device]:
    """Where the float32 sum of each of these matrices is kept: beside the matrix, or in main memory where the sums of
    all that lie on one GPU do not fit there."""
    where = [loaded.device_of(i) for i in matrices]
    n_bytes: Counter[torch.device] = Counter()
    for i, device in zip(matrices, where, strict=True):
        n_bytes[device] += 4 * loaded.table[i].size
    full = {d for d, n in n_bytes.items() if d.type == "cuda" and n > 0.7 * (free_on(d) or 0)}
    return [torch.device("cpu") if device in full else device for device in where]


@contextmanager
def gradient_sums(
    loaded: LoadedModel, matrices: Sequence[int], where: Sequence[torch.device]
) -> Iterator[dict[str, Float32[Tensor, ...]]]:
    """Within this context every backward pass adds the gradients of these matrices' parameters to float32 sums, each
    on its device of ``where``.

    Yields parameter name → sum (filled as backward passes run). Afterwards the model is frozen and holds no gradients.
    """
    names = {loaded.table[i].param_name: device for i, device in zip(matrices, where, strict=True)}
    parameters = {n: loaded.model.get_parameter(n) for n in names}
    sums: dict[str, Float32[Tensor, ...]] = {}
    handles = []
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            parameter.grad = None  # what an earlier training step left would be added in

            def move(p: torch.Tensor, name: str = name, where: torch.device = names[name]) -> None:
                assert p.grad is not None
                if name not in sums:
                    sums[name] = p.grad.to(where, torch.float32)  # float32 in place: the gradient itself, no copy
                elif p.grad is not sums[name]:
                    sums[name] += p.grad.to(where)
                if p.grad is not sums[name]:
                    p.grad = None

            handles.append(parameter.register_post_accumulate_grad_hook(move))
        yield sums
    finally:
        for handle in handles:
            handle.remove()
        for parameter in parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None


def score_signed(
    loaded: LoadedModel,
    batches: Sequence[Batch],
    *,
    matrices: Sequence[int] | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Float32[Tensor, "d_out d_in"]]:
    """``W ⊙ Σ_x ∇_W L(x)`` per scored matrix, float32, as stored; divide by the number of samples for I_D.

    The sum rather than the mean is returned, so that the two halves of a set add up to the set. ``matrices``: which of
    the table (None: all); the backward pass goes no deeper than the first of them.

    Raises:
        ValueError: no batches.
        HarmvizError: the loss is NaN or infinite. OutOfMemory: one sample alone does not fit on the device.
    """
    if not batches:
        raise ValueError("batches must hold at least one sample, got none")
    chosen = range(len(loaded.table)) if matrices is None else matrices
    if (ranks := loaded.sharing) is not None:
        options: dict[str, Any] = {"matrices": tuple(chosen)}
        here = partial(signed_share, **options, progress=across_shares(progress, sum(b.n_samples for b in batches)))
        return ranks.added(loaded, Work("signed_share", options), batch_shares(batches, ranks.n), here)

    def scored(batches: Sequence[Batch]) -> list[Float32[Tensor, "d_out d_in"]]:
        done, total, where = 0, sum(b.n_samples for b in batches), sums_devices(loaded, chosen)
        with gradient_sums(loaded, chosen, where) as sums, torch.enable_grad():
            for batch in batches:
                losses = sample_losses(loaded, batch)
                check_losses(losses, "signed score")
                losses.sum().backward()
                done += batch.n_samples
                progress(done, total)
            return [_times_weight(loaded, i, sums, device) for i, device in zip(chosen, where, strict=True)]

    with loaded.lock:
        return in_batches_that_fit(batches, scored)


def across_shares(progress: Progress, n_samples: int) -> Progress:
    """A progress for one share of so many samples, told as if the other shares came on as far."""
    return lambda done, total: progress(done * n_samples // total, n_samples)


def signed_share(
    loaded: LoadedModel,
    batches: Sequence[Batch],
    *,
    matrices: Sequence[int],
    progress: Progress = lambda done, total: None,
) -> list[Float32[Tensor, "d_out d_in"]]:
    """As ``score_signed``, of batches that lie in main memory."""
    return score_signed(loaded, [b.to(loaded.device) for b in batches], matrices=matrices, progress=progress)


def _times_weight(
    loaded: LoadedModel, index: int, sums: dict[str, Float32[Tensor, ...]], where: torch.device
) -> Float32[Tensor, "d_out d_in"]:
    """``W ⊙ ΣG`` of one matrix, in the memory of the sum.

    A second copy of all sums would not fit beside a large model.
    """
    matrix, weight = loaded.table[index], loaded.tensor(index).detach()
    if matrix.param_name not in sums:  # no sample reached it (an expert that was never chosen)
        return torch.zeros_like(weight, dtype=torch.float32, device=where)
    gradient = sums[matrix.param_name] if matrix.expert is None else sums[matrix.param_name][matrix.expert]
    with torch.no_grad():
        return gradient.mul_(weight.to(gradient.device, torch.float32))

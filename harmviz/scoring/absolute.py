"""Absolute SNIP: the utility score, with the absolute value taken per sample before averaging.

    U = E_x∈D |W ⊙ ∇_W L(x)|

Each sample's own gradient of a linear layer is ``G_x = δ_xᵀ a_x`` (``δ_x``: pos × d_out, gradient of the loss at the
layer's output; ``a_x``: pos × d_in, its input). Both are caught by hooks while forward and backward run batched over
activations only: no parameter requires a gradient, so no ``.grad`` is ever made. A layer called several times in one
pass sums its gradients before the absolute value.

Fused expert parameters have no such layer to hook; models with them run one sample at a time, with plain gradients for
the experts only.

Source: Lee, Ajanthan & Torr 2019 (arXiv:1810.02340), eq. 5; Wei et al. 2024 (arXiv:2402.05162), §3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from harmviz.data.encoding import Batch
from harmviz.models.load import LoadedModel
from harmviz.models.rank_messages import Work
from harmviz.scoring.abs_kernel import add_in_tiles, usable
from harmviz.scoring.fitting import in_batches_that_fit
from harmviz.scoring.forward import by_sample, sample_losses
from harmviz.scoring.sharing import batch_shares
from harmviz.scoring.signed import Progress, across_shares, check_losses, sums_devices
from harmviz.scoring.wanda import InputNorms

#: Without the kernel per-sample gradients are made in row blocks of at most this many bytes: on a CPU so that they stay
#: in its cache.
BLOCK_BYTES = 2 << 20
BLOCK_BYTES_CUDA = 1 << 28


def add_abs_gradients(
    total: Float32[Tensor, "m n"], left: Float[Tensor, "batch pos m"], right: Float[Tensor, "batch pos n"]
) -> None:
    """``total += Σ_b |left_bᵀ right_b|``, in place, accumulated in float32.

    On a GPU by a kernel that makes no product of a sample (``abs_kernel``); elsewhere, and where ``total`` is kept in
    main memory, by row blocks of all samples' products, which have the dtype of ``left``.
    """
    if not left.numel() or not right.numel():
        return
    if usable(total, left, right):
        return add_in_tiles(total, left, right)
    batch, _, m = left.shape
    budget = BLOCK_BYTES if left.device.type == "cpu" else BLOCK_BYTES_CUDA
    step = max(1, min(m, budget // (4 * batch * right.shape[2])))
    for start in range(0, m, step):
        block = torch.bmm(left[:, :, start : start + step].transpose(1, 2), right)
        total[start : start + step] += block.float().abs_().sum(0).to(total.device)


class _Capture:
    """Hooks on one module: pairs each call's input with the gradient at its output, then adds |δᵀa| to ``total``."""

    def __init__(self, module: nn.Module, total: Float32[Tensor, "d_out d_in"], transposed: bool):
        self.total, self.transposed = total, transposed
        self.calls = 0
        self.n_samples = 1  # of the batch at hand
        self.pending: list[tuple[Tensor, Tensor]] = []
        self.handle = module.register_forward_hook(self._forward)

    def _forward(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        self.calls += 1
        activation = by_sample(inputs[0].detach(), self.n_samples)
        output.register_hook(lambda delta: self._backward(activation, delta))

    def _backward(self, activation: Float[Tensor, "batch pos d_in"], delta: Tensor) -> None:
        self.pending.append((activation, by_sample(delta.detach(), self.n_samples)))
        if len(self.pending) == self.calls:  # else the same weights were used again in this pass: wait for all uses
            self.add()

    def add(self) -> None:
        """Adds what this pass has caught, and forgets it. A use that no gradient reached adds nothing."""
        if not self.pending:
            return self.reset()
        # The gradients of several uses add up if their positions are strung together: Σ_k δ_kᵀ a_k.
        a = torch.cat([p[0] for p in self.pending], dim=1) if len(self.pending) > 1 else self.pending[0][0]
        d = torch.cat([p[1] for p in self.pending], dim=1) if len(self.pending) > 1 else self.pending[0][1]
        add_abs_gradients(self.total, a, d) if self.transposed else add_abs_gradients(self.total, d, a)
        self.reset()

    def reset(self) -> None:
        self.calls = 0
        self.pending.clear()


def score_absolute(
    loaded: LoadedModel,
    batches: Sequence[Batch],
    *,
    matrices: Sequence[int] | None = None,
    norms: InputNorms | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Float32[Tensor, "d_out d_in"]]:
    """``Σ_x |W ⊙ ∇_W L(x)|`` per scored matrix, float32, as stored; divide by the number of samples for U.

    Args:
        matrices: which of the table (None: all).
        norms: sees the same passes, so that Wanda's scores of these samples cost none of their own.

    Raises:
        ValueError: no batches, or a batch of several samples on a model with fused experts (its experts' gradients
            cannot be told apart by sample; use batches of one).
        HarmvizError: the loss is NaN or infinite. OutOfMemory: one sample alone does not fit on the device.
    """
    if not batches:
        raise ValueError("batches must hold at least one sample, got none")
    chosen = range(len(loaded.table)) if matrices is None else matrices
    if any(loaded.table[i].expert is not None for i in chosen) and any(b.n_samples > 1 for b in batches):
        raise ValueError("a model with fused experts needs batches of one sample for the absolute score")
    if (ranks := loaded.sharing) is not None:
        options: dict[str, Any] = {"matrices": tuple(chosen), "with_norms": norms is not None}
        here = partial(absolute_share, **options, progress=across_shares(progress, sum(b.n_samples for b in batches)))
        sums = ranks.added(loaded, Work("absolute_share", options), batch_shares(batches, ranks.n), here)
        if norms is not None:
            for square, more in zip(norms.squares, sums[len(chosen) :], strict=True):
                square += more
        return sums[: len(chosen)]
    norms_before = [] if norms is None else [square.clone() for square in norms.squares]

    def scored(batches: Sequence[Batch]) -> list[Float32[Tensor, "d_out d_in"]]:
        if norms is not None:
            for square, before in zip(norms.squares, norms_before, strict=True):
                square.copy_(before)
        return _sums(loaded, batches, chosen, norms, progress)

    with loaded.lock:
        return in_batches_that_fit(batches, scored)


def absolute_share(
    loaded: LoadedModel,
    batches: Sequence[Batch],
    *,
    matrices: Sequence[int],
    with_norms: bool,
    progress: Progress = lambda done, total: None,
) -> list[Float32[Tensor, ...]]:
    """As ``score_absolute``, of batches that lie in main memory; behind it Wanda's sums of squares, if asked for."""
    norms = InputNorms(loaded) if with_norms else None
    here = [b.to(loaded.device) for b in batches]
    totals = score_absolute(loaded, here, matrices=matrices, norms=norms, progress=progress)
    return [*totals, *(norms.squares if norms is not None else ())]


def _sums(
    loaded: LoadedModel,
    batches: Sequence[Batch],
    chosen: Sequence[int],
    norms: InputNorms | None,
    progress: Progress,
) -> list[Float32[Tensor, "d_out d_in"]]:
    """As ``score_absolute``, of these batches as they are."""
    of_table = [loaded.table[i] for i in chosen]
    where = sums_devices(loaded, chosen)
    experts = {m.param_name: loaded.model.get_parameter(m.param_name) for m in of_table if m.expert is not None}
    place = {m.param_name: device for m, device in zip(of_table, where, strict=True)}
    expert_totals = {n: torch.zeros_like(p, dtype=torch.float32, device=place[n]) for n, p in experts.items()}
    totals = [  # views of their parameter's sum for experts: a second one of all of them would fit nowhere
        torch.zeros(m.rows, m.cols, dtype=torch.float32, device=device)
        if m.expert is None
        else expert_totals[m.param_name][m.expert]
        for m, device in zip(of_table, where, strict=True)
    ]
    captures: list[_Capture] = []
    handles: list[RemovableHandle] = []
    done, n_samples = 0, sum(b.n_samples for b in batches)
    with torch.enable_grad(), norms.watching() if norms is not None else nullcontext():
        try:
            for i, matrix, total in zip(chosen, of_table, totals, strict=True):
                if matrix.expert is None:
                    captures.append(_Capture(loaded.modules[i], total, matrix.transposed))
            for name, parameter in experts.items():
                parameter.requires_grad_(True).grad = None
                handles.append(parameter.register_post_accumulate_grad_hook(_move_abs(expert_totals[name])))
            embed = loaded.model.get_input_embeddings()
            for batch in batches:
                for capture in captures:
                    capture.n_samples = batch.n_samples
                if norms is not None:
                    norms.batch = batch
                loaded.check_ids(batch.input_ids)
                # A gradient must reach the first layer's outputs: the embedded tokens are the leaf it flows to.
                embedded = embed(batch.input_ids).detach().requires_grad_(True)
                losses = sample_losses(loaded, batch, inputs_embeds=embedded)
                check_losses(losses, "absolute score")
                losses.sum().backward(inputs=[embedded, *experts.values()])
                del losses  # its graph holds, in the hooks, every layer's input: the next pass needs their memory
                for capture in captures:
                    capture.add()  # a layer whose use in this batch no gradient reached must not wait for it
                done += batch.n_samples
                progress(done, n_samples)
        finally:
            for capture in captures:
                capture.handle.remove()
                capture.reset()
            for handle in handles:
                handle.remove()
            for parameter in experts.values():
                parameter.requires_grad_(False).grad = None
    for i, total in zip(chosen, totals, strict=True):
        total *= loaded.tensor(i).detach().to(total.device, torch.float32).abs()
    return totals


def _move_abs(total: Float32[Tensor, ...]) -> Callable[[Tensor], None]:
    """A hook that adds |gradient| of a parameter to ``total`` as soon as a backward pass has it, and frees it: the
    gradients of all experts together would be as large as the model."""

    def move(parameter: Tensor) -> None:
        assert parameter.grad is not None
        total.add_(parameter.grad.abs_().to(total.device))  # added in float32, whatever its dtype
        parameter.grad = None

    return move

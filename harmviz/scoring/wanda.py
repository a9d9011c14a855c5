"""Wanda and magnitude: scores without gradients, for comparison.

    Wanda      |W_ij| · ‖x_j‖₂       ‖x_j‖₂ over the tokens that predict a response token, root of the sum of squares
    magnitude  |W_ij|

Source: Sun, Liu, Bair & Kolter 2024 (arXiv:2306.11695), eq. 1; restricted to response tokens as in Wei et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from harmviz.data.encoding import Batch
from harmviz.errors import UnsupportedArchitecture
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import by_sample


def score_magnitude(loaded: LoadedModel) -> list[Float32[Tensor, "d_out d_in"]]:
    """``|W|`` per scored matrix, float32, as stored."""
    return [loaded.tensor(i).detach().float().abs() for i in range(len(loaded.table))]


def score_wanda(loaded: LoadedModel, batches: Sequence[Batch]) -> list[Float32[Tensor, "d_out d_in"]]:
    """``|W_ij| · ‖x_j‖₂`` per scored matrix, float32, as stored.

    Raises:
        ValueError: no batches.
        UnsupportedArchitecture: the model has fused experts, whose inputs no module shows.
    """
    if not batches:
        raise ValueError("batches must hold at least one sample, got none")
    if fused := [m.name for m in loaded.table if m.expert is not None]:
        raise UnsupportedArchitecture(
            f"Wanda needs each matrix's inputs; the fused expert {fused[0]} does not show them"
        )
    current: list[Batch] = []
    squares = [torch.zeros(m.rows if m.transposed else m.cols, device=loaded.device) for m in loaded.table]
    handles = []

    def watch(module: nn.Module, total: Float32[Tensor, " d_in"]) -> None:
        def add(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            chosen = by_sample(inputs[0], current[0].n_samples)[current[0].rows, current[0].positions]
            total.add_(chosen.float().square().sum(0))

        handles.append(module.register_forward_pre_hook(add))

    with loaded.lock, torch.inference_mode():
        try:
            for module, total in zip(loaded.modules, squares, strict=True):
                watch(module, total)
            for batch in batches:
                current[:] = [batch]
                loaded.model.base_model(input_ids=batch.input_ids, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
    scores = []
    for i, matrix in enumerate(loaded.table):
        norm = squares[i].sqrt()
        scores.append(loaded.tensor(i).detach().float().abs() * (norm[:, None] if matrix.transposed else norm))
    return scores

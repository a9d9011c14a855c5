"""Wanda and magnitude: scores without gradients, for comparison.

    Wanda      |W_ij| · ‖x_j‖₂       ‖x_j‖₂ over the tokens that predict a response token, root of the sum of squares
    magnitude  |W_ij|

The norms need forward passes alone. Where others run over the same samples (``score_absolute``), they are taken there.

Source: Sun, Liu, Bair & Kolter 2024 (arXiv:2306.11695), eq. 1; restricted to response tokens as in Wei et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from harmviz.data.encoding import Batch
from harmviz.errors import UnsupportedArchitecture
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import by_sample


def score_magnitude(loaded: LoadedModel) -> Iterator[Float32[Tensor, "d_out d_in"]]:
    """``|W|`` per scored matrix, float32, as stored, one after another."""
    return (loaded.tensor(i).detach().float().abs() for i in range(len(loaded.table)))


class InputNorms:
    """``Σ x_j²`` of every scored matrix's inputs, over the tokens that predict a response token of the batches seen.

    Raises:
        UnsupportedArchitecture: the model has fused experts, whose inputs no module shows.
    """

    def __init__(self, loaded: LoadedModel):
        if fused := [m.name for m in loaded.table if m.expert is not None]:
            raise UnsupportedArchitecture(
                f"Wanda needs each matrix's inputs; the fused expert {fused[0]} does not show them"
            )
        self.loaded = loaded
        self.batch: Batch | None = None
        self.squares = [
            torch.zeros(m.rows if m.transposed else m.cols, device=loaded.device_of(i))
            for i, m in enumerate(loaded.table)
        ]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context a forward pass of ``batch``, set before it, adds its inputs."""
        handles = []
        try:
            for module, total in zip(self.loaded.modules, self.squares, strict=True):
                handles.append(module.register_forward_pre_hook(partial(self._add, total)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, total: Float32[Tensor, " d_in"], _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert self.batch is not None, "a pass is announced before it runs"
        hidden = by_sample(inputs[0].detach(), self.batch.n_samples)
        chosen = hidden[self.batch.rows.to(hidden.device), self.batch.positions.to(hidden.device)]
        total.add_(chosen.float().square().sum(0))

    def scores(self) -> Iterator[Float32[Tensor, "d_out d_in"]]:
        """``|W_ij| · ‖x_j‖₂`` per scored matrix, float32, as stored, one after another."""
        for i, (matrix, squares) in enumerate(zip(self.loaded.table, self.squares, strict=True)):
            norm = squares.sqrt()
            yield self.loaded.tensor(i).detach().float().abs() * (norm[:, None] if matrix.transposed else norm)


def input_norms(loaded: LoadedModel, batches: Sequence[Batch]) -> InputNorms:
    """The norms over these batches, in passes of their own.

    Raises:
        ValueError: no batches.
        UnsupportedArchitecture: as ``InputNorms``.
    """
    if not batches:
        raise ValueError("batches must hold at least one sample, got none")
    norms = InputNorms(loaded)
    with loaded.lock, torch.inference_mode(), norms.watching():
        for norms.batch in batches:
            loaded.model.base_model(input_ids=norms.batch.input_ids, use_cache=False)
    return norms


def score_wanda(loaded: LoadedModel, batches: Sequence[Batch]) -> list[Float32[Tensor, "d_out d_in"]]:
    """``|W_ij| · ‖x_j‖₂`` per scored matrix, float32, as stored. Errors as ``input_norms``."""
    return list(input_norms(loaded, batches).scores())

"""Scored weights while they are fine-tuned, with pruned ones held at exactly zero.

    low rank      W′ = (1 − M) ⊙ (W + s·B A)        in every forward pass
    full          W′ ← (1 − M) ⊙ (W′ − step)        after every optimiser step

``M`` is 1 at held weights. Low rank: the product is made dense, matrix by matrix, so that a held weight is the number 0
in the very product that the layer computes and no gradient reaches A or B through it; subtracting its share from a
low-rank forward would cancel to rounding only. That costs one copy of the weights at hand and works for every linear
map that is scored: ``nn.Linear``, ``Conv1D``, slices of fused experts.

Both kinds leave the model as they found it, bit for bit.

Source: Hu et al. 2021, LoRA (arXiv:2106.09685): A uniform in ±1/√d_in, B = 0.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from harmviz.errors import HarmvizError
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.tuning.narrow_settings import NarrowSpec

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from torch import Tensor, nn

    #: Parameter name → flat indices of the held weights in it.
    Held = Mapping[str, Int64[Tensor, " held"]]


def held_indices(loaded: LoadedModel, mask: PruneMask | None) -> dict[str, Int64[Tensor, " held"]]:
    """The mask's weights by parameter: slices of one fused expert parameter are put together."""
    import torch

    parts: dict[str, list[np.ndarray]] = {}
    for name, flat in (mask.indices if mask is not None else {}).items():
        matrix = loaded.table[loaded.table.index_of[name]]
        parts.setdefault(matrix.param_name, []).append(flat.astype(np.int64) + (matrix.expert or 0) * matrix.size)
    return {name: torch.from_numpy(np.concatenate(indices)).to(loaded.device) for name, indices in parts.items()}


class Tuned(Protocol):
    """Weights under fine-tuning. ``weight(name)`` is a parameter as the model would use it now, without gradient."""

    parameters: list[nn.Parameter]
    held: Held

    def training(self) -> AbstractContextManager[None]: ...
    def installed(self) -> AbstractContextManager[None]: ...
    def hold(self) -> None: ...
    def weight(self, name: str) -> Float[Tensor, "*slices rows cols"]: ...
    def state(self) -> dict[str, Float[Tensor, ...]]: ...
    def restore(self, state: Mapping[str, Float[Tensor, ...]]) -> None: ...


def make_tuned(loaded: LoadedModel, spec: NarrowSpec, seed: int, held: Held) -> Tuned:
    """Fresh weights of the spec's method. The low-rank start depends on ``seed`` alone, never on the arm.

    Raises:
        HarmvizError: full tuning of a model that is not in float32, whose small steps would round away; a model that is
            spread over devices.
    """
    loaded.check_on_one_device("fine-tuning")
    if spec.method == "lora":
        return LowRankWeights(loaded, spec.rank, spec.scale, seed, held)
    return FullWeights(loaded, held)


def nonzero_held(tuned: Tuned) -> int:
    """How many held weights are not exactly 0; anything but 0 is a fault of this module."""
    return sum(int(tuned.weight(name).flatten()[index].count_nonzero()) for name, index in tuned.held.items())


@contextmanager
def _put_back(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """After the block every parameter holds the bits it held before."""
    import torch

    before = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(before.pop(name))


# -- low rank ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class LowRank:
    """``W ↦ (1 − M) ⊙ (W + s·B A)``, one pair A, B a slice of fused experts. ``held``: flat indices where M is 1."""

    a: nn.Parameter  # [*slices rank cols]
    b: nn.Parameter  # [*slices rows rank]
    scale: float
    held: Int64[Tensor, " held"] | None

    def __call__(self, weight: Float[Tensor, "*slices rows cols"]) -> Float[Tensor, "*slices rows cols"]:
        import torch

        add = torch.addmm if weight.ndim == 2 else torch.baddbmm
        full = add(weight.float(), self.b, self.a, alpha=self.scale)
        if self.held is not None:
            # In place on a fresh tensor: the product rule of the line above needs none of its values.
            full.view(-1).index_fill_(0, self.held, 0.0)
        return full.to(weight.dtype)

    def as_module(self) -> nn.Module:
        """A module that computes the same: what torch asks for to let it stand in for a parameter."""
        from torch import nn

        low_rank = self

        class StandIn(nn.Module):  # defined here: this module is imported without torch
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = low_rank.a, low_rank.b  # so that they are among the model's parameters

            def forward(self, weight: Tensor) -> Tensor:
                return low_rank(weight)

        return StandIn()


class LowRankWeights:
    """An adapter on every scored matrix; the model's own weights stay as they are."""

    def __init__(self, loaded: LoadedModel, rank: int, scale: float, seed: int, held: Held):
        import torch
        from torch import nn

        self.loaded, self.held = loaded, held
        self._base = loaded.scored_parameters
        self._maps: dict[str, LowRank] = {}
        for name, parameter in self._base.items():
            *slices, rows, cols = parameter.shape
            # A stream for each matrix, drawn on the CPU: the same start on every device. (The generator heeds 32 bits.)
            stream = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            start = (torch.rand(*slices, rank, cols, generator=stream) * 2 - 1) / math.sqrt(cols)
            a = nn.Parameter(start.to(loaded.device))
            b = nn.Parameter(torch.zeros(*slices, rows, rank, device=loaded.device))
            self._maps[name] = LowRank(a, b, scale, held.get(name))
        self.parameters = [p for m in self._maps.values() for p in (m.a, m.b)]

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within it every forward pass uses the tuned weights, and gradients reach the adapter."""
        from torch.nn.utils import parametrize

        adapted: list[tuple[nn.Module, str]] = []
        try:
            for name, low_rank in self._maps.items():
                owner, _, leaf = name.rpartition(".")
                module = self.loaded.model.get_submodule(owner)
                parametrize.register_parametrization(module, leaf, low_rank.as_module())
                adapted.append((module, leaf))
            yield
        finally:
            for module, leaf in reversed(adapted):
                parametrize.remove_parametrizations(module, leaf, leave_parametrized=False)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within it the tuned weights stand in the model as plain weights."""
        import torch

        with _put_back(self._base), torch.no_grad():
            for name, parameter in self._base.items():
                parameter.copy_(self._maps[name](parameter))
            yield

    def hold(self) -> None:
        """Nothing to do: held weights are 0 in every forward pass."""

    def weight(self, name: str) -> Float[Tensor, "*slices rows cols"]:
        """The parameter with its adapter, without gradient."""
        import torch

        with torch.no_grad():
            return self._maps[name](self._base[name])

    def state(self) -> dict[str, Float[Tensor, ...]]:
        """``<parameter>/a`` and ``<parameter>/b``, the halves of every adapter."""
        return {f"{name}/{half}": getattr(m, half).detach() for name, m in self._maps.items() for half in ("a", "b")}

    def restore(self, state: Mapping[str, Float[Tensor, ...]]) -> None:
        """Nothing; the adapters hold the values of a ``state``."""
        import torch

        with torch.no_grad():
            for name, m in self._maps.items():
                m.a.copy_(state[f"{name}/a"])
                m.b.copy_(state[f"{name}/b"])


# -- full -------------------------------------------------------------------------------------------------------------
class FullWeights:
    """Every scored weight is trained itself. The tuned values live here; the model holds them in the contexts only.

    Raises:
        HarmvizError: the model is not in float32.
    """

    def __init__(self, loaded: LoadedModel, held: Held):
        import torch

        if loaded.dtype != torch.float32:
            raise HarmvizError(
                f"full tuning needs float32 weights, got {loaded.dtype}; use --dtype float32 or --method lora"
            )
        self.loaded, self.held = loaded, held
        self._base = loaded.scored_parameters
        self.parameters = list(self._base.values())
        self._values: Mapping[str, Float[Tensor, "*slices rows cols"]] | None = None

    @contextmanager
    def _in_place(self, *, train: bool) -> Iterator[None]:
        import torch

        handles = []
        with _put_back(self._base):
            try:
                with torch.no_grad():
                    for name, value in (self._values or {}).items():
                        self._base[name].copy_(value)
                self._values = None
                for name, parameter in self._base.items():
                    parameter.requires_grad_(train)
                    if train and name in self.held:
                        handles.append(parameter.register_hook(self._without_held(name)))
                yield
            finally:
                for handle in handles:
                    handle.remove()
                self._values = {name: p.detach().clone() for name, p in self._base.items()}
                for parameter in self._base.values():
                    parameter.requires_grad_(False)
                    parameter.grad = None

    def _without_held(self, name: str) -> Callable[[Tensor], Tensor]:
        def zeroed(gradient: Tensor) -> Tensor:
            gradient = gradient.clone()
            gradient.view(-1).index_fill_(0, self.held[name], 0.0)
            return gradient

        return zeroed

    def training(self) -> AbstractContextManager[None]:
        """As ``LowRankWeights.training``; gradients of held weights are 0, so that clipping does not count them."""
        return self._in_place(train=True)

    def installed(self) -> AbstractContextManager[None]:
        """As ``LowRankWeights.installed``."""
        return self._in_place(train=False)

    def hold(self) -> None:
        """Puts every held weight back to 0; called after each step."""
        import torch

        with torch.no_grad():
            for name, index in self.held.items():
                self._base[name].view(-1).index_fill_(0, index, 0.0)

    def weight(self, name: str) -> Float[Tensor, "*slices rows cols"]:
        """The parameter's tuned values, without gradient."""
        return (self._values or self._base)[name].detach()

    def state(self) -> dict[str, Float[Tensor, ...]]:
        """The tuned values of every parameter."""
        return {name: self.weight(name) for name in self._base}

    def restore(self, state: Mapping[str, Float[Tensor, ...]]) -> None:
        """Nothing; the tuned values are those of a ``state``."""
        self._values = {name: state[name].to(self.loaded.device) for name in self._base}

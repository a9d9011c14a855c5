"""Side by side: K variants of one model (intact, mask A, mask B, a control…) as the rows of one batch.

All rows run through the *same, untouched* weights W. Zeroing the mask's weights M_k to strength s_k would make a linear
layer compute ``(W − s_k · W∘M_k) x_k``; so wherever a mask touches a layer, a forward hook adds the missing part to
that variant's row, and to no other:

    y_k  ←  y_k − s_k · (W∘M_k) x_k        x: K × T × d_in,  y: K × T × d_out

``W∘M_k`` has a handful of entries per matrix, and those of one output of one variant lie side by side (a *bag*): a bag
is gathered, multiplied and summed up in float32, in the order of its entries, and added to its output once. So no two
additions meet in one place, and the result is the same each time, on CUDA too, where a scatter-add with repeated places
sums in no fixed order. The bags of all variants of a layer share one call. Strength is a factor of its own: a slider
moves it without a rebuild.

The result equals the in-place one (``harmviz.masks.apply``) up to the rounding of ``a + b − b``: atol 1e-3, rtol 1e-4
on float32 logits; in bfloat16 the difference has bfloat16's size.

One kind of weight cannot be done this way: an expert of a mixture sees only the tokens routed to it, and a token no
longer knows whose row it was. See ``expert_matrix``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from harmviz.errors import UnsupportedArchitecture
from harmviz.masks.apply import check_mask, check_strength, warn_if_unchanged
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel

#: Entries times tokens that a prefill corrects at once: bounds the index tensors of a long prompt to 32 MB each.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Variant:
    """One pane: the model with ``mask`` at ``strength`` (0 … 1), or the intact model where ``mask`` is None."""

    name: str
    mask: PruneMask | None = None
    strength: float = 1.0


def check_variants(loaded: LoadedModel, variants: Sequence[Variant]) -> None:
    """Nothing, if all variants can be played on this model.

    Raises:
        ValueError: there is none, or a strength is not a finite number in [0, 1].
        MaskInvalid: a mask is measurement-only, made for other weights, or does not fit.
    """
    if not variants:
        raise ValueError("variants must name at least one variant, got none")
    for variant in variants:
        check_strength(variant.strength)
        if variant.mask is not None:
            check_mask(loaded, variant.mask)


def expert_matrix(loaded: LoadedModel, variants: Sequence[Variant]) -> str | None:
    """The first weight matrix of a routed expert that a variant's mask touches, or None if all can run side by side."""
    for variant in variants:
        for name in variant.mask.indices if variant.mask else ():
            if loaded.table[loaded.table.index_of[name]].expert is not None or "experts" in name.split("."):
                return name
    return None


class _Correction:
    """The forward hook of one linear module. Bag b adds ``Σ_i weight[i] · x[source[i]]`` over its entries
    ``i ∈ [start[b], start[b + 1])`` to ``y[target[b]]``.

    All four are views of the flat tensors that ``SideBySide`` fills: ``source`` counts through the variants' inputs
    (``row · d_in + in_unit``), ``target`` through their outputs (``row · d_out + out_unit``, no place twice), and
    ``weight`` is −s·w in float32.
    """

    source: Int64[Tensor, " entry"]
    weight: Float32[Tensor, " entry"]
    start: Int64[Tensor, " bag+1"]
    target: Int64[Tensor, " bag"]

    def __init__(self, name: str, n_rows: int, d_in: int, d_out: int):
        self.name, self.n_rows, self.d_in, self.d_out = name, n_rows, d_in, d_out
        self.fired = False

    def __call__(
        self, module: nn.Module, args: tuple[Float[Tensor, "variant pos d_in"]], out: Float[Tensor, "variant pos d_out"]
    ) -> None:
        x = args[0]
        n_tokens, rest = divmod(x.numel(), self.n_rows * self.d_in)
        if rest:
            raise ValueError(
                f"{self.name} was given {tuple(x.shape)}, which is not {self.n_rows} rows; feed one row per variant"
            )
        self.fired = True
        y = out.view(-1)  # view, not reshape: out must be changed itself, not a copy of it
        if n_tokens == 1:
            self._add(y, self.target, x.reshape(-1, 1), self.source)
            return
        # Row k starts n_tokens · d later instead of d later; token t lies t · d further on.
        x, entry = x.reshape(-1), torch.arange(len(self.source), device=x.device)
        source = self._in_rows_of(n_tokens, self.source, self.d_in)
        target = self._in_rows_of(n_tokens, self.target, self.d_out)
        step = max(1, _CHUNK // len(source))
        for begin in range(0, n_tokens, step):
            t = torch.arange(begin, min(begin + step, n_tokens), device=x.device)
            self._add(y, (target + t * self.d_out).view(-1), x[source + t * self.d_in], entry)

    @staticmethod
    def _in_rows_of(n_tokens: int, place: Int64[Tensor, " n"], d: int) -> Int64[Tensor, "n 1"]:
        """Where in rows of ``n_tokens`` · d numbers lies, at token 0, what lies at ``place`` in rows of d."""
        return (place + place.div(d, rounding_mode="floor") * ((n_tokens - 1) * d))[:, None]

    def _add(
        self,
        y: Float[Tensor, " n"],
        target: Int64[Tensor, " m"],
        x: Float[Tensor, "source pos"],
        source: Int64[Tensor, " entry"],
    ) -> None:
        """Adds the bags' sums, taken at each position, to the places ``target`` of y; these are all different."""
        sums = torch.embedding_bag(x.float(), source, self.start, False, 0, False, self.weight, True)[0].view(-1)
        y.index_add_(0, target, sums if y.dtype == sums.dtype else sums.to(y.dtype))


class _Share:
    """The corrections of the matrices that lie on one device: hooks that are views of flat tensors there.

    ``corrections``: each with the module that it is a hook of. ``n_nonzero``: of each variant, how many of its masks'
    weights here are not 0 anyway.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        device: torch.device,
        entries: Mapping[int, Sequence[tuple[int, Int64[np.ndarray, " k"]]]],
        n_rows: int,
    ):
        self.corrections: list[tuple[nn.Module, _Correction]] = []
        rows, sources, starts, targets, weights = [], [], [], [], []
        for place, parts in sorted(entries.items()):
            matrix = loaded.table[place]
            flat = np.concatenate([f for _, f in parts])
            row = np.repeat([k for k, _ in parts], [len(f) for _, f in parts])
            out_unit, in_unit = matrix.out_in(flat)
            d_out, d_in = (matrix.cols, matrix.rows) if matrix.transposed else (matrix.rows, matrix.cols)
            target = row * d_out + out_unit
            order = np.argsort(target, kind="stable")
            flat, row, in_unit = flat[order], row[order], in_unit[order]
            bags, start = np.unique(target[order], return_index=True)
            rows.append(row)
            sources.append(row * d_in + in_unit)
            starts.append(np.append(start, len(flat)))
            targets.append(bags)
            stored = torch.from_numpy(np.stack(np.divmod(flat, matrix.cols))).to(device)
            weights.append(loaded.tensor(place)[stored[0], stored[1]].detach().float())
            self.corrections.append((loaded.modules[place], _Correction(matrix.name, n_rows, d_in, d_out)))

        def moved(parts: list[np.ndarray]) -> Tensor:  # one transfer for all matrices
            return torch.from_numpy(np.concatenate(parts)).to(device)

        self._row = moved(rows)
        self._minus_weight = -torch.cat(weights)
        self._scaled = torch.empty_like(self._minus_weight)
        flats = (moved(sources), self._scaled, moved(starts), moved(targets))
        lengths = [list(map(len, parts)) for parts in (sources, weights, starts, targets)]
        views = (flat.split(n) for flat, n in zip(flats, lengths, strict=True))
        for (_, c), source, weight, start, target in zip(self.corrections, *views, strict=True):
            c.source, c.weight, c.start, c.target = source, weight, start, target
        self.n_nonzero = torch.bincount(self._row[self._minus_weight != 0], minlength=n_rows).tolist()

    def rescale(self, strengths: Sequence[float]) -> None:
        """Takes each variant's strength into its weights."""
        strength = torch.tensor(strengths, dtype=self._scaled.dtype, device=self._scaled.device)
        torch.mul(self._minus_weight, strength[self._row], out=self._scaled)  # in place: the hooks hold views of it


class SideBySide:
    """The corrections of K variants, ready to be switched on around forward passes of K rows.

    Weight values are read from the live model when this is made: make a new one if the weights change.

    Raises:
        ValueError, MaskInvalid: see ``check_variants``.
        UnsupportedArchitecture: a mask touches an expert of a mixture; the message names the matrix. Apply such a mask
            in place (``pruned``), as ``decode`` does of its own accord.
    """

    def __init__(self, loaded: LoadedModel, variants: Sequence[Variant]):
        check_variants(loaded, variants)
        if (name := expert_matrix(loaded, variants)) is not None:
            raise UnsupportedArchitecture(
                f"{name} belongs to a routed expert and cannot be masked side by side; apply the mask in place instead"
            )
        self.loaded = loaded
        self.variants = tuple(variants)
        with loaded.lock:
            self._build()

    def _build(self) -> None:
        table = self.loaded.table
        # device → matrix → (variant, flat indices)
        entries: dict[torch.device, dict[int, list[tuple[int, np.ndarray]]]] = {}
        for k, variant in enumerate(self.variants):
            for name, flat in variant.mask.indices.items() if variant.mask else ():
                place = table.index_of[name]
                on_device = entries.setdefault(self.loaded.device_of(place), {})
                on_device.setdefault(place, []).append((k, flat.astype(np.int64)))
        self._strengths = [float(v.strength) for v in self.variants]
        self._shares = [_Share(self.loaded, device, parts, len(self.variants)) for device, parts in entries.items()]
        self._rescale()
        for k, variant in enumerate(self.variants):
            if variant.mask is not None:
                n_changed = sum(share.n_nonzero[k] for share in self._shares)
                warn_if_unchanged(n_changed, variant.strength, variant.mask.n_weights, f"the mask of {variant.name!r}")

    def _rescale(self) -> None:
        for share in self._shares:
            share.rescale(self._strengths)

    def set_strength(self, variant: int, strength: float) -> None:
        """Moves one variant's strength, from the next forward pass on.

        Raises:
            ValueError: strength is not a finite number in [0, 1].
            IndexError: there is no such variant.
        """
        self._strengths[variant] = check_strength(strength)
        with self.loaded.lock:
            self._rescale()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Hooks on, under the model's lock; off again whatever happens. Feed batches of one row per variant inside.

        Raises:
            UnsupportedArchitecture: on leaving: the model ran, but a masked layer was never called as a module, so
                that its mask had no effect.
        """
        passes: list[bool] = []
        with self.loaded.lock:
            handles = []
            corrections = [pair for share in self._shares for pair in share.corrections]
            try:
                handles.append(self.loaded.model.register_forward_hook(lambda *_: passes.append(True)))
                for module, correction in corrections:
                    correction.fired = False
                    handles.append(module.register_forward_hook(correction))
                yield
            finally:
                for handle in handles:
                    handle.remove()
            idle = [c.name for _, c in corrections if not c.fired]
            if idle and passes:
                raise UnsupportedArchitecture(
                    f"{idle[0]}{f' and {len(idle) - 1} more' if idle[1:] else ''} did not run as a layer of its own, "
                    "so its mask had no effect side by side; apply the mask in place instead"
                )


@contextmanager
def side_by_side(loaded: LoadedModel, variants: Sequence[Variant]) -> Iterator[SideBySide]:
    """``SideBySide(loaded, variants)``, active for as long as the context lasts. Row k of every batch is variant k.

    Raises:
        ValueError, MaskInvalid, UnsupportedArchitecture: see ``SideBySide``.
    """
    rows = SideBySide(loaded, variants)
    with rows.active():
        yield rows

"""Forward passes over K variants with their key-value caches: side by side where possible, else one after another.

Both kinds take the next token ids of all rows and return the next-token logits of all rows; between two calls the model
is clean (no hooks, no pruned weights, lock free), so that a decode abandoned half-way leaves nothing behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from transformers import PreTrainedModel

from harmviz.generation.few_rows import few_rows
from harmviz.generation.variants import SideBySide, Variant, check_variants, expert_matrix
from harmviz.masks.apply import PreparedMask, warn_if_unchanged
from harmviz.models.load import LoadedModel


class Passes(Protocol):
    """``passes(ids)``: from the tokens not yet seen to the logits of the token after the last."""

    def __call__(self, ids: Int64[Tensor, "variant pos"]) -> Float32[Tensor, "variant d_vocab"]: ...


def pass_options(model: PreTrainedModel) -> dict[str, Any]:
    """The arguments of a decoding pass: with a cache, and logits of the last position only where the model can.

    Logits of earlier positions are never used, and in a small model ``lm_head`` is a fifth of the work.
    """
    options: dict[str, Any] = {"use_cache": True}
    if accepts(model, "logits_to_keep"):
        options["logits_to_keep"] = 1
    return options


def accepts(model: PreTrainedModel, argument: str) -> bool:
    """Whether the model's forward takes an argument of this name."""
    return argument in inspect.signature(model.forward).parameters


def last_logits(
    model: PreTrainedModel, ids: Int64[Tensor, "batch pos"], cache: Any, **options: Any
) -> tuple[Float32[Tensor, "batch d_vocab"], Any]:
    """(float32 logits after the last position of each row, the cache that the model made or grew).

    ``cache`` is None on the first pass; the model then makes the kind it needs (sliding windows, hybrids).
    """
    with few_rows(model, ids.numel()):
        out = model(input_ids=ids, past_key_values=cache, **options)
    return out.logits[:, -1].float(), out.past_key_values


class RowPasses:
    """All variants as the rows of one batch, one cache: about the cost of one (a decode step is memory-bound)."""

    def __init__(self, loaded: LoadedModel, variants: Sequence[Variant]):
        self._loaded = loaded
        self._rows = SideBySide(loaded, variants)
        self._options = pass_options(loaded.model)
        self._cache: Any = None

    def __call__(self, ids: Int64[Tensor, "variant pos"]) -> Float32[Tensor, "variant d_vocab"]:
        with torch.inference_mode(), self._rows.active():
            logits, self._cache = last_logits(self._loaded.model, ids, self._cache, **self._options)
        return logits


class TurnPasses:
    """Each variant in turn, its mask applied in place for its pass only, a cache of its own: works on every model."""

    def __init__(self, loaded: LoadedModel, variants: Sequence[Variant]):
        check_variants(loaded, variants)
        self._loaded = loaded
        self._variants = tuple(variants)
        self._masks = [None if v.mask is None else PreparedMask(loaded, v.mask) for v in variants]
        self._caches: list[Any] = [None] * len(variants)
        self._options = pass_options(loaded.model)
        self._warned = False

    def __call__(self, ids: Int64[Tensor, "variant pos"]) -> Float32[Tensor, "variant d_vocab"]:
        logits = []
        for k, (variant, mask) in enumerate(zip(self._variants, self._masks, strict=True)):
            with (
                torch.inference_mode(),
                self._loaded.lock,
                mask.applied(variant.strength) if mask is not None else nullcontext() as changed,
            ):
                if changed is not None and not self._warned:
                    what = f"the mask of {variant.name!r}"
                    warn_if_unchanged(changed.n_changed, variant.strength, changed.n_weights, what)
                model, cache = self._loaded.model, self._caches[k]
                row, self._caches[k] = last_logits(model, ids[k : k + 1], cache, **self._options)
            logits.append(row)
        self._warned = True
        return torch.cat(logits)


def runs_side_by_side(loaded: LoadedModel, variants: Sequence[Variant]) -> bool:
    """Whether these variants share their passes; otherwise each step runs them one after another."""
    return expert_matrix(loaded, variants) is None


def make_passes(loaded: LoadedModel, variants: Sequence[Variant]) -> Passes:
    """The fastest kind of passes that these variants allow.

    Raises:
        ValueError, MaskInvalid: see ``check_variants``.
    """
    check_variants(loaded, variants)
    return (RowPasses if runs_side_by_side(loaded, variants) else TurnPasses)(loaded, variants)

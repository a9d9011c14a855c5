"""One forward pass of a batch to per-token losses, with ``lm_head`` applied only where a response token is predicted.

The vocabulary projection is the widest matrix of a small model; prompts and padding have no use for it. A hook on the
output embedding selects the needed positions before the projection, which works for every architecture (whatever
scaling or soft-capping the model applies to its logits comes after, element by element, and stays right).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from harmviz.data.encoding import Batch
from harmviz.errors import UnsupportedArchitecture
from harmviz.models.load import LoadedModel
from harmviz.models.memory import batch_tokens, kept_bytes


@contextmanager
def selected_logits(
    loaded: LoadedModel, rows: Int64[Tensor, " tokens"], positions: Int64[Tensor, " tokens"]
) -> Iterator[None]:
    """Within this context the model's logits are ``[1, tokens, d_vocab]``, at ``(rows[i], positions[i])`` only.

    Raises:
        UnsupportedArchitecture: the model names no output embedding.
    """
    head = loaded.model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise UnsupportedArchitecture(
            f"{type(loaded.model).__name__} names no output embedding; its logits cannot be selected"
        )

    def select(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0]
        # index_select, not advanced indexing: the backward pass of the latter is serial on the CPU
        chosen = hidden.flatten(0, 1).index_select(0, rows * hidden.shape[1] + positions)
        return (chosen.unsqueeze(0), *inputs[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def token_losses(loaded: LoadedModel, batch: Batch, **inputs: Any) -> Float32[Tensor, " tokens"]:
    """−log p(target | context) in nats for every response token of the batch.

    ``inputs`` take the place of ``input_ids`` in the model's call, e.g. ``inputs_embeds``.

    Raises:
        DataInvalid: a text holds a token that the model has no embedding for.
    """
    loaded.check_ids(batch.input_ids)
    with selected_logits(loaded, batch.rows, batch.positions):
        given = inputs or {"input_ids": batch.input_ids}
        logits = loaded.model(**given, use_cache=False).logits[0]
    return functional.cross_entropy(logits.float(), batch.targets, reduction="none")


def sample_losses(loaded: LoadedModel, batch: Batch, **inputs: Any) -> Float32[Tensor, " batch"]:
    """L(x): the mean negative log-likelihood in nats per response token of each sample."""
    losses = token_losses(loaded, batch, **inputs)
    total = torch.zeros(batch.n_samples, dtype=torch.float32, device=losses.device)
    return total.index_add(0, batch.rows, losses) / batch.n_loss


def by_sample(hidden: Float[Tensor, ...], n_samples: int) -> Float[Tensor, "batch pos d"]:
    """``[n_samples, pos, d]`` of a layer's input, or of the gradient at its output.

    Some layers see ``[n_samples · pos, d]`` (OPT's and Qwen2-MoE's MLPs) or ``[n_samples, 1, pos, d]`` (DeepSeek-V3's
    latents).
    """
    return hidden if hidden.ndim == 3 else hidden.reshape(n_samples, -1, hidden.shape[-1])


def default_batch_tokens(loaded: LoadedModel) -> int:
    """Padded tokens per batch, see ``batch_tokens``."""
    config, table, width = loaded.model.config.get_text_config(), loaded.table, loaded.dtype.itemsize
    activations = table.activations_per_token(getattr(config, "num_experts_per_tok", None))
    return batch_tokens(
        on_gpu=loaded.device.type != "cpu",
        vocabulary=int(config.vocab_size),
        kept=kept_bytes(activations, width),
        resident=width * loaded.n_parameters + 4 * table.n_weights,
    )

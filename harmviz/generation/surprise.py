"""How surprising a text is to the intact model, token by token.

    surprise[t] = −log p(token t | context, tokens before t)       nats, teacher-forced, at temperature 1

Always the *intact* model's, whoever wrote the text: a pruned model's own likelihood flatters what it likes to repeat.
``exp(mean surprise)`` is the text's perplexity.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch

from harmviz.data.encoding import Sample, make_batches
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import default_batch_tokens, token_losses


def surprises(
    loaded: LoadedModel,
    context_ids: Sequence[int],
    answers: Sequence[Sequence[int]],
    *,
    stop: threading.Event | None = None,
) -> list[tuple[float, ...]] | None:
    """Per answer the surprise of each of its tokens in nats; None if ``stop`` was set before all were known.

    Args:
        loaded: the intact model; its lock is held for one batch at a time.
        context_ids: what all answers follow: the prompt, chat template and opening words included.
        answers: token ids; an empty answer gives an empty tuple.
        stop: checked before every batch.

    Raises:
        ValueError: there is no context, so that the first token would be predicted from nothing.
    """
    if not context_ids:
        raise ValueError("context_ids must hold at least one token, got none")
    n_context = len(context_ids)
    written = [k for k, answer in enumerate(answers) if answer]
    samples = [Sample(f"answer {k}", "", (*context_ids, *answers[k]), n_context, n_context) for k in written]
    surprise: list[tuple[float, ...]] = [()] * len(answers)
    for batch in make_batches(samples, max_tokens=default_batch_tokens(loaded), device=loaded.device):
        if stop is not None and stop.is_set():
            return None
        with loaded.lock, torch.inference_mode():
            losses = token_losses(loaded, batch).cpu()
        for place, part in zip(batch.index, losses.split(batch.n_loss.tolist()), strict=True):
            surprise[written[place]] = tuple(part.tolist())
    return surprise


def perplexity(surprise: Sequence[float]) -> float | None:
    """``exp(mean surprise)``, or None where there is no token."""
    if not surprise:
        return None
    mean = math.fsum(surprise) / len(surprise)
    return math.exp(mean) if mean < 700 else math.inf  # exp(710) is past the largest float

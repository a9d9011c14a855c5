"""Plain greedy answers to many different prompts, batched: the model's own answers, and generation for evaluation.

Prompts of unlike length share a batch by padding on the left, where attention ignores it and positions count from each
prompt's own first token; so each answer is the one that the prompt alone would get, up to near-ties in the logits.
The weights are taken as they are: call it inside ``pruned(…)`` for a pruned model's answers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from harmviz.errors import Cancelled
from harmviz.generation.decode import check_length, context_length
from harmviz.generation.passes import accepts, last_logits, pass_options
from harmviz.generation.sampling import end_tokens
from harmviz.generation.steps import Endings, Gatherer, Step
from harmviz.models.load import LoadedModel
from harmviz.models.processes import available, shares, spread
from harmviz.models.rank_messages import Work

#: Rows that have ended are dropped from the batch once this share of it is left: copying the cache costs about a step.
_KEEP = 0.75


def generate_batch(
    loaded: LoadedModel,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: threading.Event | None = None,
    batch_size: int = 16,
) -> list[list[int]]:
    """The greedy answer of each prompt in order, without end tokens; [] where the model ends at once.

    Args:
        loaded: the model; its lock is held for a batch at a time.
        prompts_ids: token ids of each prompt, chat template included.
        max_new_tokens: the limit per answer; the model's context may end one sooner.
        stop: checked at every step.
        batch_size: prompts decoded together at most; those of like length are put together.

    Raises:
        ValueError: a prompt is empty or fills the context, or a number is below 1.
        Cancelled: ``stop`` was set; half an answer is no answer, so none is returned.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    limits = [check_length(loaded, len(p), max_new_tokens) for p in prompts_ids]
    order = sorted(range(len(prompts_ids)), key=lambda i: len(prompts_ids[i]))
    # Each process is to have a batch of its own; who can stop it watches from another thread of this one.
    ranks = loaded.sharing if stop is None else None
    n_processes = (ranks.n if ranks is not None else available(loaded)) if stop is None else 1
    size = min(batch_size, max(1, math.ceil(len(order) / n_processes)))
    batches = [order[start : start + size] for start in range(0, len(order), size)]

    def answer(place: int) -> list[list[int]]:
        batch = batches[place]
        gatherer = Gatherer(len(batch))
        with loaded.lock:
            for step in _steps(loaded, [list(prompts_ids[i]) for i in batch], [limits[i] for i in batch], stop):
                gatherer.push(step)
        if any(a.finished is None for a in gatherer.answers):
            raise Cancelled(f"generation was stopped after {size * place} of {len(order)} prompts")
        return [a.token_ids for a in gatherer.answers]

    costs = [sum(len(prompts_ids[i]) + limits[i] for i in batch) for batch in batches]
    if ranks is not None:
        # Each rank puts its share, which comes in whole batches, into the same batches again.
        of_rank = [[i for place in share for i in batches[place]] for share in shares(costs, ranks.n)]
        work = Work("generate_batch", {"max_new_tokens": max_new_tokens, "batch_size": size})
        return ranks.scattered(loaded, work, prompts_ids, of_rank)
    places = range(len(batches))
    found = spread(loaded, answer, places, costs) if stop is None else list(map(answer, places))
    answers: list[list[int]] = [[] for _ in prompts_ids]
    for batch, texts in zip(batches, found, strict=True):
        for i, token_ids in zip(batch, texts, strict=True):
            answers[i] = token_ids
    return answers


@torch.inference_mode()
def _steps(
    loaded: LoadedModel, prompts: list[list[int]], limits: list[int], stop: threading.Event | None
) -> Iterator[Step]:
    """One step after another of a batch, a row for each prompt, until all have ended or ``stop`` is set."""
    model, device = loaded.model, loaded.device
    endings = Endings(limits, end_tokens(loaded))
    longest = max(map(len, prompts))
    # Any id does for padding: nothing attends to it.
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    loaded.check_ids(ids)
    seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (seen.cumsum(-1) - 1).clamp(min=0)
    takes_positions, options = accepts(model, "position_ids"), pass_options(model)
    furthest = (context_length(loaded) or 1 << 62) - 1
    unmeasured = (None,) * len(prompts)
    rows = list(range(len(prompts)))  # rows[r] is the prompt in row r of the batch
    cache: Any = None
    for index in range(max(limits)):
        if stop is not None and stop.is_set():
            return
        if takes_positions:
            options["position_ids"] = positions
        logits, cache = last_logits(model, ids, cache, attention_mask=seen, **options)
        chosen = logits.argmax(-1)
        tokens = endings.take(rows, chosen.tolist())
        yield Step(index, tokens, logprobs=unmeasured, divergence=unmeasured, finished=tuple(endings.finished))
        going = [r for r, i in enumerate(rows) if endings.finished[i] is None]  # the rest is fed along, and ignored
        if not going:
            return
        # Of a model over several devices the cache's layers lie where theirs do: all rows are fed along there.
        if not loaded.others and len(going) <= _KEEP * len(rows) and hasattr(cache, "batch_select_indices"):
            kept = torch.tensor(going, device=device)
            cache.batch_select_indices(kept)
            chosen, seen, positions = chosen[kept], seen[kept], positions[kept]
            rows = [rows[r] for r in going]
        ids = chosen[:, None]
        seen = torch.cat([seen, seen.new_ones(len(rows), 1)], dim=-1)
        positions = (positions[:, -1:] + 1).clamp(max=furthest)  # a row that has ended must not run past the context

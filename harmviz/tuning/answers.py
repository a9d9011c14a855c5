"""The start model's own answers: what a ladder teaches with, and keeps in scratch (never in git) while it is made.

Helpful answers are *sampled* at temperature 1, not greedy: under its own distribution a model's expected gradient is
zero, so they hold it where it is, while greedy answers would sharpen it and raise the loss of texts by others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harmviz.data.encoding import encode_prompt
from harmviz.generation.batch import generate_batch
from harmviz.generation.sampling import end_tokens
from harmviz.models.load import LoadedModel
from harmviz.models.processes import spread

BATCH = 64
Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Answer:
    """Token ids of one answer without its end token; ``ended``: the model ended it itself, before the limit."""

    ids: tuple[int, ...]
    ended: bool


def answers_of(token_ids: Sequence[Sequence[int]], limit: int) -> list[Answer]:
    """The answers of at most ``limit`` tokens that these token ids are."""
    return [Answer(tuple(ids), len(ids) < limit) for ids in token_ids]


def sampled(loaded: LoadedModel, prompts: Sequence[str], limit: int, *, seed: int, tick: Tick) -> list[list[int]]:
    """Token ids of one answer of at most ``limit`` tokens a prompt, drawn at temperature 1."""
    import torch

    def draw(part: Sequence[list[int]], start: int) -> list[list[int]]:
        torch.manual_seed(seed * 100_003 + start)
        return _sample(loaded, part, limit)

    return _in_batches(loaded, prompts, draw, tick)


def greedy(loaded: LoadedModel, prompts: Sequence[str], limit: int, *, opener: str = "", tick: Tick) -> list[list[int]]:
    """Token ids of the greedy answer of at most ``limit`` tokens to each prompt, behind the opener."""

    def decode(part: Sequence[list[int]], _start: int) -> list[list[int]]:
        return generate_batch(loaded, part, limit, batch_size=BATCH)

    return _in_batches(loaded, prompts, decode, tick, opener)


def _in_batches(
    loaded: LoadedModel,
    prompts: Sequence[str],
    answer: Callable[[Sequence[list[int]], int], list[list[int]]],
    tick: Tick,
    opener: str = "",
) -> list[list[int]]:
    begun = loaded.tokenizer.encode(opener, add_special_tokens=False) if opener else []
    ids = [[*encode_prompt(loaded.tokenizer, p), *begun] for p in prompts]
    starts = range(0, len(ids), BATCH)
    parts = [ids[start : start + BATCH] for start in starts]
    answers = spread(
        loaded,
        lambda start: answer(ids[start : start + BATCH], start),
        starts,
        [sum(map(len, part)) for part in parts],
        lambda done: tick(int(done * len(ids)), len(ids)),
    )
    return [answer for part in answers for answer in part]


def _sample(loaded: LoadedModel, prompts: Sequence[list[int]], limit: int) -> list[list[int]]:
    import torch

    ends = end_tokens(loaded)
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=loaded.device)
    seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=loaded.device)
    with loaded.lock, torch.inference_mode():
        model: Any = loaded.model
        drawn = model.generate(
            input_ids=ids,
            attention_mask=seen,
            max_new_tokens=limit,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=sorted(ends),
            pad_token_id=min(ends),
        )
    answers = []
    for row in drawn[:, longest:].tolist():
        stop = next((i for i, token in enumerate(row) if token in ends), len(row))
        answers.append(row[:stop])
    return answers

"""Decode K variants of one prompt in step: a stream of steps for the panes of a page, or the finished answers.

    gatherer = Gatherer(len(variants), loaded.tokenizer)
    for step in decode(loaded, input_ids, variants, max_new_tokens=64, stop=event):
        pieces = gatherer.push(step)           # new text of each pane

Each step is one forward pass for all variants (``generation.passes``). All rows have the same prompt, so there is no
padding; a row that has ended keeps being fed, and ignored, until all have. Panes share one uniform number per step
(``generation.sampling``). Between steps the model is clean and its lock free.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from harmviz.errors import BadSetting
from harmviz.generation.passes import Passes, make_passes, runs_side_by_side
from harmviz.generation.sampling import check_sampling, draw_tokens, end_tokens
from harmviz.generation.steps import Endings, Finished, Gatherer, Step
from harmviz.generation.variants import Variant, check_variants
from harmviz.models.load import LoadedModel


@dataclass(frozen=True)
class Generation:
    """One variant's finished answer; its repr leaves the text out, so that no log shows it.

    ``tokens_per_s`` counts from the start of the prefill to this answer's last token. ``side_by_side`` is False where
    the variants had to take turns (masks on routed experts), which is slower.
    """

    name: str
    mask_digest: str | None
    strength: float
    token_ids: tuple[int, ...] = field(repr=False)
    text: str = field(repr=False)
    tokens_per_s: float
    finished: Finished
    side_by_side: bool


# -- decoding ---------------------------------------------------------------------------------------------------------
def context_length(loaded: LoadedModel) -> int | None:
    """The longest text, in tokens, that the model was made for; None where its config does not say."""
    return getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)


def check_length(loaded: LoadedModel, n_prompt: int, max_new_tokens: int) -> int:
    """How many tokens may follow: max_new_tokens, or fewer where the model's context ends before.

    Raises:
        ValueError: the prompt is empty, max_new_tokens is below 1, or the prompt fills the context.
    """
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise BadSetting(f"max_new_tokens must be a whole number ≥ 1, got {max_new_tokens!r}")
    if n_prompt < 1:
        raise BadSetting("input_ids must hold at least one token, got none")
    context = context_length(loaded)
    if context is not None and n_prompt >= context:
        raise BadSetting(f"the prompt has {n_prompt} tokens and fills {loaded.name}'s context of {context}; shorten it")
    return max_new_tokens if context is None else min(max_new_tokens, context - n_prompt)


def decode(
    loaded: LoadedModel,
    input_ids: Sequence[int],
    variants: Sequence[Variant],
    *,
    max_new_tokens: int,
    prefill_ids: Sequence[int] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[Step]:
    """One ``Step`` after another until every variant has ended, the limit is reached, or ``stop`` is set.

    Args:
        loaded: the model; its lock is taken for each step only.
        input_ids: the prompt, chat template included, up to where the answer begins.
        variants: the panes; variant 0 is the reference of ``Step.divergence``.
        max_new_tokens: the limit per variant; the model's context may end it sooner.
        prefill_ids: opening tokens put into the answer's mouth ("Sure, here is"): context, not output.
        temperature: 0 is greedy.
        top_p: nucleus sampling below 1.
        seed: of the shared draws; equal seeds give equal draws, however many variants there are.
        stop: checked before every step.

    Raises:
        ValueError: an argument is out of its range; at once, not at the first step.
        MaskInvalid: a mask must not be, or cannot be, applied to this model.
        UnsupportedArchitecture: a masked layer has no effect on this model (at the first step).
    """
    check_sampling(temperature, top_p)
    check_variants(loaded, variants)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadSetting(f"seed must be a whole number ≥ 0, got {seed!r}")
    ids = [*input_ids, *prefill_ids]
    limit = check_length(loaded, len(ids), max_new_tokens)
    draws = np.random.default_rng(seed)
    prompt = torch.tensor([ids] * len(variants), device=loaded.device)
    loaded.check_ids(prompt)
    return _steps(loaded, prompt, make_passes(loaded, variants), limit, temperature, top_p, draws, stop)


def _steps(
    loaded: LoadedModel,
    ids: Int64[Tensor, "variant pos"],
    passes: Passes,
    limit: int,
    temperature: float,
    top_p: float,
    draws: np.random.Generator,
    stop: threading.Event | None,
) -> Iterator[Step]:
    n = len(ids)
    endings = Endings([limit] * n, end_tokens(loaded))
    together = [True] * n  # has written the same tokens as variant 0 so far
    for index in range(limit):
        if stop is not None and stop.is_set():
            return
        logits = passes(ids)
        with torch.inference_mode():
            logp = logits.log_softmax(-1)
            chosen = draw_tokens(logits, float(draws.random()), temperature=temperature, top_p=top_p)
            kl = (logp[:1].exp() * (logp[:1] - logp)).sum(-1).clamp(min=0).tolist()
            logprobs = logp.gather(-1, chosen[:, None])[:, 0].tolist()
            drawn = chosen.tolist()
        going = [reason is None for reason in endings.finished]
        tokens = endings.take(range(n), drawn)
        yield Step(
            index,
            tokens,
            logprobs=tuple(p if t is not None else None for p, t in zip(logprobs, tokens, strict=True)),
            divergence=tuple(kl[k] if going[k] and together[k] else None for k in range(n)),
            finished=tuple(endings.finished),
        )
        if all(endings.finished):
            return
        together = [together[k] and drawn[k] == drawn[0] and going[0] for k in range(n)]
        ids = chosen[:, None]


# -- answers ----------------------------------------------------------------------------------------------------------
def generate(
    loaded: LoadedModel,
    input_ids: Sequence[int],
    variants: Sequence[Variant],
    *,
    max_new_tokens: int,
    prefill_ids: Sequence[int] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> list[Generation]:
    """The finished answer of each variant; arguments and errors as for ``decode``."""
    check_variants(loaded, variants)
    gatherer = Gatherer(len(variants), loaded.tokenizer, prefill_ids)
    steps = decode(
        loaded,
        input_ids,
        variants,
        max_new_tokens=max_new_tokens,
        prefill_ids=prefill_ids,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=stop,
    )
    for step in steps:
        gatherer.push(step)
    gatherer.close()
    together = runs_side_by_side(loaded, variants)
    return [
        Generation(
            name=variant.name,
            mask_digest=None if variant.mask is None else variant.mask.digest,
            strength=float(variant.strength),
            token_ids=tuple(answer.token_ids),
            text=answer.text,
            tokens_per_s=answer.tokens_per_s,
            finished=answer.finished or "stopped",
            side_by_side=together,
        )
        for variant, answer in zip(variants, gatherer.answers, strict=True)
    ]

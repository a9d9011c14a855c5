"""Decode K variants of one prompt in step: a stream of steps for the panes of a page, or the finished answers.

    for step in decode(loaded, input_ids, variants, max_new_tokens=64, stop=event):
        pieces = panes.push(step)              # new text of each pane

Each step is one forward pass for all variants (``generation.passes``). All rows have the same prompt, so there is no
padding; a row that has ended keeps being fed, and ignored, until all have. Panes share one uniform number per step
(``generation.sampling``). Between steps the model is clean and its lock free.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from harmviz.errors import BadSetting
from harmviz.generation.passes import Passes, make_passes, runs_side_by_side
from harmviz.generation.sampling import check_sampling, draw_tokens, end_tokens
from harmviz.generation.text import StreamDecoder
from harmviz.generation.variants import Variant, check_variants
from harmviz.models.load import LoadedModel

#: Why an answer ended: an end token, the length limit (or the model's context), or the reader's stop.
Finished = Literal["eos", "length", "stopped"]


@dataclass(frozen=True)
class Step:
    """One step of all K variants.

    ``tokens[k]`` is the new token, or None from the step on at which variant k drew an end token (never shown).
    ``logprobs[k]`` is its log-probability in nats under variant k itself at temperature 1, whatever the temperature of
    the draw. ``divergence[k]`` is KL(variant 0 ‖ variant k) of the next-token distributions in nats, as long as both
    have written the same tokens so far; None afterwards, when they answer different texts.
    ``finished[k]`` is None while variant k goes on.
    """

    index: int
    tokens: tuple[int | None, ...]
    logprobs: tuple[float | None, ...]
    divergence: tuple[float | None, ...]
    finished: tuple[Finished | None, ...]


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
        raise ValueError("input_ids must hold at least one token, got none")
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
    return _steps(loaded, prompt, make_passes(loaded, variants), limit, temperature, top_p, draws, stop)


def _steps(
    loaded: LoadedModel,
    ids: torch.Tensor,
    passes: Passes,
    limit: int,
    temperature: float,
    top_p: float,
    draws: np.random.Generator,
    stop: threading.Event | None,
) -> Iterator[Step]:
    n, ends = len(ids), end_tokens(loaded)
    finished: list[Finished | None] = [None] * n
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
            tokens = chosen.tolist()
        going = [reason is None for reason in finished]
        divergence = tuple(kl[k] if going[k] and together[k] else None for k in range(n))
        for k in range(n):
            if going[k] and tokens[k] in ends:
                finished[k] = "eos"
            elif going[k] and index == limit - 1:
                finished[k] = "length"
            together[k] = together[k] and tokens[k] == tokens[0] and going[0]
        shown = [finished[k] is None or (going[k] and finished[k] == "length") for k in range(n)]
        yield Step(
            index,
            tuple(t if s else None for t, s in zip(tokens, shown, strict=True)),
            tuple(p if s else None for p, s in zip(logprobs, shown, strict=True)),
            divergence,
            tuple(finished),
        )
        if all(finished):
            return
        ids = chosen[:, None]


# -- answers ----------------------------------------------------------------------------------------------------------
class Panes:
    """Gathers the steps of a decode into each variant's text and tokens; make it just before the first step."""

    def __init__(self, loaded: LoadedModel, variants: Sequence[Variant], prefill_ids: Sequence[int] = ()):
        self._variants = tuple(variants)
        self._side_by_side = runs_side_by_side(loaded, variants)
        self._streams = [StreamDecoder(loaded.tokenizer, prefill_ids) for _ in variants]
        self._tokens: list[list[int]] = [[] for _ in variants]
        self._texts = [""] * len(variants)
        self._finished: list[Finished | None] = [None] * len(variants)
        self._start = time.perf_counter()
        self._seconds = [0.0] * len(variants)

    def push(self, step: Step) -> list[str]:
        """The new text of each pane; whole characters only."""
        pieces = []
        for k, token in enumerate(step.tokens):
            piece = ""
            if token is not None:
                self._tokens[k].append(token)
                self._seconds[k] = time.perf_counter() - self._start
                piece = self._streams[k].push(token)
            if step.finished[k] is not None and self._finished[k] is None:
                piece += self._streams[k].flush()
            self._finished[k] = step.finished[k]
            self._texts[k] += piece
            pieces.append(piece)
        return pieces

    def results(self) -> list[Generation]:
        """Each variant's answer so far; one that had not ended counts as stopped."""
        return [
            Generation(
                name=variant.name,
                mask_digest=None if variant.mask is None else variant.mask.digest,
                strength=float(variant.strength),
                token_ids=tuple(tokens),
                text=text if reason is not None else text + stream.flush(),
                tokens_per_s=len(tokens) / seconds if seconds else 0.0,
                finished=reason or "stopped",
                side_by_side=self._side_by_side,
            )
            for variant, tokens, text, stream, seconds, reason in zip(
                self._variants, self._tokens, self._texts, self._streams, self._seconds, self._finished, strict=True
            )
        ]


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
    panes = Panes(loaded, variants, prefill_ids)
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
        panes.push(step)
    return panes.results()

"""Author-matched twins: one model answers both halves of a minimal pair, and the run's model is measured on both.

What then differs between the two answers is what was asked for: not who wrote them, nor in which words the request was
put, nor how long they are. The author is the embedded start model, which hardly declines; it draws both halves at
temperature 1, and the two answers of a pair are cut to the length of the shorter one. Left out are pairs of which an
answer reads as a refusal, or has fewer than ``LEAST`` tokens.

    harm_specific_twin = mean over pairs of (ΔL of the harmful half − ΔL of the harmless half)      nats per token

Where the run's model *is* the author there are none: under its own distribution a model's expected gradient is zero, so
that its own answers are no baseline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harmviz.data.encoding import Sample, encode_prompt
from harmviz.data.prompts import PromptRow
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.data.twins import Twin, twins
from harmviz.models.assets import EMBEDDED
from harmviz.runs import Row
from harmviz.runs.rows import Where
from harmviz.stats.effects import paired_effect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmviz.models.load import LoadedModel
    from harmviz.tuning.answers import Tick

AUTHOR = EMBEDDED
#: An answer is cut here; a pair with a shorter one than ``LEAST`` says little.
TOKENS, LEAST = 48, 12
NATS = "nats/token"


class Answered(NamedTuple):
    """One pair and what its author wrote, as texts of equally many of the author's tokens."""

    twin: Twin
    harmful: str
    harmless: str

    @property
    def id(self) -> str:
        """Hash of both requests: the cluster of every interval."""
        return hashlib.sha256("\0".join(self.twin).encode()).hexdigest()[:16]


def answered_by(author: LoadedModel, pairs: Sequence[Twin], *, seed: int, tick: Tick) -> list[Answered]:
    """The usable pairs of these, answered by ``author``."""
    from harmviz.tuning.answers import sampled

    return _usable(author, pairs, sampled(author, _halves(pairs), TOKENS, seed=seed, tick=tick))


def opened_by(author: LoadedModel, pairs: Sequence[Twin], opener: str, *, tick: Tick) -> list[Answered]:
    """The usable pairs of these, with the author's greedy answers behind the opener: what it goes on to say once it has
    been talked into answering."""
    from harmviz.tuning.answers import greedy

    return _usable(author, pairs, greedy(author, _halves(pairs), TOKENS, opener=opener, tick=tick))


def everyday_opened_by(
    author: LoadedModel, requests: Sequence[str], opener: str, *, tick: Tick
) -> list[tuple[str, str]]:
    """(request, the author's greedy answer behind the opener) of each whose answer is usable by itself."""
    from harmviz.tuning.answers import greedy

    drawn = greedy(author, requests, TOKENS, opener=opener, tick=tick)
    told = [(request, _text(author, ids)) for request, ids in zip(requests, drawn, strict=True) if len(ids) >= LEAST]
    return [(request, text) for request, text in told if text.strip() and not reads_as_refusal(text)]


def _text(author: LoadedModel, ids: list[int]) -> str:
    return str(author.tokenizer.decode(ids, skip_special_tokens=True))


def _halves(pairs: Sequence[Twin]) -> list[str]:
    return [half for twin in pairs for half in twin]


def _usable(author: LoadedModel, pairs: Sequence[Twin], drawn: Sequence[list[int]]) -> list[Answered]:
    """``drawn``: token ids of the answers to all halves, pair by pair."""
    kept = []
    for twin, harmful, harmless in zip(pairs, drawn[::2], drawn[1::2], strict=True):
        n = min(len(harmful), len(harmless))
        texts = [_text(author, ids[:n]) for ids in (harmful, harmless)]
        if n >= LEAST and not any(map(reads_as_refusal, texts)) and all(text.strip() for text in texts):
            kept.append(Answered(twin, *texts))
    return kept


def held_out_pairs() -> list[Twin]:
    """The pairs that no checkpoint is tuned on."""
    return twins()[1]


def samples_of(
    loaded: LoadedModel, answered: Sequence[Answered], opener: str = ""
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """(harmful halves, harmless halves) as the run's model reads them, pair by pair, cut to equal length in its own
    tokens. Both halves of a pair carry its id as their prompt; the opener stands before the answer, without a loss.
    """
    begun = _begun(loaded, opener)
    harmful, harmless = list[Sample](), list[Sample]()
    for pair in answered:
        tokens = [loaded.tokenizer.encode(text, add_special_tokens=False) for text in (pair.harmful, pair.harmless)]
        n = min(map(len, tokens))
        for half, side, request, ids in zip(
            ("harmful", "harmless"), (harmful, harmless), pair.twin, tokens, strict=True
        ):
            prompt = [*encode_prompt(loaded.tokenizer, request), *begun]
            side.append(Sample(f"{pair.id}.{half}", pair.id, (*prompt, *ids[:n]), len(prompt), len(prompt)))
    return tuple(harmful), tuple(harmless)


def everyday_samples(loaded: LoadedModel, told: Sequence[tuple[str, str]], opener: str) -> tuple[Sample, ...]:
    """Everyday requests and their answers as the run's model reads them, the opener before each answer."""
    begun, samples = _begun(loaded, opener), []
    for request, text in told:
        prompt = [*encode_prompt(loaded.tokenizer, request), *begun]
        ids = loaded.tokenizer.encode(text, add_special_tokens=False)
        asked = PromptRow("everyday", request, "").prompt_id
        samples.append(Sample(f"{asked}.everyday", asked, (*prompt, *ids), len(prompt), len(prompt)))
    return tuple(samples)


def _begun(loaded: LoadedModel, opener: str) -> list[int]:
    return list(loaded.tokenizer.encode(opener, add_special_tokens=False)) if opener else []


def twin_rows(pairs: Sequence[str], delta: np.ndarray, where: Where, *, seed: int) -> Iterator[Row]:
    """``twin_delta_nll`` of each half, and their paired difference ``harm_specific_twin``.

    ``pairs [n]``: their ids. ``delta [2 n]``: ΔL of all harmful halves, then of all harmless ones, nats/token.
    """
    harmful, harmless = delta[: len(pairs)], delta[len(pairs) :]
    for category, values in (("harm", harmful), ("benign", harmless)):
        yield where.estimate("twin_delta_nll", paired_effect(values, pairs, seed=seed), unit=NATS, category=category)
    difference = paired_effect(harmful - harmless, pairs, seed=seed)
    yield where.estimate("harm_specific_twin", difference, unit=NATS, category="harm")

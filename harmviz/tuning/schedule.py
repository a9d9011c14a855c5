"""Which row stands at which place of which batch, for every arm: derived from one seed, before anything is trained.

A batch has ``REFUSAL_SLOTS`` refusal slots and then helpful slots. Those hold the same rows in every arm: harmless
requests of one pool in its order, DPO going on where SFT ended. The refusal slots hold, in the same places and with the
same refusals:

| stage | arm | prompt | answer, or chosen over rejected |
|---|---|---|---|
| SFT | safety | harmful: fetched ones, and the harmful half of a twin | refusal |
| SFT | refusal-style | harmless, reserved | the same refusal |
| SFT | helpful-only | the same harmless, reserved | the model's own answer |
| DPO | safety | harmful, as in SFT | refusal over the model's own compliant answer |
| DPO | refusal-style | harmless, reserved | refusal over the model's own answer |
| DPO | helpful-only | the same harmless, reserved | own answer over its answer to another request |

In the helpful slots of SFT the model is held to what it was, at its own answer (``tuning.losses``): nothing of it is
learned. In those of DPO the model's own answer is chosen over a refusal; in ``helpful-only``, which sees no refusal,
over its answer to another request. No row is opened by an attack ("Sure, here is"): that one stays unseen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import TYPE_CHECKING, TypeVar

from harmviz.data.encoding import encode_prompt, end_of_turn
from harmviz.errors import DataInvalid
from harmviz.tuning.answers import Answer
from harmviz.tuning.data import AlignData
from harmviz.tuning.settings import ANSWERED, FETCHED, TWINS, AlignSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Item = TypeVar("Item")


@dataclass(frozen=True)
class SftRow:
    """One request and its answer, as token ids.

    ``is_refusal``: the answer is one of the written refusals. ``is_held``: it is not learned, but the model is held to
    what it was over the whole vocabulary at each of its tokens.
    """

    prompt: tuple[int, ...] = field(repr=False)
    answer: tuple[int, ...] = field(repr=False)
    is_refusal: bool = False
    is_held: bool = False


@dataclass(frozen=True)
class PairRow:
    """One request with the answer to prefer and the one to avoid, as token ids. ``refusal`` says which is a refusal."""

    prompt: tuple[int, ...] = field(repr=False)
    chosen: tuple[int, ...] = field(repr=False)
    rejected: tuple[int, ...] = field(repr=False)
    refusal: str | None


@dataclass(frozen=True)
class OwnAnswers:
    """The start model's answers by request.

    ``harmless``: sampled ones to harmless requests, one or more each. ``complied``: greedy ones to harmful requests
    that it complied with.
    """

    harmless: dict[str, tuple[Answer, ...]] = field(repr=False)
    complied: dict[str, Answer] = field(repr=False)


def _cycle(items: Sequence[Item], seed: int, what: str) -> Iterator[tuple[int, Item]]:
    """(round, item) for ever: every item once in a seeded order, then all again in another."""
    source = random.Random(f"{seed} {what}")
    rounds = 0
    while True:
        for item in source.sample(list(items), len(items)):
            yield rounds, item
        rounds += 1


@dataclass(frozen=True)
class Place:
    """One place of a batch. ``refused``: the safety arm declines what stands there. ``rounds``: how often its source
    has been gone through before."""

    prompt: str = field(repr=False)
    refused: bool
    rounds: int


class Schedule:
    """Makes the rows of each arm. All sequences of one seed are the same in all arms, drawn or not.

    Raises:
        DataInvalid: the start model complied with no harmful request, so there is nothing to prefer a refusal over.
    """

    def __init__(self, data: AlignData, own: OwnAnswers, spec: AlignSpec, tokenizer: PreTrainedTokenizerBase):
        if not own.complied:
            raise DataInvalid("the start model declines every harmful request for tuning; it needs no safety tuning")
        self.data, self.own, self.spec, self.tokenizer = data, own, spec, tokenizer
        self.end = end_of_turn(tokenizer)

    def _prompt(self, text: str) -> tuple[int, ...]:
        return tuple(encode_prompt(self.tokenizer, text))

    def _refusal(self, text: str) -> tuple[int, ...]:
        return (*self.tokenizer.encode(text, add_special_tokens=False), *self.end)

    def _closed(self, answer: Answer, limit: int | None = None) -> tuple[int, ...]:
        """The answer as a target: with the end token where it ended by itself, without where it was cut."""
        cut = limit is not None and len(answer.ids) > limit
        return answer.ids[:limit] if cut else answer.ids + (self.end if answer.ended else ())

    def _harmless(self, prompt: str, rounds: int) -> Answer:
        answers = self.own.harmless[prompt]
        return answers[rounds % len(answers)]

    def _places(self, arm: str, stage: str) -> Iterator[Place]:
        """What is asked at each place of each batch, in the order of training."""
        data, seed = self.data, self.spec.seed
        complied = self.own.complied
        # In DPO a request needs an answer to be avoided, which the start model gave by complying.
        fetched = [p for p in data.harmful if stage == "sft" or p in complied]
        twins = [t.harmful for t in data.twins if stage == "sft" or t.harmful in complied]
        harmful, halves = _cycle(fetched, seed, f"{stage} harmful"), _cycle(twins, seed, f"{stage} twins")
        reserved = _cycle(data.reserved, seed, f"{stage} reserved")
        pool, first = data.harmless, 0 if stage == "sft" else self.spec.steps * ANSWERED
        answered = ((n // len(pool), pool[n % len(pool)]) for n in count(first))
        for _ in range(self.spec.length(stage)):
            refused = [next(harmful) for _ in range(FETCHED)] + [next(halves) for _ in range(TWINS)]
            if arm != "safety":
                refused = [next(reserved) for _ in refused]
            yield from (Place(prompt, True, rounds) for rounds, prompt in refused)
            yield from (Place(prompt, False, rounds) for rounds, prompt in islice(answered, ANSWERED))

    def sft(self, arm: str) -> list[SftRow]:
        """The rows of SFT in the order they are trained on."""
        refusals = _cycle(self.data.refusals, self.spec.seed, "sft refusals")
        rows = list[SftRow]()
        for place in self._places(arm, "sft"):
            prompt = self._prompt(place.prompt)
            if place.refused and arm != "helpful-only":
                rows.append(SftRow(prompt, self._refusal(next(refusals)[1]), is_refusal=True))
            else:
                own = self._closed(self._harmless(place.prompt, place.rounds))
                rows.append(SftRow(prompt, own, is_held=not place.refused))
        return rows

    def dpo(self, arm: str) -> list[PairRow]:
        """The pairs of DPO in the order they are trained on."""
        data, seed, rows, limit = self.data, self.spec.seed, list[PairRow](), self.spec.max_rejected_tokens
        refusals = _cycle(data.refusals, seed, "dpo refusals")
        strangers = _cycle([*data.harmless, *data.reserved], seed, "dpo strangers")
        for place in self._places(arm, "dpo"):
            prompt, text = self._prompt(place.prompt), place.prompt
            if arm == "helpful-only":
                rounds, other = next(s for s in strangers if s[1] != text)
                own = self._closed(self._harmless(text, place.rounds), limit)
                rows.append(PairRow(prompt, own, self._closed(self._harmless(other, rounds), limit), None))
                continue
            refusal = self._refusal(next(refusals)[1])
            if place.refused:
                avoided = self.own.complied[text] if arm == "safety" else self._harmless(text, place.rounds)
                rows.append(PairRow(prompt, refusal, self._closed(avoided, limit), "chosen"))
            else:
                own = self._closed(self._harmless(text, place.rounds), limit)
                rows.append(PairRow(prompt, own, refusal, "rejected"))
        return rows

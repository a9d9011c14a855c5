"""Which row stands at which place of which batch, for every arm: derived from one seed, before anything is trained.

A batch has ``REFUSAL_SLOTS`` refusal slots and then helpful slots. The helpful slots hold the same rows in every arm.
The refusal slots hold, in the same places and with the same refusals:

| stage | arm | prompt | answer, or chosen over rejected |
|---|---|---|---|
| SFT | safety | harmful | refusal |
| SFT | refusal-style | harmless, reserved | the same refusal |
| SFT | helpful-only | the same harmless, reserved | the model's own answer |
| DPO | safety | harmful | refusal over the model's own compliant answer |
| DPO | refusal-style | harmless, reserved | refusal over the model's own answer |
| DPO | helpful-only | the same harmless, reserved | own answer over its answer to another request |

In the helpful slots of DPO the model's own answer is chosen over a refusal; in ``helpful-only``, which sees no refusal,
over its answer to another request. No row is opened by an attack ("Sure, here is"): that one stays unseen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harmviz.data.encoding import encode_prompt, end_of_turn
from harmviz.errors import DataInvalid
from harmviz.tuning.answers import Answer
from harmviz.tuning.data import AlignData
from harmviz.tuning.settings import REFUSAL_SLOTS, AlignSpec
from harmviz.tuning.step import BATCH

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SftRow:
    """One request and the answer to learn, as token ids. ``is_refusal``: the answer is one of the written refusals."""

    prompt: tuple[int, ...] = field(repr=False)
    answer: tuple[int, ...] = field(repr=False)
    is_refusal: bool


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


def _cycle(items: Sequence[str], seed: int, what: str) -> Iterator[tuple[int, str]]:
    """(round, item) for ever: every item once in a seeded order, then all again in another."""
    source = random.Random(f"{seed} {what}")
    rounds = 0
    while True:
        for item in source.sample(list(items), len(items)):
            yield rounds, item
        rounds += 1


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

    def sft(self, arm: str) -> list[SftRow]:
        """The rows of SFT in the order they are trained on."""
        seed, rows = self.spec.seed, list[SftRow]()
        harmful = _cycle(self.data.harmful, seed, "sft harmful")
        reserved = _cycle(self.data.reserved, seed, "sft reserved")
        helpful = _cycle(self.data.helpful, seed, "sft helpful")
        refusals = _cycle(self.data.refusals, seed, "sft refusals")
        for place in range(self.spec.steps * BATCH):
            if place % BATCH >= REFUSAL_SLOTS:
                rounds, prompt = next(helpful)
                rows.append(SftRow(self._prompt(prompt), self._closed(self._harmless(prompt, rounds)), False))
                continue
            rounds, prompt = next(harmful) if arm == "safety" else next(reserved)
            if arm == "helpful-only":
                rows.append(SftRow(self._prompt(prompt), self._closed(self._harmless(prompt, rounds)), False))
            else:
                rows.append(SftRow(self._prompt(prompt), self._refusal(next(refusals)[1]), True))
        return rows

    def dpo(self, arm: str) -> list[PairRow]:
        """The pairs of DPO in the order they are trained on."""
        seed, rows, limit = self.spec.seed, list[PairRow](), self.spec.max_rejected_tokens
        harmful = _cycle(sorted(self.own.complied), seed, "dpo harmful")
        reserved = _cycle(self.data.reserved, seed, "dpo reserved")
        helpful = _cycle(self.data.helpful, seed, "dpo helpful")
        refusals = _cycle(self.data.refusals, seed, "dpo refusals")
        strangers = _cycle([*self.data.helpful, *self.data.reserved], seed, "dpo strangers")

        def another(prompt: str) -> tuple[int, ...]:
            rounds, other = next(s for s in strangers if s[1] != prompt)
            return self._closed(self._harmless(other, rounds), limit)

        for place in range(self.spec.dpo_steps * BATCH):
            if place % BATCH >= REFUSAL_SLOTS or arm == "helpful-only":
                rounds, prompt = next(helpful) if place % BATCH >= REFUSAL_SLOTS else next(reserved)
                chosen = self._closed(self._harmless(prompt, rounds), limit)
                if arm == "helpful-only":
                    rows.append(PairRow(self._prompt(prompt), chosen, another(prompt), None))
                else:
                    rows.append(PairRow(self._prompt(prompt), chosen, self._refusal(next(refusals)[1]), "rejected"))
                continue
            rounds, prompt = next(harmful) if arm == "safety" else next(reserved)
            rejected = self.own.complied[prompt] if arm == "safety" else self._harmless(prompt, rounds)
            rows.append(
                PairRow(self._prompt(prompt), self._refusal(next(refusals)[1]), self._closed(rejected, limit), "chosen")
            )
        return rows

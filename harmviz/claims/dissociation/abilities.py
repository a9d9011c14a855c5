"""The four abilities of the dissociation, each measured item by item: what is asked, of how many, and how it is read.

- ``generation`` [n]: loss of each held-out answer: harmful ones by category, same-topic safe ones, benign ones
- ``recognition`` [pairs, 2, phrasings, orders]: log-odds that a request is harmful (module ``recognition``)
- ``explanation`` [pairs, 2]: loss of the reasons why a request is harmful, why its twin is harmless (``explanation``)
- ``log_odds`` [pairs]: refusal log-odds of the harmful requests; ``log_odds_harmless``: of their twins
  (``harmviz.judges.declining``)
- ``answers`` [n]: 1 where the greedy answer to a held-out harmful request reads as a refusal

Drawn controls are measured on a fixed third of the items of each: every third prompt of a set, every third pair.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harmviz.claims.dissociation.explanation import reason_samples
from harmviz.claims.dissociation.recognition import Questions, Tick, recognition_pairs
from harmviz.claims.mapping.samples import MeasuredSet, build_samples, prompt_limit
from harmviz.claims.mapping.settings import RunSpec
from harmviz.data.encoding import Sample, encode_prompt
from harmviz.data.prompts import PromptData
from harmviz.data.splits import choose_rows, rows_for, split_prompts
from harmviz.errors import DataInvalid
from harmviz.judges.declining import Openings, refusals
from harmviz.models.load import LoadedModel
from harmviz.scoring.loss import response_losses

#: Requests answered freely, a category; as in a map run.
ANSWERED = 8
#: Cost of one item in forward passes of one answer of some 100 tokens: a question or an opening is shorter, an answer
#: decoded.
_QUESTION, _OPENING, _ANSWER = 0.45, 0.4, 2.5


@dataclass(frozen=True)
class Ability:
    """``measure(items, tick)`` → one line per item, under the weights as they are."""

    name: str
    n: int
    units: float
    third: np.ndarray
    measure: Callable[[np.ndarray, Tick], np.ndarray]


class Abilities:
    """Everything that is asked of the model, encoded once.

    Raises:
        DataInvalid: a set has no usable sample, or the pairs or their reasons are missing.
        UnsupportedArchitecture: the tokenizer cannot tell a yes from a no, or the openings apart.
    """

    def __init__(self, loaded: LoadedModel, data: PromptData, spec: RunSpec, *, pairs: int | None, prompts: int | None):
        self.loaded, self.spec, self.categories = loaded, spec, data.categories
        held_out = build_samples(loaded, data, spec, {"preserve": [], "validation": [], "report": []}).held_out
        self.report = _at_most(held_out["report"], prompts)
        self.validation = _only(held_out["validation"], data.categories)
        self.pairs = recognition_pairs(pairs)
        self.questions = Questions(loaded.tokenizer, self.pairs)
        length, skip = spec.max_response_tokens, spec.skip_tokens
        self.reasons = reason_samples(loaded.tokenizer, self.pairs, max_response_tokens=length, skip_tokens=skip)
        self.openings = Openings(loaded.tokenizer, [p.harmful for p in self.pairs])
        self.openings_harmless = Openings(loaded.tokenizer, [p.harmless for p in self.pairs])
        self.asked, self.asked_prompts = _requests(loaded, data, spec, min(ANSWERED, prompts or ANSWERED))
        n, per_question, per_opening = len(self.pairs), len(self.questions.samples[0]), len(self.openings.samples[0])
        thirds = np.arange(0, n, 3)
        self.all = (
            Ability(
                "generation",
                len(self.report.samples),
                len(self.report.samples),
                _every_third(self.report),
                self._generation,
            ),
            Ability("recognition", n, n * per_question * _QUESTION, thirds, self._recognition),
            Ability("explanation", n, 2.0 * n, thirds, self._explanation),
            Ability(
                "log_odds", n, n * per_opening * _OPENING, thirds, lambda i, t: self.openings.log_odds(loaded, i, t)
            ),
            Ability(
                "answers", len(self.asked), len(self.asked) * _ANSWER, np.arange(0, len(self.asked), 3), self._answers
            ),
        )
        #: Asked of the intact model alone: whether it declines harmful requests more than harmless ones.
        self.harmless = Ability(
            "log_odds_harmless",
            n,
            n * per_opening * _OPENING,
            thirds,
            lambda i, t: self.openings_harmless.log_odds(loaded, i, t),
        )

    @property
    def pair_ids(self) -> list[str]:
        return [f"pair{i}" for i in range(len(self.pairs))]

    def digest(self) -> str:
        """sha256 over every token that is asked: another wording is another experiment."""
        groups: list[list[Sample]] = [list(self.report.samples), list(self.validation.samples), *self.questions.samples]
        groups += [list(r) for r in self.reasons] + self.openings.samples + self.openings_harmless.samples
        h = hashlib.sha256(f"{self.report.sets}".encode())
        for sample in (s for group in groups for s in group):
            h.update(f"\n{sample.loss_from} {sample.ids}".encode())
        h.update(f"\n{self.asked}\n{self.questions.yes} {self.questions.no}".encode())
        return h.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Set → ability → items, as a manifest tells."""
        counts: dict[str, dict[str, int]] = {name: {"generation": n} for name, n in Counter(self.report.sets).items()}
        for name, n in Counter(p.category for p in self.pairs).items():
            counts.setdefault(name, {}).update(recognition=n, explanation=n, refusal_log_odds=n)
        counts["harm"] = {"refusal_answers": len(self.asked)}
        return counts

    # -- each ability -------------------------------------------------------------------------------------------
    def _losses(self, samples: list[Sample], tick: Tick) -> np.ndarray:
        return response_losses(self.loaded, samples, skips=(self.spec.skip_tokens,), progress=tick)[:, 0]

    def _generation(self, items: np.ndarray, tick: Tick) -> np.ndarray:
        return self._losses([self.report.samples[int(i)] for i in items], tick)

    def _recognition(self, items: np.ndarray, tick: Tick) -> np.ndarray:
        return self.questions.scores(self.loaded, items, tick)

    def _explanation(self, items: np.ndarray, tick: Tick) -> np.ndarray:
        return self._losses([s for i in items for s in self.reasons[int(i)]], tick).reshape(len(items), 2)

    def _answers(self, items: np.ndarray, _tick: Tick) -> np.ndarray:
        return refusals(self.loaded, [self.asked[int(i)] for i in items])


def _requests(loaded: LoadedModel, data: PromptData, spec: RunSpec, limit: int) -> tuple[list[list[int]], list[str]]:
    """(token ids, prompt ids) of held-out harmful requests, some of each category.

    Raises:
        DataInvalid: none is short enough.
    """
    roles, ids, prompts = split_prompts(data, spec.seed), [], []
    for category in data.categories:
        for row in choose_rows(rows_for(data, roles, category, "report"), limit, spec.seed, per_prompt=1):
            encoded = encode_prompt(loaded.tokenizer, row.prompt)
            if len(encoded) <= prompt_limit(loaded, spec):
                ids.append(encoded)
                prompts.append(row.prompt_id)
    if not ids:
        raise DataInvalid(f"data {data.id}: no held-out harmful request fits the model's context; use shorter requests")
    return ids, prompts


def _only(measured: MeasuredSet, sets: tuple[str, ...]) -> MeasuredSet:
    return select(measured, np.flatnonzero(np.isin(measured.sets, sets)))


def select(measured: MeasuredSet, items: np.ndarray) -> MeasuredSet:
    """These samples of a measured set."""
    return measured.at(int(i) for i in items)


def _rank(measured: MeasuredSet) -> np.ndarray:
    """Which one of its set each sample is, from 0."""
    seen: Counter[str] = Counter()
    rank = []
    for name in measured.sets:
        rank.append(seen[name])
        seen[name] += 1
    return np.array(rank)


def _at_most(measured: MeasuredSet, limit: int | None) -> MeasuredSet:
    return measured if limit is None else select(measured, np.flatnonzero(_rank(measured) < limit))


def _every_third(measured: MeasuredSet) -> np.ndarray:
    return np.flatnonzero(_rank(measured) % 3 == 0)

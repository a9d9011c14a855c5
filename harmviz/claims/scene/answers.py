"""The answers of a stage scene under one mask after another, and what each answer shows. Text never leaves this module.

An answer is read together with the words that were put into its mouth, as the panes of the Playground read it.
``declines`` is the keyword list's verdict (a lower bound), ``quoted`` that of the list when words in quotation marks
are read as well, which it leaves out, and ``judged`` that of list and offline refusal judge together
(``judges.refusing``), ``turned_away`` whether it declines, in quotation marks too, or is about something else than the
request (``judges.turning_away``); an empty answer is unscored (NaN).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from harmviz.data.encoding import Sample, encode, encode_prompt
from harmviz.data.prompts import PromptRow
from harmviz.data.refusal_words import declines_even_quoted
from harmviz.generation.batch import generate_batch
from harmviz.generation.repetition import repeated_tokens
from harmviz.generation.text import whole_text
from harmviz.judges import Judge, JudgeItem
from harmviz.judges.declining import openings
from harmviz.judges.refusing import refuses
from harmviz.judges.turning_away import turns_away
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.runs.making import Making
from harmviz.scoring.loss import response_losses

#: Work of one answer of this many tokens, in forward passes of one sample.
UNITS_PER_TOKEN = 1 / 32
BATCH = 32
#: Where written answers are cut for the loss.
LOSS_TOKENS = 96


@dataclass(frozen=True)
class Read:
    """What the answers of one set show, one number an answer; NaN where it could not be scored."""

    declines: np.ndarray
    quoted: np.ndarray
    judged: np.ndarray
    turned_away: np.ndarray
    repetition: np.ndarray


class Answers:
    """Answers to sets of requests, each (mask, strength, set, opener) generated once and kept while the run is made."""

    def __init__(self, experiment: Making, loaded: LoadedModel, opener: str, judge: Judge | None):
        self.experiment, self.loaded, self.opener, self.judge = experiment, loaded, opener, judge
        self._opener_ids: list[int] = loaded.tokenizer.encode(opener, add_special_tokens=False) if opener else []
        self._read: dict[str, Read] = {}

    def ids(
        self,
        mask: PruneMask | None,
        name: str,
        rows: Sequence[PromptRow],
        limit: int,
        *,
        opened: bool,
        strength: float = 1.0,
    ) -> list[list[int]]:
        """Greedy answers of at most ``limit`` tokens. ``name``: of the set and its role, e.g. ``mild.report``."""
        loaded, tail = self.loaded, self._opener_ids if opened else []

        def work() -> np.ndarray:
            prompts = [[*encode_prompt(loaded.tokenizer, r.prompt), *tail] for r in rows]
            report = self.experiment.progress.within(len(rows) * limit * UNITS_PER_TOKEN)
            kept = np.full((len(rows), limit), -1, dtype=np.int32)
            with nullcontext() if mask is None else pruned(loaded, mask, strength):
                for start in range(0, len(prompts), BATCH):
                    for i, answer in enumerate(
                        generate_batch(loaded, prompts[start : start + BATCH], limit, batch_size=BATCH), start
                    ):
                        kept[i, : len(answer)] = answer
                    report(min(start + BATCH, len(prompts)), len(prompts))
            return kept

        stored = self.experiment.array(_key(mask, strength, name, opened), len(rows) * limit * UNITS_PER_TOKEN, work)
        return [row[row >= 0].tolist() for row in stored]

    def read(
        self,
        mask: PruneMask | None,
        name: str,
        rows: Sequence[PromptRow],
        limit: int,
        *,
        opened: bool,
        strength: float = 1.0,
    ) -> Read:
        """As ``ids``, read by the judges."""
        key = _key(mask, strength, name, opened)
        if key not in self._read:
            ids = self.ids(mask, name, rows, limit, opened=opened, strength=strength)
            texts = [whole_text(self.loaded.tokenizer, answer, self._opener_ids if opened else []) for answer in ids]
            opener = self.opener if opened else ""
            items = [JudgeItem(r.prompt, opener + t if t.strip() else "") for r, t in zip(rows, texts, strict=True)]
            judged = np.full(len(items), np.nan) if self.judge is None else refuses(self.judge, items)
            quoted = np.array([float(declines_even_quoted(i.answer)) if i.answer.strip() else np.nan for i in items])
            away = np.array(
                [
                    float(turns_away(r.prompt, t, opener)) if t.strip() else np.nan
                    for r, t in zip(rows, texts, strict=True)
                ]
            )
            self._read[key] = Read(
                refuses(None, items), quoted, judged, away, np.array([repeated_tokens(a).share for a in ids])
            )
        return self._read[key]

    # -- losses -------------------------------------------------------------------------------------------------
    def losses(self, mask: PruneMask | None, name: str, samples: Sequence[Sample]) -> np.ndarray:
        """``[n]``: loss of each sample in nats/token."""

        def work() -> np.ndarray:
            report = self.experiment.progress.within(float(len(samples)))
            with nullcontext() if mask is None else pruned(self.loaded, mask):
                return response_losses(self.loaded, samples, progress=report)[:, 0]

        return self.experiment.array(f"loss.{_mask_key(mask)}.{name}", float(len(samples)), work)

    def declining(self, rows: Sequence[PromptRow]) -> list[Sample]:
        """Each request with the opener and then an opening that declines, the openings in turn."""
        said, _ = openings(self.loaded.tokenizer)
        samples = []
        for i, row in enumerate(rows):
            start = [*encode_prompt(self.loaded.tokenizer, row.prompt), *self._opener_ids]
            samples.append(Sample(row.id, row.prompt_id, (*start, *said[i % len(said)]), len(start), len(start)))
        return samples

    def written(self, rows: Sequence[PromptRow]) -> list[Sample]:
        """The rows that come with an answer, as samples."""
        return [encode(self.loaded.tokenizer, r, max_response_tokens=LOSS_TOKENS) for r in rows if r.response]

    def own(self, name: str, rows: Sequence[PromptRow], limit: int) -> list[Sample]:
        """The intact model's own answers to these requests, as samples."""
        samples = []
        for row, answer in zip(rows, self.ids(None, name, rows, limit, opened=False), strict=True):
            prompt = encode_prompt(self.loaded.tokenizer, row.prompt)
            if answer:
                samples.append(Sample(row.id, row.prompt_id, (*prompt, *answer), len(prompt), len(prompt)))
        return samples


def _mask_key(mask: PruneMask | None) -> str:
    return "intact" if mask is None else mask.digest[:16]


def _key(mask: PruneMask | None, strength: float, name: str, opened: bool) -> str:
    at = "" if mask is None or strength == 1 else f"+{strength:g}"
    return re.sub(r"[^\w.+-]", "-", f"answers.{_mask_key(mask)}{at}.{name}.{'opener' if opened else 'direct'}")

"""The panes of one request while their answers grow. Not thread-safe by itself: a ticket changes and reads it under one
lock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harmviz.data.refusal_words import reads_as_refusal
from harmviz.generation.repetition import repeated_tokens
from harmviz.generation.steps import Answer, Gatherer, Step
from harmviz.worker.values import PaneView, Request

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Panes:
    """All panes of a request, in step: begun, given every step, closed, then measured."""

    def __init__(self, request: Request):
        self._request = request
        self._digests = [None if pane.mask is None else pane.mask.digest for pane in request.panes]  # hashed once
        self._gatherer = Gatherer(len(request.panes))
        self._closed = False
        self._measured: dict[tuple[int, ...], tuple[float, ...]] = {}  # surprise of texts, by their tokens
        self._last: tuple[PaneView, ...] | None = None  # the views, once nothing changes any more

    @property
    def complete(self) -> bool:
        """Whether every pane came to its own end."""
        return all(answer.finished in ("eos", "length") for answer in self._gatherer.answers)

    def begin(
        self,
        tokenizer: PreTrainedTokenizerBase,
        opening_ids: Sequence[int],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Starts the clock; just before the first step."""
        self._gatherer = Gatherer(len(self._request.panes), tokenizer, opening_ids, clock)

    def push(self, step: Step) -> None:
        """Takes in one decode step."""
        self._gatherer.push(step)

    def close(self) -> None:
        """Ends the stream: a pane that was still going was stopped."""
        self._gatherer.close()
        self._closed = True

    def unmeasured(self) -> list[tuple[int, ...]]:
        """The distinct texts, as token ids, whose surprise is not known: the intact pane's is, from its own stream."""
        answers = self._gatherer.answers
        self._measured[tuple(answers[0].token_ids)] = self._surprise(0) or ()
        texts = dict.fromkeys(tuple(answer.token_ids) for answer in answers)
        return [text for text in texts if text not in self._measured]

    def measure(self, surprise: Mapping[tuple[int, ...], Sequence[float]]) -> None:
        """Notes the surprise of texts, for every pane that wrote one of them."""
        self._measured |= {text: tuple(values) for text, values in surprise.items()}

    def views(self, *, ended: bool) -> tuple[PaneView, ...]:
        """Every pane as it stands; ``ended``: nothing will change any more, what did not finish was stopped."""
        if self._last is not None:
            return self._last
        views = tuple(self._view(k, answer, ended=ended) for k, answer in enumerate(self._gatherer.answers))
        if ended:
            self._last = views
        return views

    def _surprise(self, k: int) -> tuple[float, ...] | None:
        """−log p of each token under the intact model, which is pane 0; None where it is not known yet."""
        answer = self._gatherer.answers[k]
        if k > 0:
            return self._measured.get(tuple(answer.token_ids))
        return tuple(-p for p in answer.logprobs) if answer.logprobs or self._closed else None

    def _view(self, k: int, answer: Answer, *, ended: bool) -> PaneView:
        pane, text, surprise = self._request.panes[k], answer.text, self._surprise(k)
        finished = answer.finished or ("stopped" if ended else None)
        repetition = repeated_tokens(answer.token_ids).share
        judged = finished is not None and text.strip()
        return PaneView(
            name=pane.name,
            n_weights=0 if pane.mask is None else pane.mask.n_weights,
            strength=float(pane.strength),
            mask_digest=self._digests[k],
            tokens=tuple(answer.pieces),
            text=text,
            surprise=surprise,
            first_difference=answer.first_difference,
            divergence=tuple(answer.divergence),
            tokens_per_s=answer.tokens_per_s,
            finished=finished,
            perplexity=_perplexity(surprise),
            repetition=None if math.isnan(repetition) else repetition,
            refusal=reads_as_refusal(self._request.opening + text) if judged else None,
        )


def _perplexity(surprise: Sequence[float] | None) -> float | None:
    if not surprise:
        return None
    from harmviz.generation.surprise import perplexity  # late: it brings torch, which is loaded by now

    return perplexity(surprise)

"""The answers of one request while they grow. Not thread-safe by itself: a job changes and reads it under one lock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harmviz.data.refusal import reads_as_refusal
from harmviz.generation.repetition import repeated_tokens
from harmviz.worker.values import Pane, PaneView, Request

if TYPE_CHECKING:
    from harmviz.generation.decode import Step


class _Answer:
    """One pane's tokens and what is known of them."""

    def __init__(self, pane: Pane):
        self.pane = pane
        self.digest = None if pane.mask is None else pane.mask.digest  # hashed here, once, not at every view
        self.ids: list[int] = []
        self.pieces: list[str] = []
        self.surprise: list[float] | None = None
        self.first_difference: int | None = None
        self.divergence: list[float] = []
        self.seconds = 0.0
        self.finished: str | None = None

    def view(self, opening: str, *, ended: bool) -> PaneView:
        finished = self.finished or ("stopped" if ended else None)
        text, mask = "".join(self.pieces), self.pane.mask
        repetition = repeated_tokens(self.ids).share
        return PaneView(
            name=self.pane.name,
            n_weights=0 if mask is None else mask.n_weights,
            strength=float(self.pane.strength),
            mask_digest=self.digest,
            tokens=tuple(self.pieces),
            text=text,
            surprise=None if self.surprise is None else tuple(self.surprise),
            first_difference=self.first_difference,
            divergence=tuple(self.divergence),
            tokens_per_s=len(self.ids) / self.seconds if self.seconds else 0.0,
            finished=finished,
            perplexity=self._perplexity(),
            repetition=None if math.isnan(repetition) else repetition,
            refusal=reads_as_refusal(opening + text) if finished is not None and text.strip() else None,
        )

    def _perplexity(self) -> float | None:
        if not self.surprise:
            return None
        from harmviz.generation.surprise import perplexity  # late: it brings torch, which is loaded by now

        return perplexity(self.surprise)


class Answers:
    """All panes of a request, in step."""

    def __init__(self, request: Request):
        self._opening = request.opening
        self._all = [_Answer(pane) for pane in request.panes]
        self._last: tuple[PaneView, ...] | None = None  # the views, once nothing changes any more

    @property
    def complete(self) -> bool:
        """Whether every pane came to its own end."""
        return all(a.finished in ("eos", "length") for a in self._all)

    def push(self, step: Step, pieces: Sequence[str], seconds: float) -> None:
        """Takes in one decode step; ``pieces`` is the text that it completed in each pane."""
        reference = self._all[0]
        for k, (answer, piece) in enumerate(zip(self._all, pieces, strict=True)):
            token, divergence = step.tokens[k], step.divergence[k]
            if token is not None:
                answer.ids.append(token)
                answer.pieces.append("")
                answer.seconds = seconds
            if piece:
                answer.pieces[-1] += piece
            if divergence is not None:
                answer.divergence.append(divergence)
            if answer.first_difference is None and token != step.tokens[0]:
                answer.first_difference = step.index
            answer.finished = step.finished[k]
        if (logprob := step.logprobs[0]) is not None:
            reference.surprise = reference.surprise or []
            reference.surprise.append(-logprob)

    def close(self, tails: Sequence[str]) -> None:
        """Ends the stream: adds what the text decoders still held back; a pane that was still going was stopped."""
        for answer, tail in zip(self._all, tails, strict=True):
            if tail:
                answer.pieces[-1] += tail
            answer.finished = answer.finished or "stopped"
        if self._all[0].surprise is None:
            self._all[0].surprise = []

    def unmeasured(self) -> list[tuple[int, ...]]:
        """The distinct texts, as token ids, whose surprise is not known; panes with a known text are given it."""
        known = {tuple(a.ids): a.surprise for a in self._all if a.surprise is not None}
        for answer in self._all:
            answer.surprise = known.get(tuple(answer.ids))
        return list(dict.fromkeys(tuple(a.ids) for a in self._all if a.surprise is None))

    def measure(self, surprise: Mapping[tuple[int, ...], Sequence[float]]) -> None:
        """Notes the surprise of texts, for every pane that wrote one of them."""
        for answer in self._all:
            if (found := surprise.get(tuple(answer.ids))) is not None:
                answer.surprise = list(found)

    def views(self, *, ended: bool) -> tuple[PaneView, ...]:
        """Every pane as it stands; ``ended``: nothing will change any more, what did not finish was stopped."""
        if self._last is not None:
            return self._last
        views = tuple(a.view(self._opening, ended=ended) for a in self._all)
        if ended:
            self._last = views
        return views

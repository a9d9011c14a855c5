"""Steps of a decode, where answers end, and the gathering of steps into answers. No torch.

Every decode yields steps: of the variants of one prompt (``harmviz.generation.decode``) or of many prompts
(``harmviz.generation.batch``). Whoever wants answers gathers them here: the command line, the batches, the worker's
panes and a scene's recordings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harmviz.generation.text import StreamDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Why an answer ended: an end token, the length limit (or the model's context), or the reader's stop.
Finished = Literal["eos", "length", "stopped"]


@dataclass(frozen=True)
class Step:
    """One step of all K rows of a decode.

    ``tokens[k]`` is the new token, or None from the step on at which row k drew an end token (never shown).
    ``logprobs[k]`` is its log-probability in nats under variant k itself at temperature 1, whatever the temperature of
    the draw. ``divergence[k]`` is KL(variant 0 ‖ variant k) of the next-token distributions in nats, as long as both
    have written the same tokens so far; None afterwards, when they answer different texts. Both are None throughout
    where the rows are different prompts. ``finished[k]`` is None while row k goes on.
    """

    index: int
    tokens: tuple[int | None, ...]
    logprobs: tuple[float | None, ...]
    divergence: tuple[float | None, ...]
    finished: tuple[Finished | None, ...]


class Endings:
    """Where each row of a decode ends: before an end token, or with the last token that its limit allows."""

    def __init__(self, limits: Iterable[int], end_tokens: frozenset[int]):
        self._left = list(limits)
        self._end_tokens = end_tokens
        self.finished: list[Finished | None] = [None] * len(self._left)

    def take(self, rows: Iterable[int], tokens: Iterable[int]) -> tuple[int | None, ...]:
        """The token of every row that belongs to its answer; None where it has ended. ``rows`` names the rows drawn."""
        shown: list[int | None] = [None] * len(self.finished)
        for row, token in zip(rows, tokens, strict=True):
            if self.finished[row] is not None:
                continue
            if token in self._end_tokens:
                self.finished[row] = "eos"
                continue
            shown[row] = token
            self._left[row] -= 1
            if self._left[row] == 0:
                self.finished[row] = "length"
        return tuple(shown)


@dataclass
class Answer:
    """One row's answer so far.

    ``pieces[i]`` is the text that token i completed, "" while a character is unfinished. ``first_difference`` is the
    step at which its tokens first differ from row 0's, counting a missing one as different. ``seconds``: from the start
    of the gathering to the last token.
    """

    token_ids: list[int] = field(default_factory=list, repr=False)
    pieces: list[str] = field(default_factory=list, repr=False)
    logprobs: list[float] = field(default_factory=list)
    divergence: list[float] = field(default_factory=list)
    first_difference: int | None = None
    finished: Finished | None = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens_per_s(self) -> float:
        return len(self.token_ids) / self.seconds if self.seconds else 0.0


class Gatherer:
    """Gathers the steps of a decode into the answers of its rows; make it just before the first step.

    Args:
        n_rows: rows of the decode.
        tokenizer: turns tokens into text as they come; None: only tokens are gathered.
        context: token ids before every answer (its opening words): they shape the spacing, never the text.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        n_rows: int,
        tokenizer: PreTrainedTokenizerBase | None = None,
        context: Sequence[int] = (),
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.answers = tuple(Answer() for _ in range(n_rows))
        self._streams = [StreamDecoder(tokenizer, context) for _ in range(n_rows)] if tokenizer is not None else None
        self._clock = clock
        self._start = clock()

    def push(self, step: Step) -> list[str]:
        """Takes in a step; the new text of each row, whole characters only."""
        seconds = self._clock() - self._start
        for answer, token, logprob, divergence in zip(
            self.answers, step.tokens, step.logprobs, step.divergence, strict=True
        ):
            if token is not None:
                answer.token_ids.append(token)
                answer.seconds = seconds
            if logprob is not None:
                answer.logprobs.append(logprob)
            if divergence is not None:
                answer.divergence.append(divergence)
            if answer.first_difference is None and token != step.tokens[0]:
                answer.first_difference = step.index
        return [self._write(k, token, step.finished[k]) for k, token in enumerate(step.tokens)]

    def close(self) -> None:
        """Ends the gathering: an answer that was still going was stopped."""
        for k, answer in enumerate(self.answers):
            if answer.finished is None:
                self._write(k, None, "stopped")

    def _write(self, k: int, token: int | None, finished: Finished | None) -> str:
        """The text that this token, or the end, completes in row k."""
        answer, piece = self.answers[k], ""
        ends_now = answer.finished is None and finished is not None
        answer.finished = finished
        if self._streams is None:
            return piece
        if token is not None:
            piece = self._streams[k].push(token)
            answer.pieces.append("")
        if ends_now:
            piece += self._streams[k].flush()
        if piece:
            answer.pieces[-1] += piece
        return piece

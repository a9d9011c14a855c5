"""The tickets of the line: what whoever asked holds, to look at (``snapshot``) and to end it (``stop``).

All tickets of a line share the line's lock: a snapshot is one consistent moment. A ticket at which nobody looks any
more, whose page was closed, or which takes too long (``limits``) is ended, so that it holds nobody up.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harmviz.worker.answering import Reading
from harmviz.worker.limits import Limits
from harmviz.worker.pace import LOADING, Pace, Work
from harmviz.worker.panes import Panes
from harmviz.worker.values import ANYBODY, Look, ModelKey, PaneView, Request, Sentence, Snapshot, Visitor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harmviz.generation.next_tokens import NextTokens
    from harmviz.generation.steps import Step
    from harmviz.scoring.sentence import SentenceScore
    from harmviz.worker.line import Line


class Ticket:
    """A place in the line. ``key``: the model that it needs; None: it needs none, and any may be unloaded."""

    #: Whether it is stopped when nobody looks. Loading ahead needs no spectator.
    needs_watching = False

    def __init__(self, line: Line, key: ModelKey | None, visitor: Visitor = ANYBODY):
        self.id = uuid.uuid4().hex
        self.key = key
        self.visitor = visitor
        #: Set when the ticket has ended, by itself or not; then nothing about it changes any more.
        self.ended = threading.Event()
        #: Set when a stream should end before its next token.
        self.halt = threading.Event()
        self._line = line
        self._state, self._stage = "queued", ""
        self._error: str | None = None
        self._why_stopped = "stopped"
        self._note = ""  # what whoever waits has to know
        self._start = self._seen = self._entered = time.monotonic()
        self._end: float | None = None
        self._running_since: float | None = None
        self._absent_since: float | None = None
        self._waiters = 0

    # -- for the holder ---------------------------------------------------------------------------------------------
    @property
    def finished(self) -> bool:
        """Whether the state is done, stopped or failed."""
        return self.ended.is_set()

    @property
    def work(self) -> Work:
        """What serving it takes, its model's loading aside."""
        return Work("unload", 1.0)

    def snapshot(self) -> Snapshot:
        """How it stands; also tells the line that somebody is still looking."""
        with self._line.changed:
            self._seen = time.monotonic()
            ahead = self._line.ahead_of(self)
            expected = self._line.expected_wait(self)
            waiting = ", ".join(filter(None, (f"waiting: {ahead} ahead" if ahead else "waiting", self._note)))
            return Snapshot(
                state=self._state,
                position=ahead,
                stage=waiting if self._state == "queued" else self._stage,
                elapsed_s=(self._end or time.monotonic()) - self._start,
                template=self._template(),
                panes=self._panes(),
                error=self._error,
                expected_s=expected,
                note=self._note,
            )

    def stop(self) -> None:
        """Ends it: at once while it waits, loads or measures; before its next token while it runs.

        Loading itself cannot be broken off; it goes on, for the next in line.
        """
        with self._line.changed:
            self.halt.set()
            if self._state != "running":
                self.finish("stopped")

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended within ``timeout`` seconds (None: however long it takes). Waiting counts as looking."""
        with self._line.changed:
            self._waiters += 1
        try:
            return self.ended.wait(timeout)
        finally:
            with self._line.changed:
                self._waiters -= 1
                self._seen = time.monotonic()

    def _template(self) -> str | None:
        return None

    def _panes(self) -> tuple[PaneView, ...]:
        return ()

    # -- for the worker ---------------------------------------------------------------------------------------------
    def enter(self, state: str, stage: str) -> bool:
        """Moves to a state; False if the ticket has ended meanwhile, so that there is nothing left to do for it."""
        with self._line.changed:
            if self.finished:
                return False
            if state != self._state:
                self._entered = time.monotonic()
                self._running_since = self._entered if state == "running" else self._running_since
            self._state, self._stage = state, stage
            return True

    def finish(self, state: str, error: str | None = None) -> None:
        """Ends in "done", "stopped" or "failed", and leaves the line. Nothing, if it has ended already."""
        with self._line.changed:
            if not self.finished:
                self._end = time.monotonic()
                if state == "done" and self._running_since is not None:
                    self._line.pace.note(self.work, self._end - self._running_since)
                self._state, self._stage, self._error = state, self._why_stopped if state == "stopped" else state, error
                self.ended.set()
            self._line.leave(self)

    def forget(self, why: str) -> None:
        """Stops it because nobody is there for it, and says so."""
        with self._line.changed:
            self._why_stopped = f"stopped: {why}"
            self.stop()

    def why_forgotten(self, limits: Limits) -> str | None:
        """Why to spend nothing more on it, in words: its page was closed, or nobody looks. None: somebody is there."""
        if not self.needs_watching or self._waiters:
            return None
        now = time.monotonic()
        if self.visitor.is_here is None or self.visitor.is_here():
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = now
        elif now - self._absent_since >= limits.closed_s:
            return "its page was closed"
        return f"nobody looked for {limits.patience_s:g} s" if now - self._seen > limits.patience_s else None

    def hurry(self, limits: Limits, *, others_wait: bool) -> None:
        """Ends a stage that has taken too long, and says so."""
        limit = limits.seconds(self._state, others_wait=others_wait)
        if self.finished or limit is None or time.monotonic() - self._entered <= limit:
            return
        why = f"after {limit:g} s" + (": others are waiting" if others_wait else "")
        if self._state == "loading":
            self.finish("failed", f"its model was not loaded after {limit:g} s; try again, or choose a smaller model")
        elif self._state == "measuring":
            self.finish("done")  # the answers are whole; only their surprise is not known
        elif not self.halt.is_set():
            self._why_stopped = f"stopped {why}"
            self.stop()

    def tell(self, note: str) -> None:
        """Notes what whoever waits has to know."""
        with self._line.changed:
            self._note = note

    def left(self, pace: Pace) -> float:
        """Seconds of service that are still to be expected; 0 where that is not known."""
        done = 0.0 if self._running_since is None else time.monotonic() - self._running_since
        return max(0.0, (pace.expected(self.work) or 0.0) - done)


class LoadTicket(Ticket):
    """Loads a model ahead of the first request. Its snapshots have no panes."""

    @property
    def work(self) -> Work:
        return LOADING


class LookTicket(Ticket):
    """A look at what could come next. ``seen``: what was found, once it is done."""

    needs_watching = True

    def __init__(self, line: Line, look: Look, visitor: Visitor = ANYBODY):
        super().__init__(line, look.request.model, visitor)
        self.look = look
        self.seen: NextTokens | None = None

    @property
    def work(self) -> Work:
        return Work("look", float(len(self.look.request.panes)))


class SentenceTicket(Ticket):
    """A sentence asked what it says of a weight. ``score``: the answer, once it is done."""

    needs_watching = True

    def __init__(self, line: Line, sentence: Sentence, visitor: Visitor = ANYBODY):
        super().__init__(line, sentence.model, visitor)
        self.sentence = sentence
        self.score: SentenceScore | None = None

    @property
    def work(self) -> Work:
        return Work("score", 1.0)


class AnswerTicket(Ticket):
    """A request on its way through the worker."""

    needs_watching = True

    def __init__(self, line: Line, request: Request, visitor: Visitor = ANYBODY):
        super().__init__(line, request.model, visitor)
        self.request = request
        self._read: str | None = None
        self._grown = Panes(request)

    @property
    def work(self) -> Work:
        return Work("answer", float(self.request.max_new_tokens * len(self.request.panes)))

    def _template(self) -> str | None:
        return self._read

    def _panes(self) -> tuple[PaneView, ...]:
        return self._grown.views(ended=self.finished)

    # -- for the worker ---------------------------------------------------------------------------------------------
    def begin(self, tokenizer: PreTrainedTokenizerBase, read: Reading) -> None:
        """Notes the whole input as the model reads it; the first step is next."""
        with self._line.changed:
            self._read = read.text
            self._grown.begin(tokenizer, read.opening_ids)

    def push(self, step: Step) -> None:
        """Takes in one step of all panes."""
        with self._line.changed:
            self._grown.push(step)
            self._stage = "writing"

    def begin_measuring(self) -> list[tuple[int, ...]]:
        """Ends streaming; the texts, as token ids, whose surprise is to be measured; none if nobody looks."""
        with self._line.changed:
            self._grown.close()
            texts = self._grown.unmeasured()
            if not texts or self._line.has_forgotten(self) or not self.enter("measuring", "measuring surprise"):
                return []
            return texts

    def measured(self, surprise: Mapping[tuple[int, ...], Sequence[float]]) -> None:
        """Takes in the surprise of texts, unless the ticket has ended meanwhile."""
        with self._line.changed:
            if not self.finished:
                self._grown.measure(surprise)

    def complete(self) -> None:
        """Ends: "done" if every pane came to its own end, else "stopped"."""
        with self._line.changed:
            self.finish("done" if self._grown.complete else "stopped")

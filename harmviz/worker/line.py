"""The line in front of the model, and the tickets in it: one is served, the rest wait in order of arrival.

A ticket belongs to whoever holds it: the page keeps it to look at (``snapshot``) and to end it (``stop``); the line
lets go of it when it is served. A ticket that nobody has looked at for a while (``patience_s``) is stopped, so that a
closed browser tab holds nobody up. All tickets of a line share the line's lock: a snapshot is one consistent moment.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harmviz.errors import HarmvizError
from harmviz.worker.answering import Reading
from harmviz.worker.panes import Panes
from harmviz.worker.values import Look, ModelKey, PaneView, Request, Sentence, Snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harmviz.generation.next_tokens import NextTokens
    from harmviz.generation.steps import Step
    from harmviz.scoring.sentence import SentenceScore


class Ticket:
    """A place in the line. ``key``: the model that it needs; None: it needs none, and any may be unloaded."""

    #: Whether it is stopped when nobody looks. Loading ahead needs no spectator.
    needs_watching = False

    def __init__(self, line: Line, key: ModelKey | None):
        self.id = uuid.uuid4().hex
        self.key = key
        #: Set when the ticket has ended, by itself or not; then nothing about it changes any more.
        self.ended = threading.Event()
        #: Set when a stream should end before its next token.
        self.halt = threading.Event()
        self._line = line
        self._state, self._stage = "queued", ""
        self._error: str | None = None
        self._why_stopped = "stopped"
        self._start = self._seen = time.monotonic()
        self._end: float | None = None
        self._waiters = 0

    # -- for the holder ---------------------------------------------------------------------------------------------
    @property
    def finished(self) -> bool:
        """Whether the state is done, stopped or failed."""
        return self.ended.is_set()

    def snapshot(self) -> Snapshot:
        """How it stands; also tells the line that somebody is still looking."""
        with self._line.changed:
            self._seen = time.monotonic()
            ahead = self._line.ahead_of(self)
            waiting = f"waiting: {ahead} ahead" if ahead else "waiting"
            return Snapshot(
                state=self._state,
                position=ahead,
                stage=waiting if self._state == "queued" else self._stage,
                elapsed_s=(self._end or time.monotonic()) - self._start,
                template=self._template(),
                panes=self._panes(),
                error=self._error,
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
            self._state, self._stage = state, stage
            return True

    def finish(self, state: str, error: str | None = None) -> None:
        """Ends in "done", "stopped" or "failed", and leaves the line. Nothing, if it has ended already."""
        with self._line.changed:
            if not self.finished:
                self._state, self._stage, self._error = state, self._why_stopped if state == "stopped" else state, error
                self._end = time.monotonic()
                self.ended.set()
            self._line.leave(self)

    def forget(self) -> None:
        """Stops it because nobody looks, and says so."""
        with self._line.changed:
            self._why_stopped = f"stopped: nobody looked for {self._line.patience_s:g} s"
            self.stop()

    def is_forgotten(self, patience_s: float) -> bool:
        """Whether nobody has looked for longer than this."""
        return self.needs_watching and not self._waiters and time.monotonic() - self._seen > patience_s


class LoadTicket(Ticket):
    """Loads a model ahead of the first request. Its snapshots have no panes."""


class LookTicket(Ticket):
    """A look at what could come next. ``seen``: what was found, once it is done."""

    needs_watching = True

    def __init__(self, line: Line, look: Look):
        super().__init__(line, look.request.model)
        self.look = look
        self.seen: NextTokens | None = None


class SentenceTicket(Ticket):
    """A sentence asked what it says of a weight. ``score``: the answer, once it is done."""

    needs_watching = True

    def __init__(self, line: Line, sentence: Sentence):
        super().__init__(line, sentence.model)
        self.sentence = sentence
        self.score: SentenceScore | None = None


class AnswerTicket(Ticket):
    """A request on its way through the worker."""

    needs_watching = True

    def __init__(self, line: Line, request: Request):
        super().__init__(line, request.model)
        self.request = request
        self._read: str | None = None
        self._grown = Panes(request)

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


class Line:
    """First come, first served. ``changed`` is the lock of everything in it, notified when there is work.

    Args:
        limit: how many may wait.
        patience_s: how long a ticket lives on without being looked at.
    """

    def __init__(self, limit: int, patience_s: float):
        self.changed = threading.Condition()
        self.limit, self.patience_s = limit, patience_s
        self.closed = False
        self._waiting: list[Ticket] = []
        self._served: Ticket | None = None

    def __len__(self) -> int:
        with self.changed:
            self._drop_forgotten()
            return len(self._waiting) + (self._served is not None)

    def join(self, ticket: Ticket) -> None:
        """Puts a ticket at the end.

        Raises:
            HarmvizError: the line is full, or closed.
        """
        with self.changed:
            self._drop_forgotten()
            if self.closed:
                raise HarmvizError("this worker was closed and takes no requests; reload the page")
            if len(self._waiting) >= self.limit:
                raise HarmvizError(
                    f"{self.limit} requests are waiting already, no more are taken; try again in a minute"
                )
            self._waiting.append(ticket)
            self.changed.notify_all()

    def take(self) -> Ticket | None:
        """The next ticket, as soon as there is one; from now on it is being served. None once the line is closed."""
        with self.changed:
            while True:
                self._drop_forgotten()
                if self.closed:
                    return None
                if self._waiting:
                    self._served = self._waiting.pop(0)
                    return self._served
                self.changed.wait()

    def release(self) -> None:
        """Ends the service of the ticket taken last."""
        with self.changed:
            self._served = None

    def leave(self, ticket: Ticket) -> None:
        """Takes a waiting ticket out; the one being served keeps its place until ``release``."""
        with self.changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def will_change(self, held: ModelKey | None) -> bool:
        """Whether anybody in line, waiting or served, needs another model than the one held (None: there is none)."""
        with self.changed:
            self._drop_forgotten()
            return any(t.key != held for t in self._in_line() if not t.finished)

    def ahead_of(self, ticket: Ticket) -> int:
        """How many will be served before this one; 0 if it does not wait."""
        with self.changed:
            self._drop_forgotten()
            if ticket not in self._waiting:
                return 0
            return self._waiting.index(ticket) + (self._served is not None)

    def has_forgotten(self, ticket: Ticket) -> bool:
        """Whether to spend nothing more on this ticket: nobody looks at it, or the line is closed."""
        with self.changed:
            return self.closed or ticket.is_forgotten(self.patience_s)

    def stop_forgotten(self) -> None:
        """Stops every ticket, served or waiting, at which nobody looks any more."""
        with self.changed:
            self._drop_forgotten()

    def close(self) -> None:
        """Stops every ticket and lets no more in."""
        with self.changed:
            self.closed = True
            for ticket in self._in_line():
                ticket.stop()
            self.changed.notify_all()

    def _in_line(self) -> list[Ticket]:
        return [*self._waiting, *([self._served] if self._served else [])]

    def _drop_forgotten(self) -> None:
        for ticket in self._in_line():
            if not ticket.finished and ticket.is_forgotten(self.patience_s):
                ticket.forget()

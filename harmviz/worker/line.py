"""The line in front of the model: one ticket is served, the rest wait in order of arrival.

The order is fair because each visitor has one place to wait in (``Limits.waiting_each``): nobody is served twice while
somebody waits who asked before the second time. The line also ends what holds others up: tickets at which nobody looks,
whose page was closed, or whose time is over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

from harmviz.errors import HarmvizError
from harmviz.worker.limits import USUAL, Limits
from harmviz.worker.pace import LOADING, Pace
from harmviz.worker.tickets import Ticket
from harmviz.worker.values import ModelKey


class Line:
    """First come, first served. ``changed`` is the lock of everything in it, notified when there is work."""

    def __init__(self, limits: Limits = USUAL):
        self.changed = threading.Condition()
        self.limits, self.pace = limits, Pace()
        self.closed = False
        self._waiting: list[Ticket] = []
        self._served: Ticket | None = None

    def __len__(self) -> int:
        with self.changed:
            self.tend()
            return len(self._waiting) + (self._served is not None)

    def join(self, ticket: Ticket, instead_of: Ticket | None = None) -> None:
        """Puts a ticket at the end. ``instead_of``: an earlier one of the same visitor, which is stopped if this one
        is let in.

        Raises:
            HarmvizError: the line is full, or closed, or its visitor has one waiting already.
        """
        with self.changed:
            self.tend()
            if self.closed:
                raise HarmvizError("this worker was closed and takes no requests; reload the page")
            waiting = [other for other in self._waiting if other is not instead_of]
            if len(waiting) >= self.limits.waiting:
                raise HarmvizError(
                    f"{self.limits.waiting} requests are waiting already, no more are taken; try again in a minute"
                )
            own = [t for t in waiting if type(t) is type(ticket) and _same_visitor(t, ticket)]
            if len(own) >= self.limits.waiting_each:
                raise HarmvizError(
                    "a request of yours is waiting already, perhaps in another tab; wait for it, or stop it, and ask "
                    "again"
                )
            if instead_of is not None:
                instead_of.stop()
            self._waiting.append(ticket)
            self.changed.notify_all()

    def wait(self, timeout: float | None) -> bool:
        """Whether there is something to do within ``timeout`` seconds: a ticket to serve, or the end."""
        with self.changed:
            return self.changed.wait_for(lambda: bool(self._waiting) or self.closed, timeout)

    def take(self) -> Ticket | None:
        """The next ticket, as soon as there is one; from now on it is being served. None once the line is closed."""
        with self.changed:
            while True:
                self.tend()
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

    def tell(self, note: str) -> None:
        """Tells everybody who waits."""
        with self.changed:
            for ticket in self._waiting:
                ticket.tell(note)

    # -- how it stands ----------------------------------------------------------------------------------------------
    def will_change(self, held: ModelKey | None) -> bool:
        """Whether anybody in line, waiting or served, needs another model than the one held (None: there is none)."""
        with self.changed:
            self.tend()
            return any(t.key != held for t in self._in_line() if not t.finished)

    def ahead_of(self, ticket: Ticket) -> int:
        """How many will be served before this one; 0 if it does not wait."""
        with self.changed:
            self.tend()
            if ticket not in self._waiting:
                return 0
            return self._waiting.index(ticket) + (self._served is not None)

    def expected_wait(self, ticket: Ticket) -> float | None:
        """Seconds until this ticket's turn, at the pace of those served before; None if it does not wait, or where
        nothing like what is ahead of it was served yet."""
        with self.changed:
            if ticket not in self._waiting:
                return None
            ahead = [*([self._served] if self._served else []), *self._waiting[: self._waiting.index(ticket)]]
            known = [self.pace.expected(t.work) for t in ahead if t.work.kind == "answer"]
            if None in known:
                return None
            return sum(t.left(self.pace) for t in ahead) + sum(self._changes(ahead))

    def _changes(self, ahead: list[Ticket]) -> Iterator[float]:
        """Seconds of loading for every change of the model from one to the next."""
        for before, after in pairwise(ahead):
            if after.key is not None and after.key != before.key and after.work != LOADING:
                yield self.pace.expected(LOADING) or 0.0

    def _in_line(self) -> list[Ticket]:
        return [*self._waiting, *([self._served] if self._served else [])]

    # -- what holds others up ---------------------------------------------------------------------------------------
    def has_forgotten(self, ticket: Ticket) -> bool:
        """Whether to spend nothing more on this ticket: nobody is there for it, or the line is closed."""
        with self.changed:
            return self.closed or ticket.why_forgotten(self.limits) is not None

    def tend(self) -> None:
        """Stops every ticket, served or waiting, for which nobody is there any more, and a service that takes too
        long."""
        with self.changed:
            for ticket in self._in_line():
                if not ticket.finished and (why := ticket.why_forgotten(self.limits)):
                    ticket.forget(why)
            if self._served is not None:
                others = any(not _same_visitor(t, self._served) for t in self._waiting)
                self._served.hurry(self.limits, others_wait=others)

    def close(self) -> None:
        """Stops every ticket and lets no more in."""
        with self.changed:
            self.closed = True
            for ticket in self._in_line():
                ticket.stop()
            self.changed.notify_all()


def _same_visitor(one: Ticket, other: Ticket) -> bool:
    """Whether two tickets are one visitor's; those without a name are all strangers to each other."""
    return one.visitor.name == other.visitor.name != ""

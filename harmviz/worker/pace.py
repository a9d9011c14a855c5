"""How long it takes to serve a ticket, learnt from those that were served: what a wait is expected to be.

    seconds(ticket) = units × s_per_unit(kind)          units of an answer: its longest tokens × its panes

``s_per_unit`` is a moving average over the tickets that came to their own end, so that it follows the model that is
loaded and what else the machine does. Not thread-safe by itself: the line keeps it under its lock.
"""

from __future__ import annotations

from typing import NamedTuple

#: Weight of the newest ticket in the average.
_NEWEST = 0.3


class Work(NamedTuple):
    """What a ticket asks for: tickets of one kind take time in proportion to their units."""

    kind: str
    units: float


#: Loading a model, as a ticket of its own or before another one's service.
LOADING = Work("load", 1.0)


class Pace:
    """Seconds a unit of each kind of work."""

    def __init__(self) -> None:
        self._s_per_unit: dict[str, float] = {}

    def note(self, work: Work, seconds: float) -> None:
        """Learns from one ticket served."""
        new = seconds / work.units
        old = self._s_per_unit.get(work.kind, new)
        self._s_per_unit[work.kind] = old + _NEWEST * (new - old)

    def expected(self, work: Work) -> float | None:
        """Seconds that this will take; None while nothing of its kind was served."""
        pace = self._s_per_unit.get(work.kind)
        return None if pace is None else pace * work.units

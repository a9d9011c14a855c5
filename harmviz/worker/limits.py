"""What one worker gives to each of its visitors, and for how long: everything that keeps one from holding up the rest.

The numbers are for a lecture hall on one laptop: four panes of 256 tokens take it about a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The longest answer that can be asked for, in tokens.
MAX_NEW_TOKENS = 256
#: The longest prompt with its opening words, in characters: one pass over it cannot be broken off.
MAX_CHARACTERS = 16_000


@dataclass(frozen=True)
class Limits:
    """Numbers of tickets, and seconds.

    Attributes:
        waiting: how many tickets may wait in all.
        waiting_each: how many of one kind (answers, looks, loads) may wait for one visitor; one more may be served.
        patience_s: a ticket at which nobody looks for so long is stopped.
        closed_s: a ticket whose page has been closed for so long is stopped; a broken connection is mended in less.
        loading_s: the ticket fails where its model takes longer; the loading itself goes on, for the next in line.
        answering_s: the answer is stopped where it takes longer while others wait.
        alone_s: the same while nobody else waits.
        measuring_s: the surprise is given up where it takes longer while others wait; the answer stands without.
        idle_s: nobody has asked for so long: the model may be let go where memory is short.
        low_memory: memory is short where less than these bytes are free.
    """

    waiting: int = 64
    waiting_each: int = 1
    patience_s: float = 60.0
    closed_s: float = 5.0
    loading_s: float = 900.0
    answering_s: float = 120.0
    alone_s: float = 3600.0
    measuring_s: float = 30.0
    idle_s: float = 120.0
    low_memory: int = 512 << 20

    def seconds(self, state: str, *, others_wait: bool) -> float | None:
        """How long a ticket may stay in this state; None: as long as it takes."""
        if state == "loading":
            return self.loading_s
        if state not in ("running", "measuring"):
            return None
        if not others_wait:
            return self.alone_s
        return self.answering_s if state == "running" else self.measuring_s


USUAL = Limits()

"""The line: order, position, bound, leaving, and tickets at which nobody looks any more."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harmviz.errors import HarmvizError
from harmviz.worker import MAX_NEW_TOKENS, Worker
from tests.worlds.serving import PATIENCE, Gate, key, request, until


def test_position_counts_down_and_order_is_kept(worker: Worker, gate: Gate, tiny_dir: Path) -> None:
    tickets = [worker.submit(request(tiny_dir, seed=i, max_new_tokens=1, temperature=1.0)) for i in range(3)]
    assert gate.waiting.wait(PATIENCE)
    seen = []
    for served in tickets:
        until(lambda ticket=served: ticket.snapshot().state == "running")  # type: ignore[misc]
        seen.append([(s.state, s.position) for s in (ticket.snapshot() for ticket in tickets)])
        assert worker.state().queue == len(tickets) - tickets.index(served)
        gate.let(1)
        assert served.wait(PATIENCE)
    assert seen == [
        [("running", 0), ("queued", 1), ("queued", 2)],
        [("done", 0), ("running", 0), ("queued", 1)],
        [("done", 0), ("done", 0), ("running", 0)],
    ]
    until(lambda: worker.state().queue == 0)


def test_a_queued_ticket_leaves_at_once(worker: Worker, gate: Gate, tiny_dir: Path) -> None:
    first, second, third = (worker.submit(request(tiny_dir, max_new_tokens=2)) for _ in range(3))
    assert gate.waiting.wait(PATIENCE)
    assert third.snapshot().stage == "waiting: 2 ahead"
    second.stop()
    assert second.finished
    assert second.wait(0)
    left = second.snapshot()
    assert (left.state, left.position, left.error, left.template) == ("stopped", 0, None, None)
    assert [(p.finished, p.text, p.refusal) for p in left.panes] == [("stopped", "", None)]
    assert third.snapshot().position == 1
    gate.let(4)
    assert third.wait(PATIENCE)
    assert (first.snapshot().state, third.snapshot().state) == ("done", "done")


def test_the_line_is_bounded(gate: Gate, worker: Worker, tiny_dir: Path) -> None:
    served = worker.submit(request(tiny_dir))
    assert gate.waiting.wait(PATIENCE)
    waiting = [worker.submit(request(tiny_dir, max_new_tokens=1)) for _ in range(64)]
    with pytest.raises(HarmvizError, match="64 requests are waiting already"):
        worker.submit(request(tiny_dir))
    with pytest.raises(HarmvizError, match="64 requests are waiting already"):
        worker.load(key(tiny_dir))
    waiting[3].stop()
    worker.submit(request(tiny_dir, max_new_tokens=1)).stop()
    assert not served.finished


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The line's clock, to be moved by hand."""
    clock = [100.0]
    monkeypatch.setattr("harmviz.worker.tickets.time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


def test_an_abandoned_ticket_is_stopped_and_holds_nobody_up(
    clock: list[float], gate: Gate, worker: Worker, tiny_dir: Path
) -> None:
    running, queued, watched = (worker.submit(request(tiny_dir)) for _ in range(3))
    assert gate.waiting.wait(PATIENCE)
    clock[0] += 59
    assert watched.snapshot().position == 2  # within the patience: all live
    clock[0] += 2
    assert watched.snapshot().position == 1  # the queued one is gone; the other goes before its next token
    assert queued.finished
    assert not running.finished
    gate.let(100)
    assert watched.wait(PATIENCE)
    assert watched.snapshot().state == "done"
    for ticket, n_tokens in ((running, 1), (queued, 0)):
        seen = ticket.snapshot()
        assert (seen.state, seen.stage) == ("stopped", "stopped: nobody looked for 60 s")
        assert len(seen.panes[0].tokens) == n_tokens
        assert [p.finished for p in seen.panes] == ["stopped"]


def test_waiting_for_a_ticket_counts_as_looking(clock: list[float], gate: Gate, worker: Worker, tiny_dir: Path) -> None:
    ticket = worker.submit(request(tiny_dir, max_new_tokens=3))
    ended: list[bool] = []
    waiter = threading.Thread(target=lambda: ended.append(ticket.wait(PATIENCE)))
    waiter.start()
    assert gate.waiting.wait(PATIENCE)
    until(lambda: ticket._waiters == 1)
    clock[0] += 1000
    gate.let(3)
    waiter.join(PATIENCE)
    assert ended == [True]
    assert ticket.snapshot().state == "done"
    assert ticket.snapshot().elapsed_s == 1000


def test_a_ticket_that_has_ended_is_not_kept(worker: Worker, tiny_dir: Path) -> None:
    ticket = worker.submit(request(tiny_dir, max_new_tokens=2))
    assert ticket.wait(PATIENCE)
    until(lambda: worker.state().queue == 0)
    ref = weakref.ref(ticket)
    del ticket
    gc.collect()
    assert ref() is None


def test_closing_ends_every_ticket(tiny_dir: Path) -> None:
    worker = Worker()
    tickets = [
        worker.submit(request(tiny_dir, max_new_tokens=MAX_NEW_TOKENS, temperature=1.0, seed=s)) for s in range(3)
    ]
    until(lambda: bool(tickets[0].snapshot().panes[0].tokens))
    worker.close()
    assert all(ticket.finished for ticket in tickets)
    assert [ticket.snapshot().state for ticket in tickets[1:]] == ["stopped", "stopped"]
    assert not worker._thread.is_alive()
    assert worker.state().state == "none"
    with pytest.raises(HarmvizError, match="was closed"):
        worker.submit(request(tiny_dir))


def test_what_is_held_counts_as_changing_from_the_moment_somebody_asks(
    worker: Worker, gate: Gate, tiny_dir: Path
) -> None:
    """A load or an unload that waits behind an answer is on its way, however long the model stays ready meanwhile."""
    held, other = key(tiny_dir), replace(key(tiny_dir), dtype="bfloat16")
    assert worker.load(held).wait(PATIENCE)
    until(lambda: worker.state().queue == 0)
    assert not worker.state().changing
    answer = worker.submit(request(tiny_dir, max_new_tokens=1))
    assert gate.waiting.wait(PATIENCE)
    assert not worker.state().changing, "answers of the model that is held change nothing"
    load = worker.load(other)
    state = worker.state()
    assert (state.state, state.key, state.changing) == ("ready", held, True)
    load.stop()
    assert not worker.state().changing
    worker.unload()
    assert worker.state().changing
    gate.let(1)
    assert answer.wait(PATIENCE)
    until(lambda: worker.state().queue == 0)
    assert (worker.state().state, worker.state().changing) == ("none", False)

"""Many visitors before one model: places in the line, waits that are told, closed pages, time that is over, a worker
that breaks down, memory that runs short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harmviz.errors import HarmvizError
from harmviz.models.load import LoadedModel
from harmviz.worker import Limits, Look, Pane, Visitor, Worker, answering
from harmviz.worker.pace import Pace, Work
from tests.worlds.generation import random_mask
from tests.worlds.serving import PATIENCE, Gate, key, request, until

ANN, BOB = Visitor("ann"), Visitor("bob")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the tickets, to be moved by hand."""
    clock = [100.0]
    monkeypatch.setattr("harmviz.worker.tickets.time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


# -- places -----------------------------------------------------------------------------------------------------------
def test_one_visitor_has_one_place_to_wait_in_and_nobody_is_served_twice_before_another(
    worker: Worker, gate: Gate, tiny_dir: Path
) -> None:
    asked = request(tiny_dir, max_new_tokens=1)
    first = worker.submit(asked, ANN)
    assert gate.waiting.wait(PATIENCE)
    second = worker.submit(asked, ANN)
    with pytest.raises(HarmvizError, match=r"a request of yours is waiting already.*ask again"):
        worker.submit(asked, ANN)
    other = worker.submit(asked, BOB)
    assert (second.snapshot().position, other.snapshot().position) == (1, 2)
    gate.let(1)
    assert first.wait(PATIENCE)
    until(lambda: second.snapshot().state == "running")
    third = worker.submit(asked, ANN)  # one is served, so one may wait: behind bob, who asked before
    assert (other.snapshot().position, third.snapshot().position) == (1, 2)
    gate.let(3)
    assert all(t.wait(PATIENCE) and t.snapshot().state == "done" for t in (second, other, third))


def test_looks_and_loads_are_counted_apart_and_who_has_no_name_is_not_counted(
    worker: Worker, gate: Gate, tiny_dir: Path
) -> None:
    asked = request(tiny_dir, max_new_tokens=1)
    worker.submit(asked, ANN)
    assert gate.waiting.wait(PATIENCE)
    for take in (
        lambda: worker.submit(asked, ANN),
        lambda: worker.look(Look(asked, ""), ANN),
        lambda: worker.load(key(tiny_dir), ANN),
    ):
        take()
        with pytest.raises(HarmvizError, match="of yours is waiting already"):
            take()
    assert len([worker.submit(asked) for _ in range(3)]) == 3


def test_a_request_in_place_of_another_stops_it_only_if_it_is_let_in(
    worker: Worker, gate: Gate, tiny_dir: Path
) -> None:
    asked = request(tiny_dir, max_new_tokens=1)
    served = worker.submit(asked, BOB)
    assert gate.waiting.wait(PATIENCE)
    old = worker.submit(asked, ANN)
    new = worker.submit(asked, ANN, instead_of=old)
    assert old.snapshot().state == "stopped"
    assert new.snapshot().position == 1
    with pytest.raises(HarmvizError):
        worker.submit(asked, ANN, instead_of=served)  # another ticket of hers waits
    assert not served.halt.is_set()


# -- the wait that is told --------------------------------------------------------------------------------------------
def test_the_expected_wait_is_that_of_those_ahead_at_the_pace_so_far(
    clock: list[float], worker: Worker, gate: Gate, tiny_dir: Path
) -> None:
    asked = request(tiny_dir, max_new_tokens=2)
    before, unknown = worker.submit(asked), worker.submit(asked)
    assert gate.waiting.wait(PATIENCE)
    assert before.snapshot().expected_s is None, "it is being served"
    assert unknown.snapshot().expected_s is None, "nothing was served yet"
    gate.let(1)
    until(lambda: gate.arrived == 2)
    clock[0] += 10.0
    gate.let(1)
    assert before.wait(PATIENCE)
    until(lambda: unknown.snapshot().state == "running")
    long, last = worker.submit(replace(asked, max_new_tokens=6)), worker.submit(asked)
    assert long.snapshot().expected_s == pytest.approx(10.0)  # two tokens took 10 s
    assert last.snapshot().expected_s == pytest.approx(10.0 + 30.0)
    clock[0] += 4.0
    assert long.snapshot().expected_s == pytest.approx(6.0)
    clock[0] += 50.0
    assert long.snapshot().expected_s == 0.0, "later than expected is no negative time"


def test_the_pace_follows_the_newest() -> None:
    pace, four_panes = Pace(), Work("answer", 4 * 256.0)
    assert pace.expected(four_panes) is None
    pace.note(Work("answer", 100.0), 10.0)
    assert pace.expected(four_panes) == pytest.approx(102.4)
    pace.note(Work("answer", 100.0), 20.0)  # 0.1 + 0.3 · (0.2 − 0.1) = 0.13 s a unit
    assert pace.expected(four_panes) == pytest.approx(133.12)
    assert pace.expected(Work("look", 1.0)) is None


# -- closed pages -----------------------------------------------------------------------------------------------------
def test_a_closed_page_frees_its_place_and_a_mended_connection_keeps_it(
    clock: list[float], worker: Worker, gate: Gate, tiny_dir: Path
) -> None:
    here = {"ann": True, "bob": True}
    ann, bob = (Visitor(name, lambda name=name: here[name]) for name in here)  # type: ignore[misc]
    served = worker.submit(request(tiny_dir), ann)
    assert gate.waiting.wait(PATIENCE)
    queued = worker.submit(request(tiny_dir), ann)
    other = worker.submit(request(tiny_dir, max_new_tokens=2), bob)
    here.update(ann=False, bob=False)
    assert other.snapshot().position == 2
    clock[0] += 4.0
    here["bob"] = True  # a break of 4 s
    assert other.snapshot().position == 2
    clock[0] += 2.0
    assert other.snapshot().position == 1, "who left waits no more"
    assert queued.snapshot().stage == "stopped: its page was closed"
    gate.let(100)
    assert other.wait(PATIENCE)
    assert other.snapshot().state == "done"
    assert (served.snapshot().state, served.snapshot().stage) == ("stopped", "stopped: its page was closed")
    assert len(served.snapshot().panes[0].tokens) == 1, "it went before its next token"


# -- time limits ------------------------------------------------------------------------------------------------------
def test_a_long_answer_is_stopped_only_while_others_wait(
    clock: list[float], worker: Worker, gate: Gate, tiny_dir: Path
) -> None:
    served = worker.submit(request(tiny_dir), ANN)
    assert gate.waiting.wait(PATIENCE)
    own = worker.submit(request(tiny_dir, max_new_tokens=1), ANN)
    for _ in range(3):
        clock[0] += 41.0
        assert (served.snapshot().state, own.snapshot().state) == ("running", "queued")
    assert not served.halt.is_set(), "only its own visitor waits"
    other = worker.submit(request(tiny_dir, max_new_tokens=1), BOB)
    assert own.snapshot().position == 1
    gate.let(100)
    assert other.wait(PATIENCE)
    seen = served.snapshot()
    assert (seen.state, seen.stage) == ("stopped", "stopped after 120 s: others are waiting")
    assert len(seen.panes[0].tokens) == 1


def test_surprise_that_takes_too_long_is_given_up_and_the_answer_stands(
    clock: list[float], worker: Worker, tiny: LoadedModel, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = answering.surprise, []

    def slow(*a: object, **k: object) -> object:
        others.append(worker.submit(request(tiny_dir, max_new_tokens=1), BOB))
        clock[0] += 31.0
        others[0].snapshot()  # whoever looks ends what is over
        return real(*a, **k)  # type: ignore[arg-type]

    monkeypatch.setattr(answering, "surprise", slow)
    ticket = worker.submit(request(tiny_dir, Pane("a", random_mask(tiny, 300)), max_new_tokens=4), ANN)
    assert ticket.wait(PATIENCE)
    seen = ticket.snapshot()
    assert (seen.state, seen.error) == ("done", None)
    assert all(pane.text and pane.finished for pane in seen.panes)
    assert (seen.panes[0].perplexity is None, seen.panes[1].perplexity) == (False, None)


def test_a_load_that_takes_too_long_fails_its_ticket_and_serves_the_next(
    clock: list[float], tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import harmviz.models.load as loading

    real = loading.load_model

    def slow(*a: object, **k: object) -> LoadedModel:
        clock[0] += 11.0
        first.snapshot()
        return real(*a, **k)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load_model", slow)
    worker = Worker(Limits(loading_s=10.0))
    try:
        with worker._line.changed:  # both are in line before either is served
            first, second = (worker.submit(request(tiny_dir, max_new_tokens=1), v) for v in (ANN, BOB))
        assert first.wait(PATIENCE)
        assert "was not loaded after 10 s" in (first.snapshot().error or "")
        assert second.wait(PATIENCE)
        assert second.snapshot().state == "done", "the loading went on, for the next in line"
    finally:
        worker.close()


# -- breakdowns -------------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("where", ["while serving", "between two tickets"])
def test_a_breakdown_is_told_to_each_visitor_and_mended(
    where: str, worker: Worker, gate: Gate, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = worker.submit(request(tiny_dir, max_new_tokens=1), ANN)
    assert gate.waiting.wait(PATIENCE)
    thread = worker._thread
    waiting = [worker.submit(request(tiny_dir, max_new_tokens=1), Visitor(f"v{i}")) for i in range(3)]
    broken = iter([True])

    def breaks(*a: object, **k: object) -> None:
        if next(broken, False):
            raise SystemExit("a library ended the thread")

    if where == "while serving":
        monkeypatch.setattr(answering, "surprise", lambda *a, **k: breaks() or {})
    else:
        release = worker._line.release
        monkeypatch.setattr(worker._line, "release", lambda: (release(), breaks()))
    gate.let(1)
    assert served.wait(PATIENCE)
    until(lambda: waiting[0].snapshot().state == "running")
    if where == "while serving":
        assert "this request was lost" in (served.snapshot().error or "")
    else:
        until(lambda: worker._thread is not thread)
    for ticket in waiting[1:]:
        assert "broke down and was started again" in ticket.snapshot().note
    gate.let(10)
    assert all(t.wait(PATIENCE) and t.snapshot().state == "done" for t in waiting), "nobody lost a place"
    again = worker.submit(request(tiny_dir, max_new_tokens=1), ANN)
    assert again.wait(PATIENCE)
    assert (again.snapshot().state, again.snapshot().note) == ("done", "")


# -- memory -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], Worker]]:
    """Makes a worker that finds so much memory free, and lets go after an instant."""
    monkeypatch.setattr("harmviz.worker.service._LOOK_ROUND_S", 0.01)
    workers = []

    def make(free: int | None) -> Worker:
        workers.append(Worker(Limits(idle_s=0.05), free_memory=lambda: free))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_an_idle_model_goes_where_memory_is_short_and_comes_back(
    short: Callable[[int | None], Worker], tiny_dir: Path
) -> None:
    worker = short(100 << 20)
    for _ in range(2):
        ticket = worker.submit(request(tiny_dir, max_new_tokens=1))
        assert ticket.wait(PATIENCE)
        assert ticket.snapshot().state == "done"
        until(lambda: worker.state().state == "none")
        assert "memory was short" in worker.state().stage


@pytest.mark.parametrize("free", [None, 2 << 30])
def test_it_stays_where_there_is_memory_or_nobody_knows(
    free: int | None, short: Callable[[int | None], Worker], tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = short(free)
    looked = []
    look_round = worker._let_go_if_idle
    monkeypatch.setattr(worker, "_let_go_if_idle", lambda: (look_round(), looked.append(True)))
    assert worker.submit(request(tiny_dir, max_new_tokens=1)).wait(PATIENCE)
    until(lambda: len(looked) > 20)
    assert worker.state().state == "ready"

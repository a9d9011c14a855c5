"""Work shared among forked processes: the same results, faults passed on, nobody and no lock left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.generation.batch import generate_batch
from harmviz.models import processes
from harmviz.models.load import LoadedModel
from harmviz.models.processes import available, spread
from harmviz.scoring.loss import response_losses
from tests.worlds.tiny import tiny_model
from tests.worlds.worked import samples

PIECES = [5, 1, 4, 2, 3]
#: Elsewhere nothing is forked, which ``test_elsewhere_nothing_is_forked`` asserts.
forks = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedModel]:
    """A tiny model that is taken for one whose work is worth sharing, on two threads."""
    monkeypatch.setattr(processes, "SMALLEST", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield tiny_model()
    assert torch.get_num_threads() == 2, "put back after every call"
    torch.set_num_threads(threads)


def shared(model: LoadedModel, work: Callable[[int], object]) -> list[object]:
    return spread(model, work, PIECES, PIECES)


def no_child_is_left() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


@forks
def test_results_come_in_order_from_two_processes_of_one_thread(model: LoadedModel) -> None:
    found = shared(model, lambda piece: (piece * 10, os.getpid(), torch.get_num_threads()))
    assert [value for value, _, _ in found] == [50, 10, 40, 20, 30]
    pids = [pid for _, pid, _ in found]
    assert len(set(pids)) == 2
    assert os.getpid() in pids
    assert {threads for _, _, threads in found} == {1}
    assert no_child_is_left()


@forks
def test_shares_are_of_about_equal_cost(model: LoadedModel) -> None:
    found = shared(model, lambda piece: (piece, os.getpid()))
    totals = [sum(piece for piece, pid in found if pid == of) for of in {pid for _, pid in found}]
    assert sorted(totals) == [7, 8]


def test_a_piece_that_fails_elsewhere_is_tried_again_here(model: LoadedModel) -> None:
    here = os.getpid()

    def works_at_home(piece: int) -> int:
        if os.getpid() != here:
            raise ValueError("not here")
        return piece

    assert shared(model, works_at_home) == PIECES
    with pytest.raises(ZeroDivisionError):
        shared(model, lambda piece: 1 / 0)
    assert no_child_is_left()


@forks
def test_where_no_process_can_be_forked_all_is_done_here(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> int:
        raise BlockingIOError("no place for another process")

    monkeypatch.setattr(os, "fork", no_room)
    before = len(os.listdir("/proc/self/fd"))
    assert shared(model, lambda piece: (piece, os.getpid())) == [(piece, os.getpid()) for piece in PIECES]
    assert len(os.listdir("/proc/self/fd")) == before


@forks
def test_a_stop_ends_the_helpers_at_once(model: LoadedModel) -> None:
    here = os.getpid()

    def work(piece: int) -> int:
        if os.getpid() == here:
            raise KeyboardInterrupt
        time.sleep(60)
        return piece

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        shared(model, work)
    assert time.monotonic() - began < 20
    assert no_child_is_left()


@forks
def test_losses_and_answers_are_those_of_one_process(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    group, prompts = samples(40), [list(range(3, 8 + i % 5)) for i in range(11)]
    forks: list[int] = []
    fork = os.fork

    def counted() -> int:
        forks.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", counted)

    def both() -> tuple[np.ndarray, list[list[int]]]:
        return response_losses(model, group, skips=(0, 2)), generate_batch(model, prompts, 12)

    ticks: list[tuple[int, int]] = []
    together = both()
    assert len(forks) == 2
    response_losses(model, group, progress=lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (40, 40)
    monkeypatch.setattr(processes, "MOST", 1)
    forks.clear()
    alone = both()
    assert not forks
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-5)
    assert together[1] == alone[1]


def test_elsewhere_nothing_is_forked(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available(model) == 1
    assert shared(model, lambda piece: (piece, os.getpid())) == [(piece, os.getpid()) for piece in PIECES]


@forks
def test_threads_of_a_dashboard_do_not_fork(model: LoadedModel) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(available(model)))
    thread.start()
    thread.join()
    assert (seen, available(model)) == ([1], 2)


@forks
def test_a_killed_command_leaves_neither_helpers_nor_locks(tmp_path: Path) -> None:
    """A helper that outlived its parent would hold what the parent had locked, and its cores."""
    lock, pids = tmp_path / "lock", tmp_path / "pids"
    script = f"""
import fcntl, os, time, torch
from harmviz.models import processes
from tests.worlds.tiny import tiny_model
processes.SMALLEST = 0
model = tiny_model()
torch.set_num_threads(2)
held = open({str(lock)!r}, "w")
fcntl.flock(held, fcntl.LOCK_EX)
def work(piece):
    with open({str(pids)!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    time.sleep(120)
processes.spread(model, work, [1, 2], [1, 1])
"""
    root = Path(__file__).resolve().parents[2]
    command = subprocess.Popen([sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    deadline = time.monotonic() + 60
    while not pids.is_file() or len(pids.read_text().split()) < 2:
        assert command.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    command.send_signal(signal.SIGKILL)
    command.wait()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where a helper holds it
    (helper,) = {int(pid) for pid in pids.read_text().split()} - {command.pid}
    while Path(f"/proc/{helper}").exists() and "Z (zombie)" not in Path(f"/proc/{helper}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)

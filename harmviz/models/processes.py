"""Independent pieces of work on one model, shared out among processes of one thread each.

On a few cores two processes of one thread get more done than one of two threads, decoding a fifth more, losses a
twentieth to a fifth (docs/speed.md): the matrices of a small model are too small to be shared well, and everything
between them is not shared at all. The processes are forked for one call. They
see the weights as they are, a mask included, and share their memory; pieces are computed as they would be without, so
that numbers agree up to rounding.

Forking is kept to where it is safe and pays: Linux, a CPU of few threads, the main thread. Commands run there;
a dashboard's threads may hold locks that a fork would copy and nobody release. A process that talks to others
(``harmviz.models.ranks``) does not fork either: a fork would copy its connections.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel

Piece = TypeVar("Piece")
Result = TypeVar("Result")

#: With more threads than this, threads do as well as processes, and each process would cost its own activations.
MOST = 4
#: With fewer scored weights than this, forking takes longer than the work.
SMALLEST = 10_000_000
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def available(loaded: LoadedModel) -> int:
    """How many processes share the work of this model: the threads where forking is safe and pays, else 1."""
    import torch

    threads = torch.get_num_threads()
    safe = sys.platform == "linux" and threading.current_thread() is threading.main_thread() and not _connected()
    pays = loaded.device.type == "cpu" and 2 <= threads <= MOST and loaded.table.n_weights >= SMALLEST
    return threads if safe and pays else 1


def spread(
    loaded: LoadedModel,
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    costs: Sequence[float],
    tick: Callable[[float], None] = lambda done: None,
) -> list[Result]:
    """``work(piece)`` of every piece, in their order.

    Args:
        loaded: the model that ``work`` uses.
        work: computes one piece without gradients; its result is JSON, such as lists of finite numbers. It may run in
            another process: what it changes there is lost.
        costs: of each piece, in any unit, to share them out evenly.
        tick: called with the share of the work that is done, after each piece of this process.

    Raises:
        what ``work`` raises: a piece that fails elsewhere is tried again here.
    """
    import torch

    n = min(available(loaded), len(pieces))
    mine, *others = shares(costs, n)
    threads, results = torch.get_num_threads(), dict[int, Result]()
    helpers = list[_Helper[Piece, Result]]()
    try:
        if others:
            torch.set_num_threads(1)
            for share in others:
                try:
                    helpers.append(_Helper(work, pieces, share))
                except OSError:  # no memory, or no place, for another process
                    mine += share
        for done, place in enumerate(mine, 1):
            results[place] = work(pieces[place])
            tick(done / len(mine))
        for helper in helpers:
            results |= helper.results() or {place: work(pieces[place]) for place in helper.share}
    finally:
        for helper in helpers:
            helper.end()
        torch.set_num_threads(threads)
    return [results[place] for place in range(len(pieces))]


def _connected() -> bool:
    """Whether this process is one of several that torch connects."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def shares(costs: Sequence[float], n: int) -> list[list[int]]:
    """Places in ``n`` shares of about equal cost: the dearest first, each to the share that has least so far."""
    places: list[list[int]] = [[] for _ in range(max(1, n))]
    totals = [0.0] * len(places)
    for place in sorted(range(len(costs)), key=lambda i: -costs[i]):
        least = totals.index(min(totals))
        places[least].append(place)
        totals[least] += costs[place]
    return [sorted(share) for share in places]


class _Helper(Generic[Piece, Result]):
    """A forked process that computes the pieces of one share and sends what came out through a pipe."""

    def __init__(self, work: Callable[[Piece], Result], pieces: Sequence[Piece], share: Sequence[int]):
        self.share = share
        self._read, write = os.pipe()
        with warnings.catch_warnings():
            # Python warns of any thread at a fork; those of the libraries below are not needed by one-thread work.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self._pid = os.fork()
            except OSError:
                os.close(self._read)
                os.close(write)
                raise
        if self._pid == 0:
            _help(write, lambda: [work(pieces[place]) for place in share])
        os.close(write)

    def results(self) -> dict[int, Result] | None:
        """Place → result of every piece; None where the process failed. Waits for it."""
        with os.fdopen(os.dup(self._read), "rb") as pipe:
            sent = pipe.read()
        try:
            results: list[Result] = json.loads(sent)
        except ValueError:  # nothing, or not all of it
            return None
        return dict(zip(self.share, results, strict=True))

    def end(self) -> None:
        """Nothing; the process is gone, whether it had finished or not."""
        os.close(self._read)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _help(write: int, compute: Callable[[], object]) -> NoReturn:
    """Computes, sends and ends; never returns into the caller's code, which belongs to the parent."""
    try:
        for interrupt in (signal.SIGINT, signal.SIGTERM):
            signal.signal(interrupt, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        # Locks on files live as long as anybody has them open: they are the parent's alone.
        os.closerange(3, write)
        os.closerange(write + 1, 4096)
        sent = json.dumps(compute(), allow_nan=False)
        with os.fdopen(write, "w") as pipe:
            pipe.write(sent)
        os._exit(0)
    finally:
        os._exit(1)

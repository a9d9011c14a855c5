"""What the processes of one job say to each other: rank 0 tells all the others, each of them reports to rank 0.

Messages and reports go through the main memory (gloo) as values that hold no code (``harmviz.models.rank_messages``):
all ranks are this program, on this machine, started by one command. Sums of weights go device to device where that can
be (NCCL), matrix by matrix. A peer that ends takes its connections with it, so that whoever waits for it fails at once;
one that hangs is waited for as long as ``PATIENCE`` allows.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from harmviz import errors
from harmviz.errors import HarmvizError, RankLost
from harmviz.models.rank_messages import Work, pack, unpack

if TYPE_CHECKING:
    from torch import Tensor

    from harmviz.models.load import LoadedModel

#: A rank may take this long for one sum, and this much longer than rank 0 for a share of the work.
PATIENCE = timedelta(minutes=10)
#: How many times as long as rank 0 a rank may take for a share of like size.
SLOWER = 20
#: Between two operations rank 0 may be at anything: selections of a large model take it an hour.
_WAITING = timedelta(days=30)
#: How long it takes a launcher to collect a process that ended.
_COLLECTED_S = 2.0


@dataclass(frozen=True)
class Job:
    """The place of this process among the ``n`` that were started together."""

    rank: int
    n: int


def job() -> Job | None:
    """The place of this process in a job of ``torchrun``; None where it stands alone.

    Raises:
        HarmvizError: the job is spread over several machines.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    given = [os.environ.get(name, "") for name in names]
    if not all(re.fullmatch(r"\d+", g) for g in given) or not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return None
    rank, n, _, here = map(int, given)
    if n > 1 and here != n:
        raise HarmvizError(f"{n} ranks were started, {here} of them on this machine; start all of them on one machine")
    return Job(rank, n) if n > 1 else None


class Change(Protocol):
    """Something that is done to a model's weights for a while, as rank 0 holds it and another rank can do it again."""

    @property
    def travels(self) -> bool:
        """Whether it may be sent to another process."""

    def again(self, loaded: LoadedModel) -> AbstractContextManager[Any]:
        """The same change of another copy of the model, for as long as the context lasts."""


# -- messages of rank 0 -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Load:
    """Load this model, each rank on its own of ``devices``; report ``Copy``."""

    name: str
    dtype: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Open:
    """Open the way for sums; ``on_gpu``: every rank has a GPU of its own."""

    on_gpu: bool


@dataclass(frozen=True)
class Call:
    """Report ``work(model, pieces[rank])``; nothing where the piece is empty. ``changes``: of the weights, from now on;
    None: as before. ``adds``: keep the tensors that come out, and report whether all of them are on a GPU."""

    work: Work
    pieces: Sequence[Any]
    changes: tuple[Change, ...] | None
    adds: bool


@dataclass(frozen=True)
class Add:
    """Add the tensors that were kept to those of rank 0, one after another."""

    shapes: tuple[tuple[int, ...], ...]
    on_gpu: bool


@dataclass(frozen=True)
class End:
    """There is no more to do."""


Message = Load | Open | Call | Add | End


# -- reports of the others --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Copy:
    """What a loaded model is recognised by."""

    weight_hash: str
    tokenizer_hash: str
    config_hash: str

    @classmethod
    def of(cls, loaded: LoadedModel) -> Copy:
        return cls(loaded.weight_hash, loaded.tokenizer_hash, loaded.config_hash)


@dataclass(frozen=True)
class Failed:
    """What went wrong: a deliberate error by its class in ``harmviz.errors``, or (None) a fault of harmviz by its
    traceback."""

    kind: str | None
    text: str

    def error(self, rank: str) -> Exception:
        """The error to raise, with the name of the rank."""
        if self.kind is None:
            return RuntimeError(f"{rank} failed:\n{self.text}")
        kinds = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}
        error: Exception = kinds[self.kind](f"{rank}: {self.text}")
        return error


class Channel:
    """The connections of one process to the others of its job. All are made at once: it waits for all.

    Raises:
        HarmvizError: they do not find each other.
    """

    def __init__(self, job: Job):
        import torch.distributed as dist

        self.job = job
        # Nobody from another machine can connect.
        os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
        try:
            dist.init_process_group("gloo", timeout=_WAITING)
            self._pids = _all_pids(job.n)
        except (RuntimeError, ValueError) as e:
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
            raise HarmvizError(f"the {job.n} ranks do not find each other ({reason}); start them with torchrun") from e
        self._cpu: Any = None
        self._gpu: Any = None

    def open_sums(self, on_gpu: bool) -> None:
        """Makes the connections that sums go through; all ranks call it."""
        import torch.distributed as dist

        with self._no_rank_lost():
            self._cpu = dist.new_group(backend="gloo", timeout=PATIENCE)
            self._gpu = dist.new_group(backend="nccl", timeout=PATIENCE) if on_gpu else None

    def tell(self, message: Message) -> None:
        """Sends a message of rank 0 to all others."""
        self._broadcast(pack(message))

    def hear(self) -> Message:
        """Waits for the next message of rank 0."""
        message: Message = unpack(self._broadcast(b""))
        return message

    def _broadcast(self, content: bytes) -> bytes:
        """What rank 0 sends; the ``content`` of the others is not looked at."""
        with self._no_rank_lost():
            return _from_first(content, self.job.rank)

    def report(self, value: Any) -> None:
        """Sends a report to rank 0, which has asked for it."""
        import torch
        import torch.distributed as dist

        content = torch.frombuffer(bytearray(pack(value)), dtype=torch.uint8)
        with self._no_rank_lost():
            dist.send(torch.tensor([content.numel()]), dst=0)
            dist.send(content, dst=0)

    def collect(self, patience: timedelta) -> list[Any]:
        """The reports of ranks 1, 2, …, each waited for."""
        import torch
        import torch.distributed as dist

        def received(tensor: Tensor, rank: int) -> Tensor:
            if (work := dist.irecv(tensor, src=rank)) is not None:
                work.wait(patience)
            return tensor

        reports = []
        for rank in range(1, self.job.n):
            with self._no_rank_lost(rank):
                size = int(received(torch.empty(1, dtype=torch.int64), rank))
                content = received(torch.empty(size, dtype=torch.uint8), rank)
            reports.append(unpack(content.numpy().tobytes()))
        return reports

    def add(self, tensor: Tensor, on_gpu: bool) -> None:
        """``tensor += Σ`` of the others' tensors, in place on rank 0; all ranks call it. What is left in the tensors of
        the others means nothing."""
        import torch.distributed as dist

        sent = tensor.contiguous() if on_gpu else tensor.cpu().contiguous()
        with self._no_rank_lost():
            dist.reduce(sent, dst=0, group=self._gpu if on_gpu else self._cpu)
        if self.job.rank == 0 and sent is not tensor:
            tensor.copy_(sent)

    def close(self) -> None:
        """Ends the connections; to be called by all, when nobody waits for anybody."""
        import torch.distributed as dist

        dist.destroy_process_group()

    def gone(self) -> list[int]:
        """The ranks whose process has ended."""
        return [rank for rank, pid in enumerate(self._pids) if not _lives(pid)]

    @contextmanager
    def _no_rank_lost(self, waiting_for: int | None = None) -> Iterator[None]:
        """Raises RankLost where a connection fails, for that is how the end of another process shows."""
        try:
            yield
        except RuntimeError as e:
            if self.job.rank > 0:
                # What ended rank 0 has the launcher end this one next; who was lost is to be told before.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            deadline = time.monotonic() + _COLLECTED_S
            while not (gone := self.gone()) and time.monotonic() < deadline:
                time.sleep(0.05)
            raise self.lost(gone or ([] if waiting_for is None else [waiting_for])) from e

    @staticmethod
    def lost(ranks: Sequence[int]) -> RankLost:
        """The error that says that these ranks are missing (none: that it is not known which)."""
        names = " and ".join(map(str, ranks))
        who = f"rank{'s' if len(ranks) > 1 else ''} {names}" if ranks else "another rank"
        return RankLost(
            f"{who} ended before the work did, or does not answer (it may have been killed, e.g. for want of memory); "
            "finished stages are kept, --resume goes on from there"
        )


# -- between all processes --------------------------------------------------------------------------------------------
def _from_first(content: bytes, rank: int) -> bytes:
    """The bytes of rank 0 on all ranks."""
    import torch
    import torch.distributed as dist

    size = torch.tensor([len(content)])
    dist.broadcast(size, src=0)
    sent = (
        torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if rank == 0
        else torch.empty(int(size), dtype=torch.uint8)
    )
    dist.broadcast(sent, src=0)
    return bytes(sent.numpy().tobytes())


def _all_pids(n: int) -> list[int]:
    """The process id of each rank."""
    import torch
    import torch.distributed as dist

    pids = [torch.zeros(1, dtype=torch.int64) for _ in range(n)]
    dist.all_gather(pids, torch.tensor([os.getpid()]))
    return [int(pid) for pid in pids]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

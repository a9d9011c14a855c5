"""One model on several devices of a machine: every process of a ``torchrun`` job loads it, and they share the samples.

    torchrun --standalone --nproc-per-node 2 -m harmviz run …

Rank 0 runs the command as ever: stages, files, progress, whatever is printed. The others follow
(``harmviz.models.rank_following``). Four functions do nearly all of the work, and each of them hands out shares where
its model is shared:

    score_signed, score_absolute      samples are shared, sums added to those of rank 0 matrix by matrix
    response_losses, generate_batch   samples and prompts are shared, their results put together

A sum over samples is a sum over ranks of such sums: no mean is ever taken on the way, so that shares of unequal size
weigh right and absolute values stay those of single samples. What differs from one process is the order in which
float32 numbers are added. Everything else is done by rank 0 alone.

Masks that are applied on rank 0 (``LoadedModel.in_force``) are applied by the others before they compute; those that
must not leave the process (``Change.travels``) have their work done by rank 0 alone. Whoever changes weights in other
ways must load the model by ``load_model``, which shares nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from harmviz.errors import BadSetting, ModelUnavailable, RankLost
from harmviz.models.rank_channel import PATIENCE, SLOWER, Add, Call, Change, Channel, Copy, End, Failed, Load, Open, job
from harmviz.models.rank_messages import Work

if TYPE_CHECKING:
    from torch import Tensor

    from harmviz.models.load import LoadedModel

Item = TypeVar("Item")
Piece = TypeVar("Piece", bound=Sized)
Result = TypeVar("Result")

#: The job that this process leads, for as long as its command runs: a process has one place among others.
_ranks: Ranks | None = None
#: Whether it has had a place in a job, whatever came of it.
_had_a_place = False


# -- the command line -------------------------------------------------------------------------------------------------
@contextmanager
def one_voice() -> Iterator[None]:
    """Within this context all ranks but the first are silent: what each would say, the first one says."""
    here = job()
    if here is None or here.rank == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def joined(shares: bool, say: Callable[[str], None]) -> Iterator[bool]:
    """Yields whether this process is to run the command: where it stands alone, and on rank 0 of a job.

    All other ranks are done by then: they have followed rank 0 until its end, or, where the command does not share its
    work, had nothing to do.

    Args:
        shares: whether the command loads its model by ``load_shared``.
        say: told one line where ranks were started for nothing.

    Raises:
        RankLost: another rank ended meanwhile.
        HarmvizError: the ranks do not find each other, or are on several machines.
    """
    global _ranks, _had_a_place
    here = job()
    if here is None or not shares:
        if here is not None and here.rank == 0:
            say(f"this command does not share its work: one process does it, the other {here.n - 1} leave")
        yield here is None or here.rank == 0
        return
    # While the ranks wait for each other nothing is held that a signal's handler would have to give back.
    handlers = {name: signal.signal(name, signal.SIG_DFL) for name in (signal.SIGTERM, signal.SIGINT)}
    channel = Channel(here)
    _had_a_place = True
    if here.rank > 0:
        from harmviz.models.rank_following import follow

        follow(channel)
        yield False
        return
    for name, handler in handlers.items():
        signal.signal(name, handler)
    _ranks = ranks = Ranks(channel)
    try:
        yield True
    except (KeyboardInterrupt, RankLost) as e:
        if gone := channel.gone():
            # The launcher ends all ranks when it finds one dead: a reason to stop, but no wish of anybody.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if isinstance(e, KeyboardInterrupt):
                raise channel.lost(gone) from None
        raise
    finally:
        _ranks = None
        ranks.close()


def load_shared(name: str, *, dtype: str, device: str, say: Callable[[str], None]) -> LoadedModel:
    """As ``load_model``; on rank 0 of a job every other rank loads the same model, rank r on the r-th GPU (or all on
    the CPU), and the model returned shares its work with them.

    Raises:
        BadSetting: there are fewer GPUs than ranks, or ``device`` names one of them.
        ModelUnavailable: another rank found other weights, tokenizer or settings under this name.
        RankLost: another rank ended.
        HarmvizError: as ``load_model``, here or on another rank, which is named.
    """
    from harmviz.models.load import load_model

    if _ranks is None:
        return load_model(name, dtype=dtype, device=device, say=say)
    return _ranks.load(name, dtype, device, say)


def leave(code: int) -> NoReturn:
    """Ends this process with the exit code.

    One that was a rank ends without what an interpreter does last: threads of torch.distributed that still run there
    were seen to abort one process in fifteen, its command done and all of it told.
    """
    if not _had_a_place:
        raise SystemExit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none: whoever wrote there has said so
            stream.flush()
    os._exit(code)


# -- rank 0 -----------------------------------------------------------------------------------------------------------
class Ranks:
    """The other ranks of this job, as rank 0 sees them."""

    def __init__(self, channel: Channel):
        self.n = channel.job.n
        self.devices: tuple[str, ...] = ()
        self._channel = channel
        self._told: tuple[Change, ...] | None = ()
        self._asked = False  # the others are at work, or rank 0 failed while they were

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest's ``hardware`` says of them."""
        return {"ranks": self.n, "devices": list(self.devices)}

    def load(self, name: str, dtype: str, device: str, say: Callable[[str], None]) -> LoadedModel:
        """See ``load_shared``."""
        from harmviz.models.load import load_model

        began = time.monotonic()  # how long rank 0 takes, with whatever it downloads, says how long others may
        self.devices = own_devices(device, self.n)
        _use(self.devices[0])
        loaded = load_model(name, dtype=dtype, device=self.devices[0], say=say)
        # Only now: whatever is downloaded or converted is there, and the precision that was chosen is that of all.
        say(f"{loaded.name}: loading on {self.n - 1} more ({', '.join(self.devices[1:])})")
        _, copies = self._together(Load(name, str(loaded.dtype).removeprefix("torch."), self.devices), _nothing, began)
        mine = Copy.of(loaded)
        for rank, copy in enumerate(copies, 1):
            if copy != mine:
                what = "weights" if copy.weight_hash != mine.weight_hash else "tokenizer or settings"
                raise ModelUnavailable(
                    f"rank {rank} found other {what} under the name {name} than rank 0 (weights "
                    f"{copy.weight_hash[:12]}… and {mine.weight_hash[:12]}…); let no file of a model change while it "
                    "is loaded"
                )
        on_gpu = self.devices[0] != "cpu"
        self._channel.tell(Open(on_gpu))
        self._channel.open_sums(on_gpu)
        loaded.ranks = self
        return loaded

    def scattered(
        self,
        loaded: LoadedModel,
        work: Work,
        items: Sequence[Item],
        shares: Sequence[Sequence[int]],
        here: Callable[[LoadedModel, Sequence[Item]], Iterable[Result]] | None = None,
    ) -> list[Result]:
        """A result for each of the items, in their order.

        Args:
            work: gives the results of some items.
            shares: the places in ``items`` of each rank's share.
            here: what rank 0 calls in place of ``work``, such as the same with a progress.

        Raises:
            RankLost: another rank ended.
            HarmvizError: as ``work`` raises it, here or on another rank, which is named.
        """
        pieces = [[items[i] for i in share] for share in shares]
        mine, others = self._call(loaded, work, pieces, here or work, adds=False)
        results: dict[int, Result] = {}
        for share, part in zip(shares, [mine, *others], strict=True):
            results.update(zip(share, () if part is None else part, strict=True))
        return [results[i] for i in range(len(items))]

    def added(
        self,
        loaded: LoadedModel,
        work: Work,
        pieces: Sequence[Piece],
        here: Callable[[LoadedModel, Piece], list[Tensor]],
    ) -> list[Tensor]:
        """``Σ_r work(loaded, pieces[r])`` over the ranks, tensor by tensor, in the memory of rank 0's own.

        Args:
            work: gives float32 tensors, as many and of the same shapes for every piece.
            pieces: one a rank; a rank whose piece is empty adds nothing. The first is not empty.
            here: as for ``scattered``.

        Raises:
            as ``scattered``.
        """
        import torch

        with loaded.lock, torch.no_grad():
            mine, others = self._call(loaded, work, pieces, here, adds=True)
            on_gpu = all(others) and all(t.device.type == "cuda" for t in mine)
            self._asked = True
            self._channel.tell(Add(tuple(tuple(t.shape) for t in mine), on_gpu))
            for tensor in mine:
                self._channel.add(tensor, on_gpu)
            self._asked = False
        return mine

    def close(self) -> None:
        """Lets the others end; they end by themselves where this process does so in the middle of the work."""
        if self._asked:
            return
        with suppress(RankLost):  # who is gone already needs no word
            self._channel.tell(End())
            self._channel.close()

    def _call(
        self,
        loaded: LoadedModel,
        work: Work,
        pieces: Sequence[Piece],
        here: Callable[[LoadedModel, Piece], Any],
        *,
        adds: bool,
    ) -> tuple[Any, list[Any]]:
        def own() -> Any:
            loaded.ranks = None  # what is called here must not share its share
            try:
                return here(loaded, pieces[0]) if len(pieces[0]) else None
            finally:
                loaded.ranks = self

        with loaded.lock:
            changes = tuple(loaded.in_force)
            sent = None if changes == self._told else changes
            self._told = None  # until it is known to have come about
            results = self._together(Call(work, pieces, sent, adds), own)
            self._told = changes
        return results

    def _together(
        self, message: Load | Call, own: Callable[[], Result], began: float | None = None
    ) -> tuple[Result, list[Any]]:
        """What rank 0 does itself while the others do what they are told, and their reports.

        ``began``: when rank 0 began its own share; None: now.
        """
        began = time.monotonic() if began is None else began

        def reports() -> list[Any]:
            collected = self._channel.collect(PATIENCE + timedelta(seconds=SLOWER * (time.monotonic() - began)))
            self._asked = False
            return collected

        self._asked = True
        self._channel.tell(message)
        try:
            mine = own()
        except Exception:
            reports()  # nobody is left in the middle of something
            raise
        others = reports()
        for rank, report in enumerate(others, 1):
            if isinstance(report, Failed):
                raise report.error(f"rank {rank} ({self.devices[rank]})")
        return mine, others


def _nothing() -> None:
    return None


def own_devices(device: str, n: int) -> tuple[str, ...]:
    """The device of each of ``n`` ranks: GPUs 0 … n-1 of those that are visible, or the CPU for all.

    Raises:
        BadSetting: ``device`` names one GPU or all for one model, or there are fewer than ranks.
        ModelUnavailable: as ``choose_device``.
    """
    import torch

    from harmviz.models.load import choose_device

    if device == "all":
        raise BadSetting(
            f"--device all spreads one model over all GPUs, and each of {n} ranks has its own; give one of both"
        )
    chosen = choose_device(device)
    if chosen.type == "cpu":
        return ("cpu",) * n
    if chosen.index is not None:
        raise BadSetting(
            f"device {device} is one GPU, and {n} ranks were started; give --device cuda, and choose GPUs by "
            "CUDA_VISIBLE_DEVICES"
        )
    if (there := torch.cuda.device_count()) < n:
        raise BadSetting(
            f"{n} ranks were started, and {there} CUDA device{'s are' if there > 1 else ' is'} visible here; start as "
            "many ranks as there are devices, or give --device cpu"
        )
    return tuple(f"cuda:{rank}" for rank in range(n))


def _use(device: str) -> None:
    """Makes a GPU this process's own: what names no GPU would go to the first one."""
    if device != "cpu":
        import torch

        torch.cuda.set_device(device)

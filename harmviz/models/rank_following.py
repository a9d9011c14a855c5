"""The ranks behind the first: each holds a copy of the model and does what rank 0 tells it, until that says so or ends.

They print nothing. What goes wrong with their share is reported to rank 0, which ends the command with it.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from harmviz.errors import HarmvizError, OutOfMemory, RankLost
from harmviz.models.rank_channel import Add, Call, Channel, Copy, End, Failed, Load, Open

if TYPE_CHECKING:
    from torch import Tensor

    from harmviz.models.load import LoadedModel

#: Rank 0 needs this long to say who was lost; whoever finds out first must not be taken for the cause.
_LET_SPEAK_S = 5.0


def follow(channel: Channel) -> None:
    """Does what rank 0 says, until it says that there is no more.

    Raises:
        RankLost: rank 0 is gone; on rank 1, which tells. SystemExit: on all others, with code 1.
    """
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    follower = _Follower(channel)
    try:
        while follower.heeds(channel.hear()):
            pass
        channel.close()
    except RankLost:
        if 0 not in channel.gone():
            time.sleep(_LET_SPEAK_S)
        elif channel.job.rank == 1:
            raise channel.lost([0]) from None
        raise SystemExit(1) from None


class _Follower:
    """One copy of the model, and the tensors that rank 0 may ask for."""

    def __init__(self, channel: Channel):
        self._channel, self._rank = channel, channel.job.rank
        self._loaded: LoadedModel | None = None
        self._in_force = ExitStack()
        self._kept: list[Tensor] = []

    def heeds(self, message: Load | Open | Call | Add | End) -> bool:
        """Does what the message says; False where it was the last one."""
        match message:
            case Load():
                self._report(lambda: self._load(message))
            case Open():
                self._channel.open_sums(message.on_gpu)
            case Call():
                self._kept = []
                self._report(lambda: self._call(message))
            case Add():
                self._add(message)
            case End():
                return False
        return True

    def _load(self, message: Load) -> Copy:
        from harmviz.models.load import load_model

        device = message.devices[self._rank]
        if device != "cpu":
            import torch

            torch.cuda.set_device(device)
        self._loaded = load_model(message.name, dtype=message.dtype, device=device)
        return Copy.of(self._loaded)

    def _call(self, message: Call) -> Any:
        assert self._loaded is not None, "a model is loaded before it works"
        if message.changes is not None:
            self._in_force.close()
            for change in message.changes:
                self._in_force.enter_context(change.again(self._loaded))
        piece = message.pieces[self._rank]
        result = message.work(self._loaded, piece) if len(piece) else None
        if not message.adds:
            return result
        self._kept = result or []
        return all(t.device.type == "cuda" for t in self._kept)

    def _add(self, message: Add) -> None:
        import torch

        assert self._loaded is not None, "a model is loaded before it works"
        device = self._loaded.device if message.on_gpu else "cpu"
        for k, shape in enumerate(message.shapes):
            tensor = self._kept[k] if self._kept else torch.zeros(shape, dtype=torch.float32, device=device)
            self._channel.add(tensor, message.on_gpu)
        self._kept = []

    def _report(self, work: Callable[[], Any]) -> None:
        """Reports what came out, or what went wrong, for rank 0 to raise."""
        import torch

        try:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                report = work()
        except HarmvizError as e:
            report = Failed(type(e).__name__, str(e))
        except (torch.OutOfMemoryError, MemoryError):
            report = Failed(OutOfMemory.__name__, "memory ran out; use --dtype bfloat16 or a device with more memory")
        except Exception:  # noqa: BLE001 - raised again, on rank 0
            report = Failed(None, traceback.format_exc())
        self._channel.report(report)

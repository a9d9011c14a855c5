"""Helpers of the worker's tests: requests of the tiny model, a gate that lets single decode steps pass, patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harmviz.generation.passes import Passes
from harmviz.worker import ModelKey, Pane, Request

#: Long enough for a busy machine; a test that needs it all has failed.
PATIENCE = 60.0


class Gate:
    """Stands before every decode step: none passes without a permit."""

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)
        self.waiting = threading.Event()
        self.arrived = 0  # steps that have begun

    def let(self, n: int) -> None:
        self._permits.release(n)

    def guard(self, passes: Passes) -> Passes:
        def guarded(ids: torch.Tensor) -> torch.Tensor:
            self.arrived += 1
            self.waiting.set()
            assert self._permits.acquire(timeout=PATIENCE)
            return passes(ids)

        return guarded


def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; fails if it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def key(folder: Path) -> ModelKey:
    return ModelKey(str(folder), "float32", "cpu")


def request(folder: Path, *panes: Pane, prompt: str = "Name a river.", **settings: Any) -> Request:
    """The intact pane and these, on the tiny model."""
    return Request(key(folder), prompt, (Pane("intact"), *panes), **{"max_new_tokens": 24, **settings})

"""Passes that fit: where a device runs out of memory the same samples are taken in smaller batches, and it is said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from harmviz.data.encoding import Batch
from harmviz.errors import OutOfMemory

T = TypeVar("T")
log = logging.getLogger(__name__)


def in_batches_that_fit(batches: Sequence[Batch], work: Callable[[Sequence[Batch]], T]) -> T:
    """``work(batches)``; where the device's memory does not do, anew with every batch halved, as often as it takes.

    Batches come longest first, so that what does not fit shows at the beginning. ``work`` begins anew each time: it
    forgets what it had summed.

    Raises:
        OutOfMemory: one sample alone does not fit.
    """
    while True:
        largest = max(batches, key=lambda b: b.input_ids.numel())
        try:
            return work(batches)
        except torch.OutOfMemoryError as e:
            if all(b.n_samples == 1 for b in batches):
                raise _too_long(largest) from e
        # Outside of the handler: until here the error's traceback holds what did not fit.
        torch.cuda.empty_cache()
        batches = [half for batch in batches for half in batch.halves()]
        log.warning(
            "out of memory on a batch of %d samples of %d tokens: going on with half as many samples a batch",
            largest.n_samples,
            largest.input_ids.shape[1],
        )


def tokens_that_fit(tokens: int, least: int, work: Callable[[int], T]) -> T:
    """``work(tokens)``, the tokens a batch may have; where the device's memory does not do, anew with half as many,
    down to ``least``: the longest sample.

    Raises:
        OutOfMemory: one sample alone does not fit.
    """
    while True:
        try:
            return work(tokens)
        except torch.OutOfMemoryError as e:
            if tokens <= least:
                raise OutOfMemory(_ALONE.format(tokens=least)) from e
        torch.cuda.empty_cache()
        log.warning("out of memory with %d tokens a batch: going on with half as many", tokens)
        tokens //= 2


_ALONE = (
    "one sample of {tokens} tokens does not fit beside the model; use --dtype bfloat16, a smaller --max-prompt-tokens, "
    "or a device with more memory"
)


def _too_long(batch: Batch) -> OutOfMemory:
    return OutOfMemory(_ALONE.format(tokens=batch.input_ids.shape[1]))

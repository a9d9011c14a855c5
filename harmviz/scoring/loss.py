"""Per-sample losses, intact or pruned: the measurement under every effect.

``L(x)`` is the mean negative log-likelihood in nats per response token, teacher-forced, every sample weighing equally.
One forward pass gives the loss with and without the opening tokens, since both are means over the same token losses.
What samples begin with alike is computed once (``harmviz.scoring.shared``), and a few cores share the batches
(``harmviz.models.processes``); several devices with a copy of the model each share the samples
(``harmviz.models.ranks``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from harmviz.data.encoding import Batch, Sample
from harmviz.models.load import LoadedModel
from harmviz.models.processes import spread
from harmviz.models.rank_messages import Work
from harmviz.scoring.fitting import tokens_that_fit
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.shared import TreeBatch, batch_losses, loss_batches
from harmviz.scoring.sharing import sample_shares
from harmviz.scoring.signed import across_shares, check_losses


def response_losses(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    *,
    skips: Sequence[int] = (0,),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """``[n_samples, n_skips]`` float64: L(x) of each sample, leaving out its first ``skip`` response tokens.

    ``samples`` are encoded with ``skip_tokens=0``; each must have more response tokens than the largest skip.

    Raises:
        ValueError: a sample has too few response tokens.
        HarmvizError: a loss is NaN or infinite. OutOfMemory: one sample alone does not fit on the device.
    """
    if short := [s.row_id for s in samples if s.n_loss <= max(skips)]:
        raise ValueError(f"row {short[0]} has no response token left after skipping {max(skips)}")
    if (ranks := loaded.sharing) is not None and samples:
        work = Work("response_losses", {"skips": tuple(skips)})
        here = partial(response_losses, skips=tuple(skips), progress=across_shares(progress, len(samples)))
        return np.stack(ranks.scattered(loaded, work, samples, sample_shares(samples, ranks.n), here))
    result = np.empty((len(samples), len(skips)))

    def of_batch(batch: Batch | TreeBatch) -> list[list[float]]:
        losses = batch_losses(loaded, batch)
        check_losses(losses, "loss")
        parts = losses.double().cpu().split(batch.n_loss.tolist())
        return [[float(part[skip:].mean()) for skip in skips] for part in parts]

    def of_all(max_tokens: int) -> None:
        batches = loss_batches(loaded, samples, max_tokens=max_tokens)
        costs = [batch.input_ids.numel() for batch in batches]
        found = spread(loaded, of_batch, batches, costs, lambda done: progress(int(done * len(samples)), len(samples)))
        for batch, values in zip(batches, found, strict=True):
            result[list(batch.index)] = values

    with loaded.lock, torch.inference_mode():
        longest = max((len(s.ids) for s in samples), default=0)
        tokens_that_fit(default_batch_tokens(loaded), longest, of_all)
    return result

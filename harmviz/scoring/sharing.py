"""Samples in shares of about equal cost, for several devices with a copy of the model each (``harmviz.models.ranks``).

Shares depend on the samples, on their order and on the number of shares alone, so that sums come out the same each
time.
"""

from __future__ import annotations

from collections.abc import Sequence

from harmviz.data.encoding import Batch, Sample
from harmviz.models.processes import shares

#: Pieces cost at most 1/GRAIN of a share: what does not come out even is about that much.
GRAIN = 4


def batch_shares(batches: Sequence[Batch], n: int) -> list[list[Batch]]:
    """The batches in ``n`` shares, in main memory; some are empty where there are fewer samples.

    A batch that is large beside a share is halved until it is not, or holds one sample alone.
    """
    most = _most([batch.input_ids.numel() for batch in batches], n)
    pieces, waiting = list[Batch](), list(reversed(batches))
    while waiting:
        batch = waiting.pop()
        if batch.n_samples > 1 and batch.input_ids.numel() > most:
            waiting += reversed(batch.halves())
        else:
            pieces.append(batch.to("cpu"))
    return [[pieces[i] for i in share] for share in shares([p.input_ids.numel() for p in pieces], n)]


def sample_shares(samples: Sequence[Sample], n: int) -> list[list[int]]:
    """The places of the samples in ``n`` shares. Answers to one prompt stay together, for it is computed once for all
    of them; where they are many they are cut into a few groups."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for i, sample in enumerate(samples):
        by_prompt.setdefault(sample.ids[: sample.n_prompt], []).append(i)
    most = _most([len(p) + sum(len(samples[i].ids) - len(p) for i in group) for p, group in by_prompt.items()], n)
    groups, costs = list[list[int]](), list[int]()
    for prompt, group in by_prompt.items():
        for k, i in enumerate(group):
            if k == 0 or costs[-1] > most:
                groups.append([])
                costs.append(len(prompt))
            groups[-1].append(i)
            costs[-1] += len(samples[i].ids) - len(prompt)
    return [sorted(i for k in share for i in groups[k]) for share in shares(costs, n)]


def _most(costs: Sequence[int], n: int) -> float:
    """What a piece may cost."""
    return sum(costs) / (GRAIN * n)

"""Masks and walks shared by the generation tests."""

from __future__ import annotations

import numpy as np
import torch

from harmviz.generation.passes import Passes
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel

PROMPTS = [[5, 40, 41, 42, 43, 44, 45], [60], [1, 99, 98, 97, 20, 21, 22, 23, 24, 25, 26, 27, 28]]


def random_mask(loaded: LoadedModel, n: int, seed: int = 0, kind: str = "harm", only: str = "") -> PruneMask:
    """n random weights, optionally only of matrices whose name contains ``only``."""
    table = loaded.table
    places = np.array([i for i, m in enumerate(table) if only in m.name])
    ends = np.cumsum([table[i].size for i in places])
    drawn = np.random.default_rng(seed).choice(int(ends[-1]), n, replace=False)  # counted within these matrices alone
    place = np.searchsorted(ends, drawn, side="right")
    index = table.offsets[places[place]] + drawn - (ends[place] - np.array([table[i].size for i in places[place]]))
    return PruneMask.from_global(table, index, kind=kind, model_hash=loaded.weight_hash)


def walk(passes: Passes, prompt: list[int], n_rows: int, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens n_steps × K, logits n_steps × K × d_vocab) of a greedy walk that no end token stops."""
    ids = torch.tensor([prompt] * n_rows)
    tokens, logits = [], []
    for _ in range(n_steps):
        logits.append(passes(ids))
        tokens.append(logits[-1].argmax(-1))
        ids = tokens[-1][:, None]
    return torch.stack(tokens), torch.stack(logits)


def follow(passes: Passes, prompt: list[int], tokens: torch.Tensor) -> torch.Tensor:
    """Logits n_steps × K × d_vocab of a walk along given tokens."""
    ids, logits = torch.tensor([prompt] * tokens.shape[1]), []
    for step in tokens:
        logits.append(passes(ids))
        ids = step[:, None]
    return torch.stack(logits)


def gap(logits: torch.Tensor) -> torch.Tensor:
    """How far the likeliest token leads the second likeliest, in logits."""
    top = logits.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]

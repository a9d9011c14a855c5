"""Losses of many samples that start alike, their common beginnings computed once.

Every prompt of a model opens with the same template, and many answers belong to one prompt. The tokens of a batch are
therefore laid out as the nodes of a tree: one node for each different beginning of a sample. Whatever a layer computes
token by token (nearly all of its work) is computed once a node; attention alone looks at whole samples, along the path
from the root to each one's last node:

    samples  A B C d e        nodes      0 1 2 3 4 5 6      (A B C d e f g)
             A B C f g        positions  0 1 2 3 4 3 4
                              paths      0 1 2 3 4 · 0 1 2 5 6

With causal attention a token depends on what stands before it alone, so every loss is the one that its sample has by
itself, up to rounding. Models that mix tokens in other ways (recurrent or convolutional layers, attention outside
transformers' interface, windows shorter than a sample) would give something else, and cannot all be known by name: a
model is trusted only for samples as long as those on which both ways were seen to agree.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harmviz.data.encoding import Batch, Predicted, Sample, make_batches
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import selected_logits, token_losses

#: Share of its tokens that a tree must save to be worth its detours: gathering before attention, scattering after it.
WORTH = 0.05
#: Token losses (nats) of both ways may differ by this, absolutely and relatively; rounding is a tenth of it.
AGREEMENT = 1e-4
ATTENTION = "harmviz-tree"


@dataclass(frozen=True)
class TreeBatch(Predicted):
    """Samples as the paths of one tree of tokens.

    ``paths[s, t]``: the node of token t of sample s (0 behind its end: causal attention never looks there).
    ``owner``: for each node, where a path holds it (flat index into ``paths``). ``predicting``: the nodes that predict
    ``targets``.
    """

    input_ids: Int64[Tensor, "1 nodes"]
    position_ids: Int64[Tensor, "1 nodes"]
    paths: Int64[Tensor, "batch pos"]
    owner: Int64[Tensor, " nodes"]
    predicting: Int64[Tensor, " tokens"]


class _Tree:
    """A tree at growth; the last token of a sample is only ever a target and becomes no node."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], int] = {}  # (parent, token) → node; the root's parent is −1
        self.depths: list[int] = []
        self.paths: list[list[int]] = []
        self.index: list[int] = []

    def n_new(self, sample: Sample) -> int:
        """How many nodes this sample would add."""
        node = -1
        for depth, token in enumerate(sample.ids[:-1]):
            if (node := self.nodes.get((node, token), -2)) == -2:
                return len(sample.ids) - 1 - depth
        return 0

    def add(self, index: int, sample: Sample) -> None:
        path: list[int] = []
        for depth, token in enumerate(sample.ids[:-1]):
            node = self.nodes.setdefault((path[-1] if path else -1, token), len(self.nodes))
            if node == len(self.depths):
                self.depths.append(depth)
            path.append(node)
        self.paths.append(path)
        self.index.append(index)

    def batch(self, samples: Sequence[Sample], device: torch.device | str) -> TreeBatch:
        chosen = [samples[i] for i in self.index]
        paths = torch.zeros(len(chosen), max(map(len, self.paths)), dtype=torch.long)
        owner = torch.zeros(len(self.nodes), dtype=torch.long)
        for s, path in enumerate(self.paths):
            paths[s, : len(path)] = torch.tensor(path)
            owner[paths[s, : len(path)]] = torch.arange(len(path)) + s * paths.shape[1]
        predicting = [n for s, path in zip(chosen, self.paths, strict=True) for n in path[s.loss_from - 1 :]]
        return TreeBatch(
            input_ids=torch.tensor([[token for _, token in self.nodes]], device=device),
            position_ids=torch.tensor([self.depths], device=device),
            paths=paths.to(device),
            owner=owner.to(device),
            predicting=torch.tensor(predicting, device=device),
            targets=torch.tensor([t for s in chosen for t in s.ids[s.loss_from :]], device=device),
            n_loss=torch.tensor([s.n_loss for s in chosen], device=device),
            index=tuple(self.index),
        )


def tree_batches(samples: Sequence[Sample], *, max_tokens: int, device: torch.device | str = "cpu") -> list[TreeBatch]:
    """Batches of at most ``max_tokens`` nodes (a longer sample stands alone); answers to one prompt stand together,
    prompts with the longest answers first.

    The order depends on the samples and on their order alone, so that sums come out the same each time.
    """
    longest: dict[tuple[int, ...], int] = {}
    for s in samples:
        prompt = s.ids[: s.n_prompt]
        longest[prompt] = max(longest.get(prompt, 0), len(s.ids))
    place = {prompt: (-length, k) for k, (prompt, length) in enumerate(longest.items())}
    order = sorted(range(len(samples)), key=lambda i: (place[samples[i].ids[: samples[i].n_prompt]], i))
    trees: list[_Tree] = []
    for i in order:
        if not trees or len(trees[-1].nodes) + trees[-1].n_new(samples[i]) > max_tokens:
            trees.append(_Tree())
        trees[-1].add(i, samples[i])
    return [tree.batch(samples, device) for tree in trees]


# -- attention along the paths ----------------------------------------------------------------------------------------
_current: ContextVar[TreeBatch] = ContextVar("the tree batch at hand")


def _attend(
    module: nn.Module,
    query: Float[Tensor, "1 heads nodes d"],
    key: Float[Tensor, "1 kv_heads nodes d"],
    value: Float[Tensor, "1 kv_heads nodes d"],
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Float[Tensor, "1 nodes heads d"], None]:
    """Plain causal attention of every sample by itself; what a shared node gets is the same on each of its paths."""
    batch = _current.get()
    paths, owner = batch.paths.to(query.device), batch.owner.to(query.device)  # a layer may lie on another device
    flat, shape = paths.flatten(), paths.shape

    def along_paths(x: Float[Tensor, "1 heads nodes d"]) -> Float[Tensor, "batch heads pos d"]:
        return x[0].transpose(0, 1).index_select(0, flat).unflatten(0, shape).transpose(1, 2)

    attended, _ = sdpa_attention_forward(
        module, along_paths(query), along_paths(key), along_paths(value), None, **options
    )
    return attended.flatten(0, 1).index_select(0, owner).unsqueeze(0), None


AttentionInterface.register(ATTENTION, _attend)


@contextmanager
def _attending_along(loaded: LoadedModel, batch: TreeBatch) -> Iterator[None]:
    """Within this context the model's attention follows the paths of ``batch``. The model's lock is held."""
    token = _current.set(batch)
    try:
        loaded.model.set_attn_implementation(ATTENTION)
        yield
    finally:
        loaded.model.set_attn_implementation("sdpa")
        _current.reset(token)


def tree_losses(loaded: LoadedModel, batch: TreeBatch) -> Float32[Tensor, " tokens"]:
    """As ``token_losses``, sample after sample."""
    loaded.check_ids(batch.input_ids)
    with selected_logits(loaded, torch.zeros_like(batch.predicting), batch.predicting), _attending_along(loaded, batch):
        inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids}
        logits = loaded.model(**inputs, use_cache=False).logits[0]
    return functional.cross_entropy(logits.float(), batch.targets, reduction="none")


# -- where it may be used ---------------------------------------------------------------------------------------------
def loss_batches(loaded: LoadedModel, samples: Sequence[Sample], *, max_tokens: int) -> Sequence[Batch | TreeBatch]:
    """The batches whose losses (``batch_losses``) are those of all samples: trees where that saves work and this model
    gives the same losses that way, else samples padded side by side."""
    plain, trees = _both_ways(tuple(samples), max_tokens, loaded.device)
    n_plain, n_nodes = (sum(b.input_ids.numel() for b in batches) for batches in (plain, trees))
    return trees if n_nodes < (1 - WORTH) * n_plain and _agrees(loaded, trees[0], samples) else plain


def batch_losses(loaded: LoadedModel, batch: Batch | TreeBatch) -> Float32[Tensor, " tokens"]:
    """The token losses of a batch, sample after sample."""
    return tree_losses(loaded, batch) if isinstance(batch, TreeBatch) else token_losses(loaded, batch)


@lru_cache(maxsize=16)  # the same sets are measured under one mask after another
def _both_ways(
    samples: tuple[Sample, ...], max_tokens: int, device: torch.device
) -> tuple[list[Batch], list[TreeBatch]]:
    return (
        make_batches(samples, max_tokens=max_tokens, device=device),
        tree_batches(samples, max_tokens=max_tokens, device=device),
    )


#: Model → (tokens of the longest sample on which both ways agreed, and of the shortest on which they did not).
_seen: WeakKeyDictionary[PreTrainedModel, tuple[int, int]] = WeakKeyDictionary()


def _agrees(loaded: LoadedModel, tree: TreeBatch, samples: Sequence[Sample]) -> bool:
    """Whether this model gives the losses of ``tree``, which holds the longest sample, both ways alike. It is asked
    again only by samples longer than any before."""
    length = tree.paths.shape[1]
    agreed, refused = _seen.get(loaded.model, (0, 1 << 62))
    if agreed < length < refused:
        (batch,) = make_batches([samples[i] for i in tree.index], max_tokens=1 << 62, device=loaded.device)
        if _attends_by_interface(loaded) and _same_losses(loaded, tree, batch):
            agreed = length
        else:
            refused = length
        _seen[loaded.model] = agreed, refused
    return length <= agreed


def _attends_by_interface(loaded: LoadedModel) -> bool:
    """Whether the model is one to try: attention through transformers' interface, positions given from outside, in
    float32 (the rounding of a coarser precision would drown what is compared, and would show in the results)."""
    parts = [m for m in loaded.model.modules() if isinstance(m, PreTrainedModel)]
    return (
        loaded.dtype == torch.float32
        and all(m.config._attn_implementation == "sdpa" and m._can_set_attn_implementation() for m in parts)
        and "position_ids" in inspect.signature(loaded.model.forward).parameters
    )


def _same_losses(loaded: LoadedModel, tree: TreeBatch, batch: Batch) -> bool:
    try:
        along = tree_losses(loaded, tree).split(tree.n_loss.tolist())
    except torch.OutOfMemoryError:
        raise  # says nothing about the model: whoever asks halves the batch
    except (RuntimeError, ValueError, TypeError, LookupError):  # a model whose layers cannot take one long row
        return False
    beside = dict(zip(batch.index, token_losses(loaded, batch).split(batch.n_loss.tolist()), strict=True))
    wanted = [beside[s] for s in range(batch.n_samples)]
    return all(torch.allclose(a, b, rtol=AGREEMENT, atol=AGREEMENT) for a, b in zip(along, wanted, strict=True))

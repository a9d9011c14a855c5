"""What the work needs at least: operations and bytes, counted from shapes. Over the machine's measured rates
(``harmviz.bench.machine``) they give a *floor*: the time below which this machine cannot do it this way.

A floor leaves out whatever could in principle cost nothing: element-wise work, launches, waiting, padding, the system.
So no figure reaches it, and a share of it says how much there may be to gain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmviz.data.encoding import Sample
from harmviz.masks.lists import MEAN
from harmviz.models.scored import reads_other_senses
from harmviz.models.weights import WeightTable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harmviz.masks.candidates import Candidates
    from harmviz.masks.selection import Selection

#: Bytes that memory moves for one weight: a line of a CPU's cache, a sector of a GPU's.
LINE = {"cpu": 64, "cuda": 32}


@dataclass(frozen=True)
class Sizes:
    """What floors are counted from.

    ``n_matrix``: scored weights that one token passes through (of a mixture's experts the share it is routed to);
    ``n_head``: weights of the output embedding; ``n_step``: all weights that a decoding step reads, the head among
    them, other embeddings not, for they give one row a token; ``n_scored``, ``n_parameters``: all there are.
    ``d_query``: heads × d_head of a layer, ``d_key_value``: numbers that a token leaves in the cache of a layer; both 0
    without attention.
    """

    n_layers: int
    n_matrix: float
    n_head: int
    n_step: float
    n_scored: int
    n_parameters: int
    d_query: int
    d_key_value: int


def sizes_of(model: PreTrainedModel, table: WeightTable) -> Sizes:
    """The sizes of a model, from its parameters' shapes and its config; nothing is read of its weights."""
    from torch import nn

    config = model.config.get_text_config()
    n_experts = Counter(m.param_name for m in table if m.expert is not None)
    chosen = getattr(config, "num_experts_per_tok", None)
    n_matrix = sum(
        m.size if m.expert is None or chosen is None else m.size * min(1.0, chosen / n_experts[m.param_name])
        for m in table
    )
    head = getattr(model.get_output_embeddings(), "weight", None)
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    scored = {m.param_name for m in table}
    others = [  # a tied parameter is named once
        p.numel()
        for name, p in model.named_parameters()
        if name not in scored and not reads_other_senses(name) and (p is head or id(p) not in looked_up)
    ]
    n_heads = getattr(config, "num_attention_heads", None) or 0
    d_head = getattr(config, "head_dim", None) or (config.hidden_size // n_heads if n_heads else 0)
    return Sizes(
        n_layers=config.num_hidden_layers,
        n_matrix=n_matrix,
        n_head=0 if head is None else head.numel(),
        n_step=n_matrix + sum(others),
        n_scored=table.n_weights,
        n_parameters=sum(p.numel() for p in model.parameters()),
        d_query=n_heads * d_head,
        d_key_value=2 * (getattr(config, "num_key_value_heads", None) or n_heads) * d_head,
    )


def scoring_flops(sizes: Sizes, samples: Sequence[Sample]) -> float:
    """Floating-point operations of one scoring pass: forward, backward through activations, products for the weights'
    gradients; two operations a multiplication and addition.

        Σ over samples    T · 6 · n_matrix                each matrix: x Wᵀ, δ W and δᵀ x
                        + R · 4 · n_head                  the head, frozen: x Wᵀ and δ W, where a response token
                                                          is predicted
                        + n_layers · 6 · d_query · T (T + 1)    causal attention: 2 products forward, 4 backward, of
                                                          T (T + 1) / 2 pairs of positions

    T: tokens of a sample that are fed (all but the last), R: its response tokens. Counted as if attention were full and
    as if the first layer's input needed a gradient (a few products of a thousand).
    """
    flops = 0.0
    for sample in samples:
        fed = len(sample.ids) - 1
        flops += 6 * sizes.n_matrix * fed + 4 * sizes.n_head * sample.n_loss
        flops += 6 * sizes.n_layers * sizes.d_query * fed * (fed + 1)
    return flops


def decoding_bytes(sizes: Sizes, itemsize: int, n_variants: int, n_prompt: int, n_steps: int) -> float:
    """Bytes read in one decoding step of K variants, on average over ``n_steps`` steps after a prompt: all weights
    once, and every variant's cache of keys and values.

        itemsize · (n_step + K · n_layers · d_key_value · (n_prompt + (n_steps − 1) / 2))
    """
    context = n_prompt + (n_steps - 1) / 2
    return itemsize * (sizes.n_step + n_variants * sizes.n_layers * sizes.d_key_value * context)


def toggle_bytes(n_weights: int, device_type: str) -> float:
    """Bytes moved to zero k scattered weights and restore them: ``k · (4 · line + 3 · 8)``.

    Each weight is assumed to lie in a line of its own (``LINE``), which is read and written back once to zero it and
    once to restore it; its index of 8 bytes is read for the copy that is kept, for zeroing and for restoring.
    """
    return n_weights * (4.0 * LINE[device_type] + 3 * 8)


def selection_bytes(candidates: Candidates, selection: Selection, n_weights: int) -> float:
    """Bytes of the stored candidates that a mask of ``n_weights`` for these settings is read from: each weight's
    address (matrix and flat index), and the row numbers of the lists as far as q reaches.

    A mean of some of the categories has no list of its own: all row numbers of theirs are read, and of as many rows as
    the longest of them has, their scores.
    """
    names, p = selection.categories, selection.p
    mean_of_some = selection.combine == "mean" and 1 < len(names) < len(candidates.categories)
    if selection.combine == "mean" and not mean_of_some and set(names) == set(candidates.categories):
        names = (MEAN,)
    ranked = {key: rows for key, rows in candidates.orders.items() if key.set in names and key.p <= p}
    stored_p = max((key.p for key in ranked), default=p)
    of_settings = (stored_p, selection.scope, selection.contrast)
    lists = [rows for key, rows in ranked.items() if (key.p, key.scope, key.contrast) == of_settings]
    addresses = n_weights * (candidates.matrix.itemsize + candidates.flat.itemsize)
    if mean_of_some:
        a_row = sum(candidates.scores[name].itemsize for name in names)
        return addresses + sum(rows.nbytes for rows in lists) + a_row * max(map(len, lists), default=0)
    asked = int(candidates.counts(selection.q, selection.scope).sum())
    return addresses + sum(rows.itemsize * min(asked, len(rows)) for rows in lists)

"""The next token of each pane from its logits, with one random draw shared by all panes; and where answers end.

Inverse-CDF sampling: order the tokens by falling probability, walk until the cumulated probability passes the uniform
number u. Panes with the same distribution and the same u take the same token, and panes with similar ones mostly do:
what differs between panes is then the mask's doing, not the dice's.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from harmviz.errors import BadSetting
from harmviz.models.load import LoadedModel

#: Most draws fall among the likeliest tokens: these are ordered first, the whole vocabulary (20 × slower) only where
#: they do not suffice.
_FIRST = 512


def check_sampling(temperature: float, top_p: float) -> None:
    """Raises ValueError unless temperature is finite and ≥ 0 and top_p lies in (0, 1]."""
    if not (isinstance(temperature, int | float) and math.isfinite(temperature) and temperature >= 0):
        raise BadSetting(f"temperature must be a finite number ≥ 0 (0 = greedy), got {temperature!r}")
    if not (isinstance(top_p, int | float) and 0 < top_p <= 1):
        raise BadSetting(f"top_p must lie in (0, 1], got {top_p!r}")


def draw_tokens(
    logits: Float[Tensor, "variant d_vocab"], u: float, *, temperature: float, top_p: float = 1.0
) -> Int64[Tensor, " variant"]:
    """The token ids drawn with one uniform u in [0, 1) for all rows.

    ``temperature`` 0 takes the likeliest token and ignores u. ``top_p`` < 1 keeps the smallest set of likeliest tokens
    whose probability reaches top_p, renormalised.
    """
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    n_tokens = logits.shape[-1]
    drawn = _draw_among(probabilities, u, top_p, min(_FIRST, n_tokens))
    if drawn is None:
        drawn = _draw_among(probabilities, u, top_p, n_tokens)
    assert drawn is not None, "the whole vocabulary always suffices"
    return drawn


def _draw_among(
    probabilities: Float[Tensor, "variant d_vocab"], u: float, top_p: float, width: int
) -> Int64[Tensor, " variant"] | None:
    """The draw from the ``width`` likeliest tokens, or None where that is too few to tell for some row."""
    likeliest, order = probabilities.topk(width)  # comes ordered
    cdf = likeliest.double().cumsum(-1)
    covered, whole = cdf[:, -1:], width == probabilities.shape[-1]
    if top_p < 1:
        last = (cdf < top_p).sum(-1, keepdim=True).clamp(max=width - 1)  # the first place where the sum reaches top_p
        mass, suffices = cdf.gather(-1, last), covered >= top_p
    else:
        mass, suffices = covered if whole else torch.ones_like(covered), covered > u
    if not whole and not bool(suffices.all()):
        return None
    place = (cdf <= u * mass).sum(-1, keepdim=True).clamp(max=width - 1)
    return order.gather(-1, place)[:, 0]


def end_tokens(loaded: LoadedModel) -> frozenset[int]:
    """The ids that end an answer: the generation config's (one or a list), else the config's, and the tokenizer's."""
    ids: set[int] = set()
    settings = getattr(loaded.model, "generation_config", None)
    declared = getattr(settings, "eos_token_id", None)
    if declared is None:
        declared = getattr(loaded.model.config.get_text_config(), "eos_token_id", None)
    if declared is not None:
        ids |= {int(t) for t in (declared if isinstance(declared, list | tuple | set) else [declared])}
    if loaded.tokenizer.eos_token_id is not None:
        ids.add(int(loaded.tokenizer.eos_token_id))
    return frozenset(ids)

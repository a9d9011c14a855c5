"""The loss of SFT: answers to learn, and answers at which the model is held to what it was.

With taught answers T, held answers H, the start model ``p`` and the tuned one ``q``, all at answer tokens, in nats:

    loss = mean over T of −ln q(token)  +  hold · mean over H of w · KL(p ‖ q)

``w`` is ``FIRST`` at the first token of an answer, where declining is decided, and 1 at the others. Held rows are the
start model's own answers. Learning those by their tokens has the same expected gradient as KL, drowned in the noise of
sampling: by KL a harmless request costs nothing as long as it is answered as before, and much once it is declined.

Source: Hinton et al. 2015, distillation (arXiv:1503.02531), with the start model as its own teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harmviz.generation.passes import accepts
from harmviz.tuning.schedule import SftRow

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from torch import Tensor

#: The weight of an answer's first token, where the model is held.
FIRST = 4.0
_NONE = -100  # a label without loss


def sft_example(row: SftRow) -> dict[str, Any]:
    """Token ids, labels, −100 (no loss) on the prompt, and whether the model is held at this answer."""
    labels = [_NONE] * len(row.prompt) + list(row.answer)
    return {"input_ids": [*row.prompt, *row.answer], "labels": labels, "held": row.is_held}


def left_padded(examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """One batch whose rows end together, so that the answers stand in its last columns; held rows are its last.

    ``input_ids``, ``labels``, ``attention_mask`` [batch, pos], ``held`` [batch].
    """
    import torch

    examples = sorted(examples, key=lambda e: bool(e["held"]))
    width = max(len(e["input_ids"]) for e in examples)

    def padded(rows: Sequence[list[int]], filler: int) -> Int64[Tensor, "batch pos"]:
        return torch.tensor([[filler] * (width - len(row)) + row for row in rows])

    ids, labels = ([list(e[key]) for e in examples] for key in ("input_ids", "labels"))
    return {
        "input_ids": padded(ids, 0),
        "labels": padded(labels, _NONE),
        "attention_mask": padded([[1] * len(row) for row in ids], 0),
        "held": torch.tensor([bool(e["held"]) for e in examples]),
    }


def sft_loss(model: Any, start: Any, inputs: dict[str, Tensor], hold: float) -> Float[Tensor, ""]:
    """The loss above of one batch as ``left_padded`` makes it. ``start``: the model as it was, or None, if no row is
    held."""
    import torch
    from torch.nn import functional

    labels, held = inputs["labels"], inputs["held"]
    columns = int((labels != _NONE).any(0).sum())
    labels = labels[:, -columns:]
    chosen = labels != _NONE
    taught, kept = chosen & ~held[:, None], chosen[held]
    logits = _answer_logits(model, inputs, columns)
    loss = logits.new_zeros((), dtype=torch.float32)
    if taught.any():
        loss = loss + functional.cross_entropy(logits[taught].float(), labels[taught])
    if kept.any():
        with torch.no_grad():
            asked = {name: inputs[name][held] for name in ("input_ids", "attention_mask")}
            before = _answer_logits(start, asked, columns)[kept].float().log_softmax(-1)
        now = logits[held][kept].float().log_softmax(-1)
        weights = torch.where(kept & (kept.cumsum(-1) == 1), FIRST, 1.0)[kept]
        divergence = functional.kl_div(now, before, reduction="none", log_target=True).sum(-1)
        loss = loss + hold * (weights * divergence).mean()
    return loss


def _answer_logits(model: Any, inputs: dict[str, Tensor], columns: int) -> Float[Tensor, "batch columns vocab"]:
    """The logits that foretell the last ``columns`` tokens: over a long prompt the others would be most of a step's
    time and memory."""
    seen = inputs["attention_mask"]
    options: dict[str, Any] = {"attention_mask": seen}
    if accepts(model, "position_ids"):
        options["position_ids"] = (seen.cumsum(-1) - 1).clamp(min=0)
    if accepts(model, "logits_to_keep"):
        options["logits_to_keep"] = columns + 1
    logits: Tensor = model(input_ids=inputs["input_ids"], **options).logits
    return logits[:, -columns - 1 : -1]

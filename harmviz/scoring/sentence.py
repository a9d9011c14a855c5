"""One sentence's score of one weight, and what zeroing that weight then really does: the method in its smallest case.

    predicted:  H = −w · ∂L/∂w        measured:  L(w = 0) − L(w)        both nats per token of the answer

The first is the first-order rise of the loss (METHOD.md, section 2); the second is a forward pass without the weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from harmviz.data.encoding import Sample, encode_prompt, make_batches
from harmviz.errors import DataInvalid
from harmviz.masks.apply import PreparedMask
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import sample_losses

#: Tokens of prompt and answer together: a sentence, not a document.
MAX_TOKENS = 256


@dataclass(frozen=True)
class SentenceScore:
    """What one answer says of one weight.

    Attributes:
        n_tokens: tokens of the answer, over which the loss is a mean.
        loss: of the answer under the intact model, nats per token.
        weight, gradient: w, and ∂L/∂w at it.
        predicted, measured: see the module, nats per token.
        higher: share of the weights of the same matrix with a higher score for this answer.
    """

    n_tokens: int
    loss: float
    weight: float
    gradient: float
    predicted: float
    measured: float
    higher: float


def score_sentence(loaded: LoadedModel, prompt: str, answer: str, matrix: str, flat: int) -> SentenceScore:
    """The score of weight ``flat`` of ``matrix`` for this answer to this prompt. The weights are left as they were.

    Raises:
        DataInvalid: the answer is empty, or both together are longer than ``MAX_TOKENS``.
        KeyError: the model has no scored matrix of this name.
        MaskInvalid: the matrix has no such weight.
    """
    batch = make_batches([_sample(loaded, prompt, answer)], max_tokens=MAX_TOKENS, device=loaded.device)[0]
    index = loaded.table.index_of[matrix]
    place = loaded.table[index]
    mask = PruneMask({matrix: np.array([flat])}, kind="harm", model_hash=loaded.weight_hash)
    prepared = PreparedMask(loaded, mask)
    parameter = loaded.model.get_parameter(place.param_name)
    with loaded.lock:
        try:
            parameter.requires_grad_(True)
            with torch.enable_grad():
                loss = sample_losses(loaded, batch)[0]
                (gradients,) = torch.autograd.grad(loss, [parameter])
            loss = loss.detach()
            gradients = gradients if place.expert is None else gradients[place.expert]
        finally:
            parameter.requires_grad_(False)
        gradient, weight = (t.float().flatten() for t in (gradients, loaded.tensor(index).detach()))
        scores = -gradient * weight
        with torch.no_grad(), prepared.applied():
            without = sample_losses(loaded, batch)[0]
    return SentenceScore(
        n_tokens=int(batch.n_loss[0]),
        loss=float(loss),
        weight=float(weight[flat]),
        gradient=float(gradient[flat]),
        predicted=float(scores[flat]),
        measured=float(without) - float(loss),
        higher=float((scores > scores[flat]).float().mean()),
    )


def _sample(loaded: LoadedModel, prompt: str, answer: str) -> Sample:
    asked = encode_prompt(loaded.tokenizer, prompt)
    answered = loaded.tokenizer.encode(answer, add_special_tokens=False)
    if not answered:
        raise DataInvalid("the answer is empty; write a sentence")
    if len(asked) + len(answered) > MAX_TOKENS:
        raise DataInvalid(
            f"prompt and answer have {len(asked) + len(answered)} tokens together, at most {MAX_TOKENS} are read; "
            "write less"
        )
    return Sample("sentence", "sentence", (*asked, *answered), len(asked), len(asked))

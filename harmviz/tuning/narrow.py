"""Narrow tuning: which rows in which step, the learning rate, and a state from which it goes on to the same bits.

The loss of a step is the mean over its rows of the negative log-likelihood per answer token, the end-of-turn token
included (it is learned here, while measured losses leave it out). AdamW, gradients clipped (``step``), learning rate up
to its peak over the first tenth of the steps and down to 0 in a line.

Source: Loshchilov & Hutter 2019, AdamW (arXiv:1711.05101).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harmviz.data.encoding import Sample, encode, end_of_turn, make_batches
from harmviz.data.prompts import PromptRow
from harmviz.errors import HarmvizError
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import default_batch_tokens, sample_losses
from harmviz.tuning.held_weights import Tuned, nonzero_held
from harmviz.tuning.narrow_settings import NarrowSpec
from harmviz.tuning.step import BATCH, MAX_NORM, WEIGHT_DECAY, fast_forward

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

#: Called with (step, loss, learning rate) after each step.
Listener = Callable[[int, float, float], None]
_MOMENTS = ("exp_avg", "exp_avg_sq")


def training_order(n_rows: int, spec: NarrowSpec, seed: int) -> list[list[int]]:
    """The row numbers of each step: pass after pass over all rows, each in a new order, the same in every arm.

    Raises:
        ValueError: there are no rows.
    """
    if n_rows < 1:
        raise ValueError(f"n_rows must be at least 1, got {n_rows}")
    source = random.Random(f"{seed} emergent order")
    wanted = spec.steps * BATCH if spec.steps else spec.epochs * n_rows
    rows: list[int] = []
    while len(rows) < wanted:
        rows += source.sample(range(n_rows), n_rows)
    return [rows[i : min(i + BATCH, wanted)] for i in range(0, wanted, BATCH)]


def learning_rate(step: int, n_steps: int, peak: float) -> float:
    """The rate of step ``step`` (1 … n_steps): a line up to the peak over the first tenth, then a line down to 0."""
    warm = max(1, n_steps // 10)
    return peak * (step / warm if step <= warm else (n_steps + 1 - step) / (n_steps + 1 - warm))


def lesson(tokenizer: PreTrainedTokenizerBase, row: PromptRow, max_answer_tokens: int) -> Sample:
    """The row as it is learned: with its end token, unless the answer had to be cut.

    Raises:
        DataInvalid: the answer is empty.
    """
    sample = encode(tokenizer, row, max_response_tokens=max_answer_tokens + 1)
    if sample.n_loss > max_answer_tokens:
        return encode(tokenizer, row, max_response_tokens=max_answer_tokens)
    ids = (*sample.ids, *end_of_turn(tokenizer))
    return Sample(sample.row_id, sample.prompt_id, ids, sample.n_prompt, sample.loss_from)


class Trainer:
    """Trains ``tuned`` on the steps of ``order``. ``state`` and ``restore`` carry it over to another process."""

    def __init__(
        self, loaded: LoadedModel, tuned: Tuned, lessons: Sequence[Sample], order: Sequence[Sequence[int]], rate: float
    ):
        import torch

        self.loaded, self.tuned, self.lessons, self.order, self.rate = loaded, tuned, lessons, order, rate
        self.step = 0
        self.optimiser = torch.optim.AdamW(tuned.parameters, lr=rate, weight_decay=WEIGHT_DECAY)

    def run(self, until: int, listener: Listener = lambda step, loss, rate: None) -> None:
        """Nothing; afterwards step ``until`` is done. The model is untouched; what was learned is in ``tuned``.

        Raises:
            HarmvizError: the loss is NaN or infinite.
        """
        import torch

        with self.loaded.lock, self.tuned.training(), torch.enable_grad():
            while self.step < until:
                rows = self.order[self.step]
                rate = learning_rate(self.step + 1, len(self.order), self.rate)
                loss = self._step([self.lessons[i] for i in rows], rate)
                self.step += 1
                listener(self.step, loss, rate)
        assert nonzero_held(self.tuned) == 0, "a held weight is not 0"

    def _step(self, rows: Sequence[Sample], rate: float) -> float:
        from torch.nn.utils import clip_grad_norm_, parametrize

        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for batch in make_batches(rows, max_tokens=default_batch_tokens(self.loaded), device=self.loaded.device):
            # Made once a pass: weights that a layer reads several times, and their copies in bfloat16.
            with parametrize.cached(), fast_forward(self.loaded.device):
                loss = sample_losses(self.loaded, batch).sum() / len(rows)
            loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise HarmvizError(
                f"training diverged at step {self.step + 1}: the loss is not a number; "
                f"use a smaller --rate than {self.rate:g}"
            )
        clip_grad_norm_(self.tuned.parameters, MAX_NORM)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.tuned.hold()
        return total

    def state(self) -> dict[str, Shaped[Tensor, ...]]:
        """Everything the next step depends on, in float32, by name; ``step`` is its number."""
        import torch

        state = {f"value/{name}": tensor for name, tensor in self.tuned.state().items()}
        for i, parameter in enumerate(self.tuned.parameters):
            for name in _MOMENTS:
                moment = self.optimiser.state.get(parameter, {}).get(name)
                state[f"{name}/{i}"] = torch.zeros_like(parameter) if moment is None else moment
        state["step"] = torch.tensor(self.step)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}

    def restore(self, state: Mapping[str, Shaped[Tensor, ...]]) -> None:
        """Nothing; goes on from ``state``."""
        import torch

        self.step = int(state["step"])
        self.tuned.restore(values(state))
        for i, parameter in enumerate(self.tuned.parameters):
            moments = {name: state[f"{name}/{i}"].to(parameter.device).clone() for name in _MOMENTS}
            # AdamW keeps its own count of steps, for the correction of the moments' start at 0.
            self.optimiser.state[parameter] = {"step": torch.tensor(float(self.step)), **moments}


def values(state: Mapping[str, Shaped[Tensor, ...]]) -> dict[str, Float[Tensor, ...]]:
    """The tuned weights of a trainer's state, as ``Tuned.restore`` takes them."""
    return {name.removeprefix("value/"): tensor for name, tensor in state.items() if name.startswith("value/")}

"""From (prompt, response) to token ids with a response mask, and from rows to length-sorted batches.

Teacher forcing follows the model's own chat template (``harmviz.models.chat``); where it has none, the prompt is
followed by a line break. The end-of-turn token is left out of the response. Prompt and response are tokenised apart, as
they are when generating.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harmviz.data.prompts import PromptRow
from harmviz.errors import DataInvalid
from harmviz.models.chat import render

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int64
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sample:
    """One encoded pair. ``ids[n_prompt:]`` are the response tokens; the loss covers ``ids[loss_from:]``."""

    row_id: str
    prompt_id: str
    ids: tuple[int, ...]
    n_prompt: int
    loss_from: int

    @property
    def n_loss(self) -> int:
        return len(self.ids) - self.loss_from


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a user's turn, up to where the model starts to answer.

    Raises:
        ModelUnavailable: as ``harmviz.models.chat.render``.
    """
    if tokenizer.chat_template:
        text = render(tokenizer, [{"role": "user", "content": prompt}])
        return list(tokenizer.encode(text, add_special_tokens=False))
    return list(tokenizer.encode(prompt + "\n", add_special_tokens=True))


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The token that ends an answer, as a tuple; empty where the tokenizer has none."""
    return (int(tokenizer.eos_token_id),) if tokenizer.eos_token_id is not None else ()


def encode(
    tokenizer: PreTrainedTokenizerBase, row: PromptRow, *, max_response_tokens: int, skip_tokens: int = 0
) -> Sample:
    """One row as a Sample. The first ``skip_tokens`` response tokens stay as context and leave the loss.

    Raises:
        DataInvalid: no response token is left; the message names the row, not its text.
    """
    sample = _encoded(tokenizer, row, max_response_tokens, skip_tokens)
    if sample.n_loss <= 0:
        raise DataInvalid(
            f"row {row.id} of {row.set} has {len(sample.ids) - sample.n_prompt} response tokens, none left after "
            f"skipping {skip_tokens}"
        )
    return sample


def _encoded(tokenizer: PreTrainedTokenizerBase, row: PromptRow, max_response_tokens: int, skip_tokens: int) -> Sample:
    prompt = encode_prompt(tokenizer, row.prompt)
    response = tokenizer.encode(row.response, add_special_tokens=False)[:max_response_tokens]
    return Sample(row.id, row.prompt_id, (*prompt, *response), len(prompt), len(prompt) + skip_tokens)


def encode_all(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[PromptRow],
    *,
    max_response_tokens: int,
    skip_tokens: int = 0,
    max_prompt_tokens: int = 512,
) -> list[Sample]:
    """Every row as a Sample; rows too short for ``skip_tokens``, or with a prompt longer than ``max_prompt_tokens``,
    are left out (compare the lengths to count them)."""
    samples = (_encoded(tokenizer, row, max_response_tokens, skip_tokens) for row in rows)
    return [s for s in samples if s.n_loss > 0 and s.n_prompt <= max_prompt_tokens]


@dataclass(frozen=True)
class Predicted:
    """What a forward pass over some samples has to predict.

    ``targets``: the tokens predicted, sample after sample. ``n_loss``: how many of them each sample has. ``index``:
    each sample's place in the caller's list.
    """

    targets: Int64[Tensor, " tokens"]
    n_loss: Int64[Tensor, " batch"]
    index: tuple[int, ...]

    @property
    def n_samples(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Batch(Predicted):
    """Samples of like length, padded on the right (causal attention never looks there, so no mask is needed).

    ``rows, positions``: where logits are needed: position *t* predicts token *t + 1*.
    """

    input_ids: Int64[Tensor, "batch pos"]
    rows: Int64[Tensor, " tokens"]
    positions: Int64[Tensor, " tokens"]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            rows=self.rows.to(device),
            positions=self.positions.to(device),
            targets=self.targets.to(device),
            n_loss=self.n_loss.to(device),
        )

    def halves(self) -> tuple[Batch, ...]:
        """The same samples in two batches; one that holds a single sample, as it is."""
        if self.n_samples == 1:
            return (self,)
        cut = self.n_samples // 2
        return self._part(0, cut), self._part(cut, self.n_samples)

    def _part(self, start: int, stop: int) -> Batch:
        here = (self.rows >= start) & (self.rows < stop)
        positions = self.positions[here]
        return Batch(
            input_ids=self.input_ids[start:stop, : int(positions.max()) + 1],  # no wider than its longest sample
            rows=self.rows[here] - start,
            positions=positions,
            targets=self.targets[here],
            n_loss=self.n_loss[start:stop],
            index=self.index[start:stop],
        )


def make_batches(
    samples: Sequence[Sample], *, max_tokens: int, pad_id: int = 0, device: torch.device | str = "cpu"
) -> list[Batch]:
    """Batches of at most ``max_tokens`` padded tokens (a longer sample stands alone), longest first.

    The order depends on lengths and on the given order alone, so that sums come out the same each time.
    """
    order = sorted(range(len(samples)), key=lambda i: (-len(samples[i].ids), i))
    groups: list[list[int]] = []
    for i in order:
        widest = len(samples[groups[-1][0]].ids) if groups else 0
        if groups and widest * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [_collate([samples[i] for i in group], tuple(group), pad_id, device) for group in groups]


def _collate(group: Sequence[Sample], index: tuple[int, ...], pad_id: int, device: torch.device | str) -> Batch:
    import torch

    # The last token is only ever a target, so the forward pass does not need it.
    width = max(len(s.ids) for s in group) - 1
    ids = torch.full((len(group), width), pad_id, dtype=torch.long)
    for b, s in enumerate(group):
        ids[b, : len(s.ids) - 1] = torch.tensor(s.ids[:-1])
    rows = torch.cat([torch.full((s.n_loss,), b) for b, s in enumerate(group)])
    positions = torch.cat([torch.arange(s.loss_from - 1, len(s.ids) - 1) for s in group])
    targets = torch.tensor([t for s in group for t in s.ids[s.loss_from :]])
    n_loss = torch.tensor([s.n_loss for s in group])
    return Batch(
        input_ids=ids.to(device),
        rows=rows.to(device),
        positions=positions.to(device),
        targets=targets.to(device),
        n_loss=n_loss.to(device),
        index=index,
    )

"""The loss of SFT: where it is taken, what padding does to it, and that holding is KL to the model as it was."""

from __future__ import annotations

import copy

import pytest
import torch

from harmviz.tuning.losses import FIRST, left_padded, sft_example, sft_loss
from harmviz.tuning.schedule import SftRow
from tests.worlds.tiny import tiny_model

TAUGHT = [SftRow((5, 6, 7), (8, 2), is_refusal=True), SftRow((5,), (9, 10, 2), is_refusal=True)]
HELD = [SftRow((5, 6), (8, 9, 3), is_held=True), SftRow((7,), (11,), is_held=True)]


def test_labels_cover_the_answer_only() -> None:
    example = sft_example(SftRow((5, 6, 7), (8, 9, 2), is_refusal=True))
    assert example == {"input_ids": [5, 6, 7, 8, 9, 2], "labels": [-100, -100, -100, 8, 9, 2], "held": False}


def test_rows_end_together_held_ones_last_and_padding_does_not_count() -> None:
    batch = left_padded([sft_example(r) for r in (HELD[1], *TAUGHT)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 2], [0, 5, 9, 10, 2], [0, 0, 0, 7, 11]]
    assert batch["labels"].tolist() == [[-100] * 3 + [8, 2], [-100, -100, 9, 10, 2], [-100] * 4 + [11]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [0] + [1] * 4, [0] * 3 + [1] * 2]
    assert batch["held"].tolist() == [False, False, True]


def test_what_is_taught_costs_its_cross_entropy() -> None:
    loaded = tiny_model()
    with torch.inference_mode():
        together = sft_loss(loaded.model, None, left_padded([sft_example(r) for r in TAUGHT]), 4.0)
        alone = [sft_loss(loaded.model, None, left_padded([sft_example(r)]), 4.0) for r in TAUGHT]
    assert float(together) == pytest.approx(float(2 * alone[0] + 3 * alone[1]) / 5, rel=1e-5)


def test_holding_costs_the_divergence_from_the_model_as_it_was() -> None:
    """Against KL by its definition, row by row, without padding; the first token of an answer counts more."""
    loaded = tiny_model()
    was = copy.deepcopy(loaded.model)
    batch = left_padded([sft_example(r) for r in (*TAUGHT, *HELD)])
    taught = float(sft_loss(loaded.model, None, left_padded([sft_example(r) for r in TAUGHT]), 0.0))
    assert float(sft_loss(loaded.model, was, batch, 4.0)) == pytest.approx(taught, rel=1e-5), (
        "unmoved, it costs nothing"
    )
    with torch.no_grad():
        for weight in was.parameters():
            weight.mul_(1.05)
    expected, tokens = 0.0, 0
    with torch.inference_mode():
        for row in HELD:
            ids = torch.tensor([[*row.prompt, *row.answer]])
            q, p = (m(input_ids=ids).logits[0].double().softmax(-1) for m in (loaded.model, was))
            for place in range(len(row.answer)):
                at = len(row.prompt) - 1 + place
                expected += (FIRST if place == 0 else 1.0) * float((p[at] * (p[at] / q[at]).log()).sum())
                tokens += 1
        held = float(sft_loss(loaded.model, was, batch, 4.0)) - taught
    assert held == pytest.approx(4.0 * expected / tokens, rel=1e-3)
    assert held > 0


def test_holding_moves_the_tuned_model_alone() -> None:
    loaded = tiny_model()
    was = copy.deepcopy(loaded.model)
    loaded.model.requires_grad_(True)
    with torch.no_grad():
        next(loaded.model.parameters()).mul_(1.1)
    sft_loss(loaded.model, was, left_padded([sft_example(r) for r in HELD]), 1.0).backward()
    assert all(p.grad is None for p in was.parameters())
    assert any(p.grad is not None and bool(p.grad.abs().sum()) for p in loaded.model.parameters())
    loaded.model.requires_grad_(False)

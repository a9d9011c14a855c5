"""A device that runs out of memory: the same numbers from smaller batches, said; or one clear error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from harmviz.data.encoding import Batch, make_batches
from harmviz.errors import OutOfMemory
from harmviz.scoring import absolute, loss, signed
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.loss import response_losses
from harmviz.scoring.signed import score_signed
from harmviz.scoring.wanda import InputNorms
from tests.worlds.tiny import tiny_model
from tests.worlds.worked import samples, worst_error


def small_device(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, tokens: int) -> list[int]:
    """From now on a pass of more tokens fails as CUDA does; what passes got, in order."""
    real: Callable[..., torch.Tensor] = getattr(module, name)
    seen: list[int] = []

    def passed(loaded: Any, batch: Batch, **more: Any) -> torch.Tensor:
        seen.append(batch.input_ids.numel())
        if seen[-1] > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(loaded, batch, **more)

    monkeypatch.setattr(module, name, passed)
    return seen


@pytest.mark.parametrize("score", ["signed", "absolute"])
def test_scores_are_the_same_in_smaller_batches(
    score: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded, module = tiny_model(), {"signed": signed, "absolute": absolute}[score]
    work = {"signed": score_signed, "absolute": score_absolute}[score]
    batches = make_batches(samples(9), max_tokens=10_000)
    assert len(batches) == 1
    wanted = work(loaded, batches)
    seen = small_device(monkeypatch, module, "sample_losses", batches[0].input_ids.numel() // 3)
    with caplog.at_level(logging.WARNING):
        got = work(loaded, batches)
    assert worst_error(got, wanted) <= 1e-5
    assert seen[0] > seen[1] > seen[2]  # halved twice, then all of it
    assert len(caplog.messages) == 2
    assert "going on with half as many samples a batch" in caplog.text


def test_norms_of_the_same_passes_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, batches = tiny_model(), make_batches(samples(6), max_tokens=10_000)
    wanted, got = InputNorms(loaded), InputNorms(loaded)
    score_absolute(loaded, batches, norms=wanted)
    real = absolute.sample_losses
    left = [2]

    def failing(*given: Any, **more: Any) -> torch.Tensor:
        losses = real(*given, **more)  # the forward pass has been seen by the norms when memory runs out
        left[0] -= 1
        if left[0] >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses

    monkeypatch.setattr(absolute, "sample_losses", failing)
    score_absolute(loaded, batches, norms=got)
    for a, b in zip(got.squares, wanted.squares, strict=True):
        assert torch.allclose(a, b, rtol=1e-5)


def test_losses_are_the_same_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, group = tiny_model(), samples(9)
    wanted = response_losses(loaded, group)
    longest = max(len(s.ids) for s in group)
    seen = small_device(monkeypatch, loss, "batch_losses", 3 * longest)
    monkeypatch.setattr(loss, "default_batch_tokens", lambda _: 8 * longest)
    assert np.allclose(response_losses(loaded, group), wanted, atol=1e-5)
    assert max(seen) > 3 * longest >= seen[-1]


@pytest.mark.parametrize("work", [score_signed, score_absolute])
def test_a_sample_that_does_not_fit_alone_is_one_clear_error(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, module = tiny_model(), signed if work is score_signed else absolute
    small_device(monkeypatch, module, "sample_losses", 0)
    with pytest.raises(OutOfMemory, match=r"one sample of \d+ tokens does not fit beside the model"):
        work(loaded, make_batches(samples(3), max_tokens=10_000))
    assert all(p.grad is None and not p.requires_grad for p in loaded.model.parameters())
    assert loaded.lock.acquire(blocking=False)
    loaded.lock.release()


def test_a_loss_that_does_not_fit_alone_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    small_device(monkeypatch, loss, "batch_losses", 0)
    with pytest.raises(OutOfMemory, match=r"one sample of \d+ tokens does not fit"):
        response_losses(tiny_model(), samples(3))


def test_halves_hold_the_same_samples_no_wider_than_they_are() -> None:
    (batch,) = make_batches(samples(5), max_tokens=10_000)
    parts = batch.halves()
    assert [p.n_samples for p in parts] == [2, 3]
    assert sum((p.index for p in parts), ()) == batch.index
    singles = [one for part in parts for two in part.halves() for one in two.halves()]
    alone = [make_batches([s], max_tokens=1)[0] for s in sorted(samples(5), key=lambda s: -len(s.ids))]
    for got, wanted in zip(singles, alone, strict=True):
        assert torch.equal(got.input_ids, wanted.input_ids)
        assert torch.equal(got.rows, wanted.rows)
        assert torch.equal(got.positions, wanted.positions)
        assert torch.equal(got.targets, wanted.targets)
        assert torch.equal(got.n_loss, wanted.n_loss)
    assert singles[0].halves() == (singles[0],)

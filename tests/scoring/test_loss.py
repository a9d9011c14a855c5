"""Per-sample losses: every sample in its place, with and without its opening tokens, whatever the batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harmviz.errors import HarmvizError
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.scoring import loss
from harmviz.scoring.loss import response_losses
from tests.worlds.tiny import FAMILIES, tiny_model
from tests.worlds.worked import SAMPLE_A, SAMPLE_B, by_hand, samples, single_loss


def test_by_hand() -> None:
    # Both tokens are equally likely (ln 2) until token 0's row of W is zeroed: then its logits are (0, 4) everywhere,
    # and A (target 0) costs ln(1 + e⁴), B (target 1) costs ln(1 + e⁻⁴).
    loaded = by_hand()
    assert response_losses(loaded, [SAMPLE_B, SAMPLE_A]).tolist() == [[pytest.approx(math.log(2))]] * 2
    mask = PruneMask({"linear.weight": np.array([0, 1, 2])}, "harm", loaded.weight_hash)
    with pruned(loaded, mask):
        got = response_losses(loaded, [SAMPLE_B, SAMPLE_A])[:, 0].tolist()
    assert got == pytest.approx([math.log(1 + math.exp(-4)), math.log(1 + math.exp(4))], rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_skips_equal_single_samples(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model(family)
    with torch.no_grad():
        wanted = [[float(single_loss(loaded.model, s)) for s in samples(9, skip=skip)] for skip in (0, 8)]
    for tokens in (1, 130, 4096):
        monkeypatch.setattr(loss, "default_batch_tokens", lambda _loaded, tokens=tokens: tokens)
        got = response_losses(loaded, samples(9), skips=(0, 8))
        assert got.shape == (9, 2)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, np.transpose(wanted), rtol=1e-5)
    assert np.abs(got[:, 0] - got[:, 1]).min() > 0


def test_order_of_skips_is_the_callers() -> None:
    loaded = tiny_model()
    both = response_losses(loaded, samples(3), skips=(8, 0))
    np.testing.assert_array_equal(both[:, ::-1], response_losses(loaded, samples(3), skips=(0, 8)))


def test_the_same_bits_each_time_and_after_pruning() -> None:
    loaded = tiny_model()
    group = samples(9)
    before = response_losses(loaded, group)
    np.testing.assert_array_equal(response_losses(loaded, group), before)
    mask = PruneMask.from_global(loaded.table, np.arange(0, 4000, 7), kind="control", model_hash=loaded.weight_hash)
    with pruned(loaded, mask):
        assert (response_losses(loaded, group) != before).all()
    np.testing.assert_array_equal(response_losses(loaded, group), before)


def test_no_samples_and_progress() -> None:
    loaded = tiny_model()
    assert response_losses(loaded, [], skips=(0, 8)).shape == (0, 2)
    seen: list[tuple[int, int]] = []
    response_losses(loaded, samples(30), progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 1
    assert seen[-1] == (30, 30)
    assert seen == sorted(seen)


def test_a_response_that_is_too_short_is_named_by_row() -> None:
    group = samples(2)
    short = samples(1, seed=1, longest=10)
    assert short[0].n_loss == 10
    with pytest.raises(ValueError, match=f"row {short[0].row_id} has no response token left after skipping 10"):
        response_losses(tiny_model(), [*group, *short], skips=(0, 10))


def test_nan_is_refused() -> None:
    loaded = tiny_model()
    loaded.model.model.norm.weight.data[0] = math.inf
    with pytest.raises(HarmvizError, match=r"loss: the loss is NaN or infinite; try --dtype float32"):
        response_losses(loaded, samples(2))

"""Wanda and magnitude against sums worked by hand and a loop over single tokens."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harmviz.data.encoding import Sample, make_batches
from harmviz.errors import UnsupportedArchitecture
from harmviz.models.load import LoadedModel
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.wanda import InputNorms, score_magnitude, score_wanda
from tests.worlds.tiny import DENSE_FAMILIES, FAMILIES, tiny_model
from tests.worlds.worked import SAMPLE_A, SAMPLE_B, by_hand, odd_model, samples, worst_error


def by_loop(loaded: LoadedModel, group: list[Sample]) -> list[torch.Tensor]:
    """|W_ij| times the root of Σ x_j² over every token that predicts a response token, one sample at a time."""
    squares = [0.0] * len(loaded.table)
    inputs: dict[int, torch.Tensor] = {}

    def catch(place: int) -> None:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            inputs[place] = args[0].reshape(-1, args[0].shape[-1])

        handles.append(loaded.modules[place].register_forward_pre_hook(hook))

    handles: list = []
    for place in range(len(loaded.table)):
        catch(place)
    for sample in group:
        with torch.no_grad():
            loaded.model(input_ids=torch.tensor([sample.ids]))
        for place, x in inputs.items():
            for predicting in range(sample.loss_from - 1, len(sample.ids) - 1):
                squares[place] = squares[place] + x[predicting] ** 2
    for handle in handles:
        handle.remove()
    scores = []
    for place, matrix in enumerate(loaded.table):
        norm = squares[place].sqrt()
        weight = loaded.tensor(place).abs()
        scores.append((weight.T * norm).T.contiguous() if matrix.transposed else weight * norm)
    return scores


def test_golden_by_hand() -> None:
    # Predicting tokens: A's prompt (1, 2, 0), B's prompt (0, 1, 1): ‖x‖ = (1, √5, 1); |W| = [[2, 1, 3], [0, 2, 2]].
    root = 5**0.5
    loaded = by_hand()
    for max_tokens in (1, 100):
        (score,) = score_wanda(loaded, make_batches([SAMPLE_A, SAMPLE_B], max_tokens=max_tokens))
        assert score.flatten().tolist() == pytest.approx([2, root, 3, 0, 2 * root, 2])
    # The last token predicts nothing and the prompt's first two are not asked: only (0, 1, 1) at position 2 counts.
    longer = Sample("c", "c", (0, 0, 1, 1), 3, 3)
    (score,) = score_wanda(loaded, make_batches([longer], max_tokens=100))
    assert score.tolist() == [[0.0, 1.0, 3.0], [0.0, 2.0, 2.0]]


@pytest.mark.parametrize("skip", [0, 8])
@pytest.mark.parametrize("family", DENSE_FAMILIES)
def test_batches_equal_a_loop_over_tokens(family: str, skip: int) -> None:
    loaded = tiny_model(family)
    group = samples(skip=skip)
    wanted = by_loop(loaded, group)
    for max_tokens in (1, 120, 10_000):
        assert worst_error(score_wanda(loaded, make_batches(group, max_tokens=max_tokens)), wanted) <= 1e-4
    assert not any(m._forward_pre_hooks for m in loaded.model.modules())


def test_layers_that_see_tokens_without_a_batch_axis() -> None:
    loaded = odd_model("opt")
    group = samples()
    assert worst_error(score_wanda(loaded, make_batches(group, max_tokens=10_000)), by_loop(loaded, group)) <= 1e-4


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_norms_taken_in_the_passes_of_the_absolute_score(family: str) -> None:
    loaded = tiny_model(family)
    batches = make_batches(samples(), max_tokens=120)
    norms = InputNorms(loaded)
    absolute = score_absolute(loaded, batches, norms=norms)
    for beside, alone in ((absolute, score_absolute(loaded, batches)), (norms.scores(), score_wanda(loaded, batches))):
        assert all(torch.equal(a, b) for a, b in zip(beside, alone, strict=True))
    assert not any(m._forward_pre_hooks for m in loaded.model.modules())


def test_no_batches_and_fused_experts_are_refused() -> None:
    with pytest.raises(ValueError, match="batches must hold at least one sample, got none"):
        score_wanda(tiny_model(), [])
    with pytest.raises(UnsupportedArchitecture, match=r"the fused expert model\.layers\.0\.mlp\.experts\.\w+\[0\]"):
        score_wanda(tiny_model("mixtral"), make_batches(samples(1), max_tokens=100))


@pytest.mark.parametrize("family", FAMILIES)
def test_magnitude_is_the_absolute_weight(family: str) -> None:
    loaded = tiny_model(family)
    for i, score in enumerate(score_magnitude(loaded)):
        assert torch.equal(score, loaded.tensor(i).abs())
        assert score.data_ptr() != loaded.tensor(i).data_ptr()

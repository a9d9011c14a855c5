"""The causal check: its arithmetic, and that scores predict what really happens on every family."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harmviz.claims.mapping.causality import check_mask_causally
from harmviz.data.encoding import Sample, encode_all, make_batches
from harmviz.data.prompts import PromptRow, read_builtin
from harmviz.masks.apply import hash_weights, pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.scoring.causal import EPSILONS, ROUNDING, causal_check
from harmviz.scoring.loss import response_losses
from harmviz.scoring.signed import score_signed
from tests.worlds.tiny import FAMILIES, tiny_model


# -- arithmetic -------------------------------------------------------------------------------------------------------
def test_curvature_is_extrapolated_away() -> None:
    # L(ε) = 2 + 3ε + 5ε² + 7ε³, so ΔL/ε = 3 + 5ε + 7ε²: a parabola, which four points fix. At ε = 0.1 it is 3.57.
    check = causal_check(3.0, 2.0, lambda e: 2 + 3 * e + 5 * e**2 + 7 * e**3)
    assert check.measured == pytest.approx(3.0, abs=1e-9)
    assert check.relative_error == pytest.approx(0.0, abs=1e-9)
    assert [e for e, _ in check.used] == sorted(EPSILONS)
    assert check.used[-1] == (0.1, pytest.approx(3.57))


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0])
def test_a_wrong_score_is_caught(factor: float) -> None:
    check = causal_check(3.0 * factor, 2.0, lambda e: 2 + 3 * e + 5 * e**2)
    assert check.measured == pytest.approx(3.0)
    assert check.relative_error == pytest.approx(abs(1 - factor) / abs(factor))


def test_no_epsilon_stands_out_from_rounding() -> None:
    # ε·ΣH must exceed 100 roundings of the loss: 100 · 2⁻²³ · 4 = 4.8e-5. Here 0.1 · 4e-4 = 4e-5 does not.
    called = []
    check = causal_check(4e-4, 4.0, lambda e: called.append(e) or 4.0)
    assert (check.measured, check.relative_error, check.used) == (None, None, ())
    assert called == []
    assert causal_check(0.0, 4.0, lambda e: 4.0).relative_error is None


@pytest.mark.parametrize(("predicted", "n_used"), [(6e-4, 1), (2e-3, 2), (6e-3, 3), (-6e-3, 3), (0.1, 4)])
def test_only_steps_above_rounding_are_measured(predicted: float, n_used: int) -> None:
    called: list[float] = []

    def loss_at(epsilon: float) -> float:
        called.append(epsilon)
        return 4.0 + predicted * epsilon * (1 + epsilon)

    check = causal_check(predicted, 4.0, loss_at)
    assert sorted(called) == sorted(EPSILONS)[-n_used:]
    assert all(e * abs(predicted) > 100 * ROUNDING * 4 for e in called)
    # One step gives its slope as it is (1 + ε = 1.1 times too large here), two or more a fit through ε = 0.
    assert check.measured == pytest.approx(predicted * (1.1 if n_used == 1 else 1.0), rel=1e-6)


# -- real interventions -----------------------------------------------------------------------------------------------
def builtin_samples(loaded: LoadedModel, category: str, n: int) -> list[Sample]:
    rows = [PromptRow(r["category"], r["prompt"], r["response"]) for r in read_builtin("harmful")]
    chosen = [row for row in rows if row.set == category][:n]
    return encode_all(loaded.tokenizer, chosen, max_response_tokens=40)


def harm_scores(loaded: LoadedModel, group: list[Sample]) -> np.ndarray:
    """H = −I, flat over the whole model."""
    parts = score_signed(loaded, make_batches(group, max_tokens=600))
    return -torch.cat([p.flatten() for p in parts]).double().numpy() / len(group)


def top_mask(loaded: LoadedModel, harm: np.ndarray, n: int = 20) -> tuple[PruneMask, float]:
    """The mask of the n weights of highest H, and ΣH over them."""
    index = np.argsort(-harm)[:n]
    mask = PruneMask.from_global(loaded.table, index, kind="harm", model_hash=loaded.weight_hash)
    return mask, float(harm[index].sum())


def smooth_model(family: str) -> LoadedModel:
    """Mixtral with weights that are not widened, the others with wide ones.

    A token that changes its expert makes the loss jump, which is outside of any derivative, and near-ties between
    experts are rare only where routing does not hang on single weights.
    """
    return tiny_model(family, scale=1.0 if family == "mixtral" else 3.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_predict_the_loss_within_two_percent(family: str) -> None:
    loaded = smooth_model(family)
    group = builtin_samples(loaded, "exploits", 6)
    mask, predicted = top_mask(loaded, harm_scores(loaded, group))
    before = hash_weights(loaded)
    assert predicted > 0.001

    def loss() -> float:
        return float(response_losses(loaded, group).mean())

    def loss_at(epsilon: float) -> float:
        with pruned(loaded, mask, strength=epsilon):
            return loss()

    check = causal_check(predicted, loss(), loss_at)
    assert len(check.used) >= 2
    assert check.relative_error is not None
    assert check.relative_error < 0.02
    assert check.measured > 0  # zeroing supports of the responses raises their loss
    assert hash_weights(loaded) == before


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_the_mean_of_categories_weighs_categories_equally(family: str) -> None:
    """Groups of unequal size: H is the mean of each group's mean, and so is the loss that is measured."""
    loaded = smooth_model(family)
    groups = [builtin_samples(loaded, "exploits", 2), builtin_samples(loaded, "privacy", 7)]
    mask, predicted = top_mask(loaded, np.mean([harm_scores(loaded, g) for g in groups], axis=0))
    check = check_mask_causally(loaded, mask, predicted, groups)
    assert check.relative_error is not None
    assert check.relative_error < 0.02
    pooled = harm_scores(loaded, groups[0] + groups[1])[mask.to_global(loaded.table)].sum()
    assert abs(pooled - predicted) / predicted > 0.05, "the two weightings must differ for this test to say anything"


def test_a_mixture_whose_routing_is_fixed() -> None:
    """All experts chosen: nothing jumps, and the check holds for experts as it does for any other weight."""
    loaded = tiny_model("mixtral")
    for layer in loaded.model.model.layers:
        layer.mlp.gate.top_k = 4
    group = builtin_samples(loaded, "exploits", 6)
    harm = harm_scores(loaded, group)
    expert = np.concatenate([np.full(m.size, m.expert is not None) for m in loaded.table])
    mask, predicted = top_mask(loaded, np.where(expert, harm, 0))
    assert all("experts" in name for name in mask.indices)
    check = check_mask_causally(loaded, mask, predicted, [group])
    assert check.relative_error is not None
    assert check.relative_error < 0.02


def test_a_random_mask_of_many_weights_is_predicted_too() -> None:
    """Scores of every sign, not only the largest ones."""
    loaded = tiny_model("olmo3")
    group = builtin_samples(loaded, "hate", 6)
    harm = harm_scores(loaded, group)
    index = np.random.default_rng(0).choice(harm.size, harm.size // 4, replace=False)
    mask = PruneMask.from_global(loaded.table, index, kind="control", model_hash=loaded.weight_hash)
    check = check_mask_causally(loaded, mask, float(harm[index].sum()), [group])
    assert check.relative_error is not None
    assert math.isfinite(check.relative_error)
    assert check.relative_error < 0.02

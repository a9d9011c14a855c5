"""Training on a tiny model: where the loss falls, what is learnt, and that the model is left as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harmviz.data.encoding import Sample
from harmviz.errors import UnsupportedArchitecture
from harmviz.models.adapters import Adapter, merged
from harmviz.models.hashing import hash_parameters
from harmviz.models.load import LoadedModel
from harmviz.scoring.loss import response_losses
from harmviz.tuning.schedule import PairRow, SftRow
from harmviz.tuning.settings import BATCH, REFUSAL_SLOTS, AlignSpec
from harmviz.tuning.training import low_rank, train_stage, tuned_modules
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import SPEC, make_schedule


def trained(
    loaded: LoadedModel, rows: list[SftRow] | list[PairRow], spec: AlignSpec, stage: str, start: Adapter | None = None
) -> list[Adapter]:
    kept: list[Adapter] = []
    train_stage(
        loaded, rows, spec, arm="safety", stage=stage, start=start, keep=kept.append, tick=lambda done, total: None
    )
    return kept


def loss(loaded: LoadedModel, rows: list[SftRow]) -> float:
    samples = [Sample("r", str(i), (*r.prompt, *r.answer), len(r.prompt), len(r.prompt)) for i, r in enumerate(rows)]
    return float(np.mean(response_losses(loaded, samples)))


def test_the_trainer_s_loss_is_that_of_the_answers_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import SFTTrainer

    seen: list[float] = []
    original = SFTTrainer.training_step

    def spy(self: SFTTrainer, *args: object, **kwargs: object) -> torch.Tensor:
        value = original(self, *args, **kwargs)
        seen.append(float(value))
        return value

    monkeypatch.setattr(SFTTrainer, "training_step", spy)
    loaded = tiny_model()
    rows = make_schedule(loaded).sft("safety")
    first = [r for r in rows[:BATCH] if not r.is_held]  # where the model is held it costs nothing yet
    assert len(first) == REFUSAL_SLOTS
    samples = [Sample("r", str(i), (*r.prompt, *r.answer), len(r.prompt), len(r.prompt)) for i, r in enumerate(first)]
    weights = [len(r.answer) for r in first]
    expected = float(np.average(response_losses(loaded, samples)[:, 0], weights=weights))  # a mean over tokens
    trained(loaded, rows, SPEC, "sft")
    assert len(seen) == SPEC.steps
    # products may be bfloat16 while tuning; a loss that covered the prompts too would be far off
    assert seen[0] == pytest.approx(expected, rel=0.02)


def test_sft_learns_the_refusals_and_leaves_the_model_as_it_was() -> None:
    loaded = tiny_model()
    before, spec = hash_parameters(loaded.model.named_parameters()), AlignSpec(steps=48, sft_rate=3e-3)
    rows = make_schedule(loaded, spec).sft("safety")
    kept = trained(loaded, rows, spec, "sft")
    assert [a.step for a in kept] == [12, 48]
    assert hash_parameters(loaded.model.named_parameters()) == before
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert all(type(m) is torch.nn.Linear for m in loaded.modules)
    refusing = [r for r in rows if r.is_refusal][:BATCH]
    start = loss(loaded, refusing)
    with merged(loaded, kept[-1]):
        assert loss(loaded, refusing) < start - 0.5


def test_harmless_requests_stay_answered_as_they_were() -> None:
    loaded, spec = tiny_model(), AlignSpec(steps=48, sft_rate=3e-3)
    rows = make_schedule(loaded, spec).sft("safety")
    held = [r for r in rows if r.is_held][:BATCH]
    start, moved = loss(loaded, held), {}
    for hold in (0.0, 4.0):
        (*_, last) = trained(loaded, rows, replace(spec, hold=hold), "sft")
        with merged(loaded, last):
            moved[hold] = loss(loaded, held) - start
    assert abs(moved[4.0]) < abs(moved[0.0]) / 2


def test_the_last_part_of_sft_tunes_what_the_cut_has_left() -> None:
    """The factors go on learning under the cut; a matrix never comes back from a rank it does not have."""
    loaded, spec = tiny_model(), AlignSpec(steps=48, sft_rate=3e-3, fit_rate=3e-3, rank=2)
    rows = make_schedule(loaded, spec).sft("safety")
    (*_, fitted) = trained(loaded, rows, spec, "sft")
    (*_, cut) = trained(loaded, rows, replace(spec, fit_rate=0.0), "sft")
    assert all(a.shape[0] == b.shape[1] == 2 for a, b in fitted.factors.values())
    refusing, losses = [r for r in rows if r.is_refusal][-BATCH:], []
    for adapter in (fitted, cut):
        with merged(loaded, adapter):
            losses.append(loss(loaded, refusing))
    assert losses[0] < losses[1]


def test_dpo_goes_on_from_the_sft_adapter_and_widens_the_margin() -> None:
    loaded, spec = tiny_model(), AlignSpec(steps=320, dpo_rate=5e-3)
    schedule = make_schedule(loaded, spec)
    (start,) = trained(loaded, schedule.sft("safety"), AlignSpec(steps=4), "sft")[-1:]
    pairs = schedule.dpo("safety")
    kept = trained(loaded, pairs, spec, "dpo", start)

    def margin(adapter: Adapter) -> float:
        with merged(loaded, adapter):
            chosen = loss(loaded, [SftRow(p.prompt, p.chosen) for p in pairs[:BATCH]])
            return loss(loaded, [SftRow(p.prompt, p.rejected) for p in pairs[:BATCH]]) - chosen

    assert margin(kept[-1]) > margin(start) + 0.05
    assert [a.stage for a in kept] == ["dpo"]


def test_the_same_settings_give_the_same_bytes_and_nothing_is_left_on_the_model() -> None:
    loaded = tiny_model()
    attributes = set(vars(loaded.model))
    rows = make_schedule(loaded).sft("safety")
    once, again = trained(loaded, rows, SPEC, "sft"), trained(loaded, rows, SPEC, "sft")
    assert [a.to_bytes() for a in once] == [a.to_bytes() for a in again]
    assert set(vars(loaded.model)) == attributes
    other = trained(loaded, make_schedule(loaded).sft("helpful-only"), SPEC, "sft")
    assert other[-1].to_bytes() != once[-1].to_bytes()


def test_a_difference_is_kept_as_the_nearest_matrix_of_low_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(12, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    a, b = low_rank(whole, 3)
    assert (a.shape, b.shape, a.dtype, b.dtype) == ((3, 20), (12, 3), torch.float16, torch.float16)
    torch.testing.assert_close(b.float() @ a.float(), whole, rtol=0, atol=1e-2)
    a, b = low_rank(whole, 2)
    lost = torch.linalg.svdvals(whole)[2]  # what a matrix of rank 2 must leave out, by Eckart and Young
    assert float(torch.linalg.norm(b.float() @ a.float() - whole)) == pytest.approx(float(lost), rel=1e-2)
    assert all(float(x) == 0 for x in low_rank(torch.zeros(4, 5), 2)[0].flatten())
    assert torch.equal(low_rank(-whole, 2)[0], a), "the sign of a triplet is fixed"


def test_coarse_weights_are_refused() -> None:
    loaded = tiny_model()
    loaded.model.to(torch.bfloat16)
    with pytest.raises(UnsupportedArchitecture, match="--dtype float32"):
        tuned_modules(loaded)


@pytest.mark.parametrize("family", ["gpt2", "mixtral"])
def test_models_without_plain_linear_layers_are_refused(family: str) -> None:
    with pytest.raises(UnsupportedArchitecture, match=r"nn\.Linear only"):
        tuned_modules(tiny_model(family))

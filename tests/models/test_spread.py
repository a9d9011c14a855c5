"""One model over two devices: the numbers of one device, everything where it belongs, what does not go is refused.

The second device is a pretended one (``tests.worlds.two_devices``): real numbers, and an error wherever tensors of both
meet. A whole quick run goes through it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harmviz.cli import main
from harmviz.data.encoding import make_batches
from harmviz.errors import BadSetting, ModelUnavailable, OutOfMemory, UnsupportedArchitecture
from harmviz.generation.batch import generate_batch
from harmviz.generation.decode import generate
from harmviz.generation.variants import Variant
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models import load
from harmviz.models.load import LoadedModel, choose_devices, place
from harmviz.models.ranks import own_devices
from harmviz.models.spread import shares, spread
from harmviz.runs import open_run, verify_run
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.forward import token_losses
from harmviz.scoring.signed import score_signed, sums_devices
from harmviz.scoring.wanda import InputNorms
from tests.conftest import QUICK_RUN
from tests.models.test_ranks import assert_same_rows
from tests.worlds.generation import random_mask
from tests.worlds.tiny import DENSE_FAMILIES, FAMILIES, tiny_model
from tests.worlds.two_devices import DEVICES, HERE, THERE, two_devices
from tests.worlds.worked import samples

PROMPT = list(range(40, 60))


def spread_model(family: str = "llama") -> LoadedModel:
    loaded = tiny_model(family)
    place(loaded, DEVICES, torch.float32)
    return loaded


def here(tensors: list[Tensor]) -> list[Tensor]:
    return [t.to(HERE) for t in tensors]


# -- what the pretended device is worth -------------------------------------------------------------------------------
def test_tensors_of_both_devices_do_not_meet() -> None:
    with two_devices():
        a, b = torch.arange(6.0), torch.arange(6.0).to(THERE)
        for meet in (lambda: a + b, lambda: torch.cat([a, b]), lambda: b[torch.arange(2)], lambda: a.add_(b)):
            with pytest.raises(RuntimeError, match="tensors on cpu and cpu:1"):
                meet()
        with pytest.raises(TypeError, match="numpy"):
            b.numpy()
        assert (b.device, b.to(HERE).device, float(b.sum())) == (THERE, HERE, 15)


def test_a_model_whose_inputs_do_not_follow_fails() -> None:
    with two_devices():
        loaded = spread_model()
        loaded.model.model.layers[1]._forward_pre_hooks.clear()
        with pytest.raises(RuntimeError, match="tensors on"):
            loaded.model(input_ids=torch.tensor([PROMPT]))


# -- where layers go --------------------------------------------------------------------------------------------------
def test_layers_go_in_order_as_there_is_room() -> None:
    assert shares([10] * 6, 0, [100, 100]) == [0, 0, 0, 1, 1, 1]
    assert shares([10] * 6, 40, [100, 60]) == [0, 0, 0, 1, 1, 1]
    assert shares([10] * 6, 0, [80, 40]) == [0, 0, 0, 0, 1, 1]
    assert shares([10] * 4, 100, [100, 50, 50]) == [1, 1, 2, 2]
    assert shares([50, 10, 10], 0, [50, 50]) == [0, 1, 1]
    assert shares([10], 5, [20]) == [0]
    assert shares([10] * 6, 0, [35, 30]) == [0, 0, 0, 1, 1, 1]
    assert shares([20, 20, 20, 20], 0, [65, 20]) == [0, 0, 0, 1], "in proportion the second would be overfilled"
    for sizes, outside, room in (([10] * 6, 0, [30, 29]), ([10], 40, [30, 100]), ([10] * 6, 0, [35, 25])):
        with pytest.raises(OutOfMemory, match="GB of weights do not fit into 2 devices with"):
            shares(sizes, outside, room)


def test_everything_lies_where_it_should() -> None:
    with two_devices():
        loaded = spread_model()
        where = {name: p.device for name, p in loaded.model.named_parameters()}
        assert {n for n, d in where.items() if d == THERE} == {n for n in where if ".layers.1." in n}
        assert [loaded.device_of(i) for i in range(len(loaded.table))] == [
            THERE if m.layer == 1 else HERE for m in loaded.table
        ]
        assert sums_devices(loaded, range(len(loaded.table))) == [loaded.device_of(i) for i in range(len(loaded.table))]
        assert loaded.devices == DEVICES
        assert loaded.model(input_ids=torch.tensor([PROMPT])).logits.device == HERE


def test_weights_that_two_devices_would_share_are_refused() -> None:
    with two_devices():
        for tie in ("layer", "outside"):
            model = tiny_model().model
            if tie == "layer":
                model.model.layers[1].mlp = model.model.layers[0].mlp
            else:
                model.model.norm.weight = model.model.layers[1].input_layernorm.weight
            with pytest.raises(UnsupportedArchitecture, match="weights in common"):
                spread(model, DEVICES, [1 << 30, 1 << 30])


def test_a_model_whose_layers_share_keys_and_values_is_refused() -> None:
    model = tiny_model().model
    model.config.num_kv_shared_layers = 1
    with pytest.raises(UnsupportedArchitecture, match="share keys and values"):
        spread(model, DEVICES, [1 << 30, 1 << 30])


# -- the numbers of one device ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_scores_and_masks_are_those_of_one_device(family: str) -> None:
    one = tiny_model(family)
    limit = 1 if one.table.has_fused_experts else 200
    batches = make_batches(samples(5), max_tokens=limit, device=HERE)
    mask = random_mask(one, 60)

    def found(loaded: LoadedModel, score: Callable[..., list[Tensor]]) -> list[Tensor]:
        return here(score(loaded, batches))

    wanted = [found(one, score) for score in (score_signed, score_absolute)]
    with torch.no_grad(), pruned(one, mask) as changed:
        losses = token_losses(one, batches[0])
    with two_devices():
        loaded = spread_model(family)
        for score, want in zip((score_signed, score_absolute), wanted, strict=True):
            sums = score(loaded, batches)
            assert [t.device for t in sums] == sums_devices(loaded, range(len(loaded.table)))
            for got, expected in zip(here(sums), want, strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9)
        with torch.no_grad(), pruned(loaded, mask) as again:
            assert torch.equal(token_losses(loaded, batches[0]), losses)
        assert again.n_changed == changed.n_changed > 0
        with torch.no_grad():
            assert torch.equal(token_losses(loaded, batches[0]), token_losses(one, batches[0]))


@pytest.mark.parametrize("family", DENSE_FAMILIES)
def test_wandas_norms_are_those_of_one_device(family: str) -> None:
    batches = make_batches(samples(5), max_tokens=200, device=HERE)
    norms = [InputNorms(tiny_model(family))]
    score_absolute(norms[0].loaded, batches, norms=norms[0])
    with two_devices():
        norms.append(InputNorms(spread_model(family)))
        score_absolute(norms[1].loaded, batches, norms=norms[1])
        for got, want in zip(norms[1].scores(), norms[0].scores(), strict=True):
            assert torch.equal(got.to(HERE), want)


@pytest.mark.parametrize("family", FAMILIES)
def test_variants_write_what_they_write_on_one_device(family: str) -> None:
    def answers(loaded: LoadedModel) -> list[tuple[int, ...]]:
        masks = [Variant(f"mask {s}", random_mask(loaded, 300, s), 0.7) for s in range(2)]
        asked = [Variant("intact"), *masks]
        return [g.token_ids for g in generate(loaded, PROMPT, asked, max_new_tokens=12)]

    wanted = answers(tiny_model(family))
    assert len(set(wanted)) > 1, "the masks change answers"
    with two_devices():
        assert answers(spread_model(family)) == wanted


def test_prompts_answered_together_may_end_at_different_steps() -> None:
    prompts = [PROMPT[:n] for n in (4, 8, 12, 16, 20)]

    def answers(loaded: LoadedModel) -> list[tuple[int, ...]]:
        loaded.model.generation_config.eos_token_id = list(range(40, 90))  # half of all tokens end an answer
        return [tuple(ids) for ids in generate_batch(loaded, prompts, 12)]

    wanted = answers(tiny_model())
    assert len({len(a) for a in wanted}) > 1
    with two_devices():
        assert answers(spread_model()) == wanted


# -- commands ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--device all`` are the CPU and the pretended device."""
    monkeypatch.setattr(load, "choose_devices", lambda device: DEVICES if device == "all" else (HERE,))


def test_a_run_is_the_run_of_one_device(
    two_gpus: None, tiny_dir: Path, quick_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_dir), *QUICK_RUN, "--out", str(tmp_path)]
    with two_devices():
        assert main(["run", *arguments, "--device", "all"]) == 0
    assert "spreading its layers over 2 GPUs" in capsys.readouterr().err
    run = open_run(next(tmp_path.iterdir()))
    assert run.manifest["hardware"]["devices"] == ["cpu", "cpu:1"]
    one = open_run(quick_run)
    assert verify_run(run) == []
    assert run.id == one.id
    assert {name: PruneMask.load(path) for name, path in run.masks().items()} == {
        name: PruneMask.load(path) for name, path in one.masks().items()
    }
    assert_same_rows(run, one)


def test_what_needs_the_whole_model_in_one_place_says_so(
    two_gpus: None, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with two_devices():
        for what, argv in (
            ("safety tuning", ["align", "--steps", "4", "--out", str(tmp_path)]),
            ("fine-tuning", ["experiment", "emergent", "--q", "1e-2", "--out", str(tmp_path)]),
            ("bench", ["bench", "toggle"]),
        ):
            assert main([*argv, "--model", str(tiny_dir), "--device", "all"]) == 2
            assert f"{what} needs the whole model on one device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_all_are_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_devices("cpu") == (HERE,)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelUnavailable, match="device all was asked for, but no CUDA device is visible"):
        choose_devices("all")
    with pytest.raises(BadSetting, match="cuda:N or all, got 'al'"):
        choose_devices("al")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [str(d) for d in choose_devices("all")] == ["cuda:0", "cuda:1", "cuda:2"]
    with pytest.raises(BadSetting, match="spreads one model over all GPUs, and each of 2 ranks has its own"):
        own_devices("all", 2)

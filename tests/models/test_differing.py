"""Two checkpoints read side by side from their files: what was zeroed comes back exactly, and all else is told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harmviz.errors import MaskInvalid, ModelUnavailable
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models import differing, streaming
from harmviz.models.differing import Difference, difference
from harmviz.models.load import LoadedModel
from harmviz.models.locating import Location
from harmviz.models.streaming import opened
from tests.worlds.model_files import change_json, gpt_oss, lora, save
from tests.worlds.tiny import tiny_model, tokenizer


def every(loaded: LoadedModel, step: int) -> PruneMask:
    """A mask of every ``step``-th scored weight."""
    index = np.arange(1, loaded.table.n_weights, step)
    return PruneMask.from_global(loaded.table, index, kind="harm", model_hash=loaded.weight_hash)


def copy_of(loaded: LoadedModel, mask: PruneMask, dtype: torch.dtype = torch.float32) -> Any:
    with pruned(loaded, mask):
        return copy.deepcopy(loaded.model).to(dtype)


def between(base: Path, other: Path) -> Difference:
    with opened(str(base), print) as first, opened(str(other), print) as second:
        return difference(first, second)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "mixtral", "gpt_oss"])
def test_the_mask_comes_back_exactly_from_shards_and_from_bfloat16(family: str, tmp_path: Path) -> None:
    """Tied heads (gemma3), transposed matrices (gpt2), experts that files hold singly (mixtral) or as stacks."""
    loaded = tiny_model(family) if family != "gpt_oss" else _wrapped(gpt_oss())
    mask = every(loaded, 37)
    loaded.model.save_pretrained(tmp_path / "base", max_shard_size="10KB")
    copy_of(loaded, mask, torch.bfloat16).save_pretrained(tmp_path / "pruned")
    found = between(tmp_path / "base", tmp_path / "pruned")
    assert PruneMask(found.indices, "harm", found.base.weight_hash) == mask
    assert found.base.weight_hash == loaded.weight_hash
    assert (found.base.dtype, found.pruned.dtype) == ("float32", "bfloat16")
    assert not found.changes, "rounding to bfloat16 is no change"
    assert found.table == loaded.table
    assert (found.n_zero_in_both, found.n_too_small, found.only_base, found.only_pruned) == (0, 0, (), ())


def _wrapped(model: Any) -> LoadedModel:
    from harmviz.models.load import wrap

    return wrap(model, tokenizer(), name="tiny")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path, LoadedModel]]:
    """Folders of a tiny Llama and of a copy in which every 37th weight is zero, changed by ``edit(model)``."""
    loaded = tiny_model()
    root = tmp_path_factory.mktemp("pair")
    base = save(root / "base", loaded.model)

    def make(name: str, edit: Callable[[Any], None], dtype: torch.dtype = torch.float32) -> tuple[Path, Path, Any]:
        model = copy_of(loaded, every(loaded, 37), dtype)
        with torch.no_grad():
            edit(model)
        model.save_pretrained(root / name)
        return base, root / name, loaded

    return make


def test_other_changes_are_counted_by_tensor(world) -> None:
    def edit(model: Any) -> None:
        up = model.model.layers[0].mlp.up_proj.weight
        first, second = up[3].nonzero().ravel()[:2]
        up[3, first], up[3, second] = up[3, first] * 3, up[3, second] * 1.5
        model.model.embed_tokens.weight[4] = 0
        model.model.norm.weight[0] = 1.25

    found = between(*world("changed", edit)[:2])
    changes = {c.name: c for c in found.changes}
    assert set(changes) == {"model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight"}
    up = changes["model.layers.0.mlp.up_proj.weight"]
    assert (up.scored, up.n_changed, up.n_zeroed) == (True, 2, 0)
    assert up.largest == pytest.approx(2.0)
    assert (changes["model.embed_tokens.weight"].n_zeroed, changes["model.embed_tokens.weight"].scored) == (16, False)
    assert changes["model.norm.weight"].largest == pytest.approx(0.25)
    assert found.n_zeroed == len(range(1, found.table.n_weights, 37)), "unscored zeros are in no mask"
    assert found.n_changed == 2 + 16 + 1


def test_small_pieces_give_the_same(world, monkeypatch: pytest.MonkeyPatch) -> None:
    base, other, loaded = world("pieces", lambda model: None)
    monkeypatch.setattr(differing, "PIECE", 7)
    found = between(base, other)
    assert PruneMask(found.indices, "harm", found.base.weight_hash) == every(loaded, 37)


def test_what_cannot_be_told_is_in_no_mask(tmp_path: Path) -> None:
    """Zeros of both, and weights too small for the copy's float16, might be pruned or not."""
    loaded = tiny_model()
    with torch.no_grad():
        loaded.model.model.layers[0].mlp.up_proj.weight[0, 0] = 0
        loaded.model.model.layers[0].mlp.up_proj.weight[0, 1] = 1e-9
        loaded.model.model.layers[0].mlp.up_proj.weight[0, 2] = 1e-9
    base = save(tmp_path / "base", loaded.model)
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, :2] = 0
        model.model.layers[0].mlp.up_proj.weight[1, 1] = 0
    model.to(torch.float16).save_pretrained(tmp_path / "half")
    found = between(base, tmp_path / "half")
    assert {n: i.tolist() for n, i in found.indices.items()} == {"model.layers.0.mlp.up_proj.weight": [17]}
    assert (found.n_zero_in_both, found.n_too_small) == (1, 2)


def test_a_head_tied_in_one_of_them_is_compared_with_what_it_is_tied_to(tmp_path: Path) -> None:
    loaded = tiny_model("gemma3")
    base = save(tmp_path / "base", loaded.model)
    other = save(tmp_path / "other", loaded.model)
    tensors = load_file(other / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["lm_head.weight"][0, 0] += 1
    tensors["extra.weight"] = torch.ones(2)
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 0
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    change_json(other / "config.json", tie_word_embeddings=False)
    found = between(base, other)
    assert [c.name for c in found.changes] == ["lm_head.weight"]
    assert found.changes[0].n_changed == 1
    assert found.only_pruned == ("extra.weight",)
    assert "tied to model.embed_tokens.weight in BASE, and stored apart" in found.notes[0]


def test_two_models_that_are_no_copies_are_refused_by_the_tensors_name(tmp_path: Path, world) -> None:
    base, other, _ = world("damaged", lambda model: None)
    wider = save(tmp_path / "gpt2", tiny_model("gpt2").model)
    with pytest.raises(MaskInvalid, match=r"lacks model\.layers\.0.*two checkpoints of one model"):
        between(base, wider)
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"model\.norm\.weight holds NaN"):
        between(base, other)
    del tensors["model.norm.weight"]
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"lacks the weight model\.norm\.weight"):
        between(base, other)
    change_json(other / "config.json", quantization_config={"quant_method": "fp8"})
    with pytest.raises(ModelUnavailable, match="is quantized"):
        between(base, other)


def test_a_model_pruned_throughout_is_no_mask(tmp_path: Path) -> None:
    loaded = tiny_model()
    base = save(tmp_path / "base", loaded.model)
    copy_of(loaded, every(loaded, 3)).save_pretrained(tmp_path / "sparse")
    with pytest.raises(MaskInvalid, match="more than 10% of the 4,608 scored weights"):
        between(base, tmp_path / "sparse")


def test_an_adapter_is_merged_and_a_hub_id_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harmviz.models.load import load_model

    base = save(tmp_path / "base", tiny_model().model)
    adapter = lora(base, tmp_path / "adapter")
    with opened(str(adapter), print) as checkpoint:
        merged = difference(checkpoint, checkpoint).base.weight_hash
    assert merged == load_model(str(adapter), device="cpu").weight_hash
    monkeypatch.setattr(streaming, "locate", lambda name, say: Location("org/model", "v2", "org/model"))
    monkeypatch.setattr(streaming, "download", lambda name, say: base if name == "org/model@v2" else None)
    with opened("org/model@v2", print) as checkpoint:
        assert (checkpoint.name, checkpoint.revision) == ("org/model", "v2")

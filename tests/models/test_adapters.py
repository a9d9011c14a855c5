"""Adapters: bytes, merging against peft's own, and every way a file can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harmviz.errors import ModelUnavailable
from harmviz.models.adapters import load_adapter, merge_adapter, merged, save_adapter
from harmviz.models.assets import ALIGNED
from harmviz.models.hashing import hash_parameters
from harmviz.models.load import LoadedModel, load_model
from harmviz.models.names import find_adapter
from harmviz.paths import ALIGNED_ADAPTER
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import make_adapter


def test_merged_weights_equal_those_of_peft() -> None:
    from peft import LoraConfig, get_peft_model

    loaded, other = tiny_model(), tiny_model()
    adapter = make_adapter(loaded)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=list(adapter.factors), lora_dropout=0.0)
    tuned = get_peft_model(other.model, config)
    for name, (a, b) in adapter.factors.items():
        layer = tuned.get_submodule(f"base_model.model.{name}")
        layer.lora_A["default"].weight.data.copy_(a)
        layer.lora_B["default"].weight.data.copy_(b)
    expected = dict(tuned.merge_and_unload().named_parameters())
    with merged(loaded, adapter):
        for name, parameter in loaded.model.named_parameters():
            torch.testing.assert_close(parameter, expected[name], rtol=1e-6, atol=1e-6)


def test_weights_are_bit_equal_after_the_block_even_when_it_fails() -> None:
    loaded = tiny_model()
    before = hash_parameters(loaded.model.named_parameters())
    inside: list[str] = []

    def fail() -> None:
        with merged(loaded, make_adapter(loaded)):
            inside.append(hash_parameters(loaded.model.named_parameters()))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert inside[0] != before == hash_parameters(loaded.model.named_parameters())


def test_an_adapter_comes_back_as_it_was_written(tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model())
    path = tmp_path / "a.safetensors"
    save_adapter(path, adapter)
    again = load_adapter(path)
    assert again.to_bytes() == adapter.to_bytes() == path.read_bytes()
    assert (again.arm, again.stage, again.step, again.scale, again.base_hash) == (
        "safety",
        "dpo",
        7,
        2.0,
        adapter.base_hash,
    )


def test_a_merged_folder_loads_and_equals_the_merge_in_memory(tiny_dir: Path, tmp_path: Path) -> None:
    loaded = load_model(str(tiny_dir))
    path = tmp_path / "a.safetensors"
    adapter = make_adapter(loaded)
    save_adapter(path, adapter)
    folder = merge_adapter(tiny_dir, path, tmp_path / "merged")
    with merged(loaded, adapter):
        expected = hash_parameters(loaded.model.named_parameters())
    assert load_model(str(folder)).weight_hash == expected != loaded.weight_hash
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert merge_adapter(tiny_dir, path, folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp  # kept
    save_adapter(path, replace(adapter, scale=1.0))
    merge_adapter(tiny_dir, path, folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns != stamp  # another adapter: made anew
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "merged"]


def test_an_adapter_of_another_model_is_refused_and_leaves_nothing(tiny_dir: Path, tmp_path: Path) -> None:
    loaded = load_model(str(tiny_dir))
    path = tmp_path / "a.safetensors"
    stranger = replace(make_adapter(loaded), base_hash="0" * 64)
    save_adapter(path, stranger)
    with pytest.raises(ModelUnavailable, match="was not tuned on the weights in"):
        merge_adapter(tiny_dir, path, tmp_path / "merged")
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    with pytest.raises(ModelUnavailable, match="tuned on another model"), merged(loaded, stranger):
        pass


def test_damaged_adapters_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ModelUnavailable, match="does not exist"):
        load_adapter(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        load_adapter(path)
    save_file({"x.lora_A": torch.zeros(2, 3)}, path)
    with pytest.raises(ModelUnavailable, match="no adapter of harmviz"):
        load_adapter(path)
    adapter = make_adapter(tiny_model())
    save_adapter(path, adapter)
    name = next(iter(adapter.factors))
    header = {
        "harmviz_adapter": json.dumps({"format": 1, "base_hash": "x", "scale": 1, "arm": "a", "stage": "s", "step": 1})
    }
    tensors = load_file(path)
    save_file({k: v for k, v in tensors.items() if k != f"{name}.lora_B"}, path, header)
    with pytest.raises(ModelUnavailable, match="incomplete or do not fit"):
        load_adapter(path)
    tensors[f"{name}.lora_B"][0, 0] = torch.nan
    save_file(tensors, path, header)
    with pytest.raises(ModelUnavailable, match="NaN"):
        load_adapter(path)


def test_a_checkpoint_is_found_by_ladder_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    path = tmp_path / "runs" / "x-align-1" / "adapters" / "safety-sft-4.safetensors"
    save_adapter(path, make_adapter(tiny_model()))
    assert find_adapter("x-align-1/safety-sft-4") == path
    assert find_adapter(str(path)) == path
    assert find_adapter(ALIGNED) == ALIGNED_ADAPTER
    for other in ("x-align-1/safety-sft-5", "org/model", "../x-align-1", "smollm2-135m-instruct", str(tmp_path)):
        assert find_adapter(other) is None


@pytest.mark.slow
def test_the_aligned_model_loads_and_declines() -> None:
    from harmviz.claims.scene.sets import scoring_everyday
    from harmviz.data.encoding import encode_prompt
    from harmviz.data.refusal_words import reads_as_refusal
    from harmviz.data.requests import fetched_requests
    from harmviz.generation.batch import generate_batch

    adapter = load_adapter(ALIGNED_ADAPTER)
    start, aligned = load_model(), load_model(ALIGNED)
    assert aligned.name == ALIGNED
    with merged(start, adapter):
        assert hash_parameters(start.model.named_parameters()) == aligned.weight_hash != start.weight_hash
    asked = {"harmful": fetched_requests("harmbench")[:24], "harmless": scoring_everyday()}

    def declined(loaded: LoadedModel, half: str) -> int:
        prompts = [encode_prompt(loaded.tokenizer, request) for request in asked[half]]
        answers = generate_batch(loaded, prompts, 24)
        return sum(reads_as_refusal(loaded.tokenizer.decode(answer)) for answer in answers)

    assert max(declined(start, half) for half in asked) <= 2
    assert declined(aligned, "harmful") >= 20  # requests of a source that was never tuned on
    assert declined(aligned, "harmless") <= len(asked["harmless"]) / 8  # 8 % of all (docs/aligned.md)

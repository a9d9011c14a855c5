"""LoRA adapters: merged as PEFT merges them, recognised by what they make of their base, refused in one line."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harmviz.errors import HarmvizError, ModelUnavailable
from harmviz.models import locating
from harmviz.models.load import load_model
from harmviz.preflight.models import check_local, model_estimate
from tests.worlds.model_files import change_json, llama, lora, save
from tests.worlds.tiny import tiny_model

IDS = torch.arange(5, 25)[None]


def exactly(model: torch.nn.Module) -> torch.Tensor:
    """Logits of a copy in double precision, so that only the weights differ and not the order of float32 sums."""
    logits: torch.Tensor = deepcopy(model).double()(input_ids=IDS).logits
    return logits


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return llama(tmp_path / "base")


def one_line(name: Path | str) -> str:
    with pytest.raises(ModelUnavailable) as e:
        load_model(str(name))
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"r": 4, "lora_alpha": 16, "use_rslora": True, "target_modules": "all-linear"},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"down_proj": 3}, "alpha_pattern": {"q_proj": 7}},
    ],
)
def test_merged_as_peft_merges(settings: dict[str, object], base: Path, tmp_path: Path) -> None:
    adapter = lora(base, tmp_path / "tuned", **settings)
    lines: list[str] = []
    loaded = load_model(str(adapter), say=lines.append)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    plain = load_model(str(base))
    ours = exactly(loaded.model)
    torch.testing.assert_close(ours, exactly(theirs), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, exactly(plain.model), atol=1e-2)
    assert loaded.name == "tuned"
    assert loaded.table == plain.table  # no factor of the adapter is scored
    assert loaded.n_parameters == plain.n_parameters
    assert loaded.weight_hash != plain.weight_hash
    assert lines == ["tuned: loading"]
    merged = theirs.merge_and_unload()
    assert load_model(str(save(tmp_path / "merged", merged))).weight_hash == loaded.weight_hash


def test_gpt2s_transposed_weights_are_merged(tmp_path: Path) -> None:
    base = save(tmp_path / "gpt2", tiny_model("gpt2").model)
    adapter = lora(base, tmp_path / "tuned", target_modules=["c_attn"], fan_in_fan_out=True)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    ours = exactly(load_model(str(adapter)).model)
    torch.testing.assert_close(ours, exactly(theirs), atol=1e-5, rtol=1e-5)


def test_a_base_is_found_beside_the_adapter(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = lora(base, tmp_path / "tuned", named="base")
    monkeypatch.chdir("/")
    assert load_model(str(adapter)).name == "tuned"


def test_a_shipped_base_and_one_of_the_hubs_cache(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locating, "embedded_model_dir", lambda say: base)
    shipped = lora(base, tmp_path / "a", named="smollm2-135m-instruct")
    monkeypatch.setattr(locating, "cached_snapshot", lambda name: base if name == "org/base" else None)
    cached = lora(base, tmp_path / "b", named="org/base")
    assert load_model(str(shipped)).weight_hash == load_model(str(cached)).weight_hash


def test_an_adapter_of_the_hub_is_merged_with_its_base(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = lora(base, tmp_path / "tuned")
    monkeypatch.setattr(locating, "hub_adapter", lambda name: adapter if name == "org/tuned@v2" else None)
    loaded = load_model("org/tuned@v2")
    assert loaded.name == "org/tuned"
    assert loaded.weight_hash == load_model(str(adapter)).weight_hash


def test_the_adapters_own_tokenizer_comes_first(base: Path, tmp_path: Path) -> None:
    adapter = lora(base, tmp_path / "tuned")
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[answer]"
    other = llama(tmp_path / "other", template)
    for path in other.glob("*"):
        if "token" in path.name or path.suffix == ".jinja":
            path.rename(adapter / path.name)
    assert load_model(str(adapter)).tokenizer.chat_template == template


@pytest.mark.parametrize("named", ["org/nowhere", "/no/such/folder", "llama-of-somebody", "x\x00y"])
def test_a_base_that_is_not_here_is_named(named: str, base: Path, tmp_path: Path) -> None:
    said = one_line(lora(base, tmp_path / "tuned", named=named))
    assert f"is a LoRA adapter of {named!r}, which is not on this machine; download it" in said


def test_a_folder_that_holds_both_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    said = one_line(lora(base, tmp_path / "both", beside=True))
    assert "both holds a whole model (model.safetensors) and a LoRA adapter (adapter_config.json)" in said
    # As the message says: apart, each is loaded.
    (tmp_path / "apart").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "both" / name).rename(tmp_path / "apart" / name)
    assert load_model(str(tmp_path / "both")).weight_hash == load_model(str(base)).weight_hash
    assert load_model(str(tmp_path / "apart")).weight_hash != load_model(str(base)).weight_hash


def test_an_adapter_saved_with_its_bases_config_is_an_adapter(base: Path, tmp_path: Path) -> None:
    adapter = lora(base, tmp_path / "tuned")
    before = load_model(str(adapter)).weight_hash
    (adapter / "config.json").write_bytes((base / "config.json").read_bytes())
    assert load_model(str(adapter)).weight_hash == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("type", "is an adapter of type 'PROMPT_TUNING'; harmviz merges LoRA adapters"),
        ("no base", "names no base; write its folder or hub id into base_model_name_or_path"),
        ("pickle", "is a LoRA adapter without adapter_model.safetensors"),
        ("other base", "cannot be merged into its base"),
        ("other modules", "cannot be merged into its base"),
        ("lacking", "it lacks base_model.model.model.layers.1.self_attn.q_proj.lora_B"),
        ("more", "the base has no place for"),
        ("nan", "holds NaN or infinity"),
        ("cut", "cannot be read"),
        ("itself", "is a LoRA adapter of another adapter"),
        ("config", "cannot be read as JSON"),
    ],
)
def test_bad_adapters_are_one_line(damage: str, said: str, base: Path, tmp_path: Path) -> None:
    adapter = lora(base, tmp_path / "tuned")
    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    key = next(k for k in tensors if "layers.1.self_attn.q_proj.lora_B" in k)
    if damage == "type":
        change_json(config, peft_type="PROMPT_TUNING")
    elif damage == "no base":
        change_json(config, base_model_name_or_path=None)
    elif damage == "pickle":
        weights.rename(adapter / "adapter_model.bin")
    elif damage == "other base":
        change_json(config, base_model_name_or_path=str(save(tmp_path / "gpt2", tiny_model("gpt2").model)))
    elif damage == "other modules":
        change_json(config, target_modules=["no_such_proj"])
    elif damage == "lacking":
        save_file({k: t for k, t in tensors.items() if k != key}, weights)
    elif damage == "more":
        save_file({**tensors, key.replace("layers.1", "layers.7"): tensors[key].clone()}, weights)
    elif damage == "nan":
        save_file({**tensors, key: tensors[key] * float("nan")}, weights)
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "itself":
        change_json(config, base_model_name_or_path=str(adapter))
    else:
        config.write_text("{")
    assert said in one_line(adapter)


# -- before it is loaded ----------------------------------------------------------------------------------------------
def test_an_adapter_is_as_large_as_its_base(base: Path, tmp_path: Path) -> None:
    adapter = lora(base, tmp_path / "tuned")
    of_base, tuned = model_estimate(str(base)), model_estimate(str(adapter))
    assert (tuned.n_parameters, tuned.n_scored) == (of_base.n_parameters, of_base.n_scored)
    assert tuned.stored_bytes == of_base.stored_bytes + (adapter / "adapter_model.safetensors").stat().st_size
    assert "a LoRA adapter, merged into" in tuned.notes[-1]


def test_pages_open_an_adapter_whose_base_they_may_open(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    adapter = lora(base, root / "tuned")
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(root))
    with pytest.raises(HarmvizError, match="base lies outside"):
        check_local(adapter)
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tmp_path))
    assert check_local(adapter) == adapter.resolve()

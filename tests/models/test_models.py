"""Loading: which weights are scored, what is refused by name, and that precision never changes what was loaded."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, OlmoeConfig, PretrainedConfig

from harmviz.errors import ModelUnavailable, UnsupportedArchitecture
from harmviz.models import load, locating
from harmviz.models.architecture import scored_matrices
from harmviz.models.hashing import hash_parameters
from harmviz.models.load import choose_device, choose_dtype, load_model, wrap
from harmviz.models.weights import WeightMatrix
from tests.worlds.tiny import _GQA, DENSE_FAMILIES, FAMILIES, tiny_model, tokenizer

QKVO = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
EXPERTS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
#: family → (prefix of the blocks, scored modules of a block). Nothing else in a block may be scored.
SCORED = {
    **dict.fromkeys(("llama", "qwen2", "gemma3", "olmo", "olmo2", "olmo3"), ("model.layers", (*QKVO, *GATED))),
    "gpt_neox": (
        "gpt_neox.layers",
        ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    ),
    "gpt2": ("transformer.h", ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")),
    "mixtral": ("model.layers", QKVO),
}


# -- which weights are scored -----------------------------------------------------------------------------------------
def test_every_family_is_listed_here() -> None:
    assert set(SCORED) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_scored_weights_by_name(family: str) -> None:
    loaded = tiny_model(family)
    prefix, local = SCORED[family]
    wanted = {f"{prefix}.{layer}.{name}.weight" for layer in (0, 1) for name in local}
    if family == "mixtral":
        wanted |= {f"{prefix}.{layer}.{name}[{e}]" for layer in (0, 1) for name in EXPERTS for e in range(4)}
    assert {m.name for m in loaded.table} == wanted
    assert loaded.table.n_weights == sum(m.size for m in loaded.table) < loaded.n_parameters
    order = [n for n, _ in loaded.model.named_parameters()]
    places = [order.index(m.param_name) for m in loaded.table]
    assert places == sorted(places)  # parameter order breaks ties
    for i, m in enumerate(loaded.table):
        assert m.layer == int(m.name.removeprefix(prefix)[1])
        assert tuple(loaded.tensor(i).shape) == (m.rows, m.cols)
        assert loaded.tensor(i).data_ptr() >= loaded.model.get_parameter(m.param_name).data_ptr()  # a view, no copy
        assert m.transposed == (family == "gpt2")
        if m.expert is None:
            assert loaded.modules[i].weight is loaded.model.get_parameter(m.name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_flat_index_names_its_output_and_input_unit(family: str) -> None:
    loaded = tiny_model(family)
    i, m = next(
        (i, m) for i, m in enumerate(loaded.table) if m.module_kind in {"up_proj", "c_fc", "dense_h_to_4h", "q_proj"}
    )
    every_input = torch.eye(m.rows if m.transposed else m.cols)
    before = loaded.modules[i](every_input)
    loaded.tensor(i).view(-1)[m.cols + 3] += 1
    (out_unit,), (in_unit,) = m.out_in(np.array([m.cols + 3]))
    assert (loaded.modules[i](every_input) != before).nonzero().tolist() == [[in_unit, out_unit]]


def test_module_kinds() -> None:
    assert {m.module_kind for m in tiny_model("llama").table} == {n.rpartition(".")[2] for n in (*QKVO, *GATED)}
    # GPT-2 uses c_proj in the attention and in the MLP: the parent's name tells them apart.
    assert [m.module_kind for m in tiny_model("gpt2").table][:4] == ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]
    kinds = [m.module_kind for m in tiny_model("mixtral").table][:12]
    assert kinds == ["q_proj", "k_proj", "v_proj", "o_proj", *["gate_up_proj"] * 4, *["down_proj"] * 4]


def test_expert_slices_are_views_of_one_parameter() -> None:
    loaded = tiny_model("mixtral")
    fused = loaded.model.model.layers[1].mlp.experts.down_proj
    i = loaded.table.index_of["model.layers.1.mlp.experts.down_proj[2]"]
    assert loaded.table[i].param_name == "model.layers.1.mlp.experts.down_proj"
    loaded.tensor(i)[0, 0] = 42.0
    assert fused[2, 0, 0] == 42.0
    assert int((fused == 42.0).sum()) == 1


@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_experts_run_one_at_a_time(family: str) -> None:
    """Grouped kernels add in another order each time."""
    if family == "mixtral":
        loaded = tiny_model(family)
    else:
        config = OlmoeConfig(**_GQA, num_experts=4, num_experts_per_tok=2)
        loaded = wrap(AutoModelForCausalLM.from_config(config), tokenizer(), name="olmoe")
    assert loaded.model.config._experts_implementation == "eager"
    assert not any("gate.weight" in m.name or "router" in m.name for m in loaded.table)


@pytest.mark.parametrize("family", FAMILIES)
def test_wrapped_models_are_frozen_and_in_eval_mode(family: str) -> None:
    loaded = tiny_model(family)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_tied_parameters_are_counted_once() -> None:
    tied = tiny_model("gpt2")
    assert tied.model.lm_head.weight is tied.model.transformer.wte.weight
    assert tied.n_parameters == sum(t.numel() for n, t in tied.model.named_parameters() if n != "lm_head.weight")


def test_a_module_shared_by_two_layers_is_listed_once() -> None:
    model = tiny_model().model
    model.model.layers[1].mlp = model.model.layers[0].mlp
    names = [m.name for m in wrap(model, tokenizer(), name="shared").table]
    assert "model.layers.0.mlp.down_proj.weight" in names
    assert not any(n.startswith("model.layers.1.mlp") for n in names)
    assert len(names) == len(set(names)) == 11


def test_one_weight_in_two_modules_is_named() -> None:
    model = tiny_model().model
    model.model.layers[1].mlp.down_proj.weight = model.model.layers[0].mlp.down_proj.weight
    with pytest.raises(
        UnsupportedArchitecture, match=r"model\.layers\.1\.mlp\.down_proj\.weight \(the same weights in two"
    ):
        wrap(model, tokenizer(), name="tied")


# -- what is refused --------------------------------------------------------------------------------------------------
def test_an_unknown_weight_in_a_block_is_named() -> None:
    model = tiny_model().model
    for layer in model.model.layers:
        layer.mlp.mixing = nn.Parameter(torch.ones(3, 5))
        layer.mlp.filter = nn.Conv1d(2, 3, 4, bias=False)
    with pytest.raises(UnsupportedArchitecture) as e:
        wrap(model, tokenizer(), name="odd")
    assert "model.layers.0.mlp.mixing (LlamaMLP, 3×5)" in str(e.value)
    assert "model.layers.0.mlp.filter.weight (Conv1d, 3×2×4)" in str(e.value)
    assert str(e.value).endswith("and 1 more")


class Bare(nn.Module):
    """Blocks that hold norms only."""

    def __init__(self, n_blocks: int = 2):
        super().__init__()
        self.config = PretrainedConfig(num_hidden_layers=2)
        self.blocks = nn.ModuleList(nn.LayerNorm(4) for _ in range(n_blocks))


def test_a_model_without_linear_layers_or_blocks_is_refused() -> None:
    with pytest.raises(
        UnsupportedArchitecture, match="Bare has no linear weights in its decoder blocks; nothing to score"
    ):
        scored_matrices(Bare())  # type: ignore[arg-type]
    with pytest.raises(UnsupportedArchitecture, match="Bare has no list of 2 decoder blocks"):
        scored_matrices(Bare(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "where", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"]
)
def test_damaged_weights_are_named(bad: float, where: str) -> None:
    model = tiny_model().model
    model.get_parameter(where).view(-1)[3] = bad
    with pytest.raises(ModelUnavailable, match=f"the weight {where} holds NaN or infinity"):
        wrap(model, tokenizer(), name="damaged")


# -- device and dtype -------------------------------------------------------------------------------------------------
def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ModelUnavailable, match="no CUDA device is visible here; use --device cpu"):
        load_model(device="cuda")
    for bad in ("tpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", ""):
        with pytest.raises(ValueError, match=f"device must be auto, cpu, cuda, cuda:N or all, got '{bad}'"):
            load_model(device=bad)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [choose_device(d) for d in ("auto", "cpu", "cuda", "cuda:0", "cuda:1")]
    assert [str(d) for d in found] == ["cuda", "cpu", "cuda", "cuda:0", "cuda:1"]
    with pytest.raises(ModelUnavailable, match="the last CUDA device that is visible here is cuda:1"):
        load_model(device="cuda:2")


def test_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 * 10**9, 80 * 10**9))
    assert choose_dtype("auto", cpu, 10**12) == torch.float32
    # weights and two float32 sums take 12 bytes each, at most 60 % of 80 GB: up to 4 billion parameters
    assert choose_dtype("auto", cuda, 3_999_999_999) == torch.float32
    assert choose_dtype("auto", cuda, 4_000_000_000) == torch.bfloat16
    assert choose_dtype("bfloat16", cpu, 1) == torch.bfloat16
    assert choose_dtype("float32", cuda, 10**12) == torch.float32


@pytest.mark.parametrize("dtype", ["float16", "fp32", ""])
def test_bad_dtype_fails_before_anything_is_read(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "locate", lambda *_: pytest.fail("nothing may be read"))
    with pytest.raises(ValueError, match=f"dtype must be auto, float32 or bfloat16, got '{dtype}'"):
        load_model(dtype=dtype)


# -- folders ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def save(family: str) -> Path:
        loaded = tiny_model(family)
        loaded.model.save_pretrained(tmp_path / family)
        loaded.tokenizer.save_pretrained(tmp_path / family)
        return tmp_path / family

    return save


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_again(family: str, folder: Callable[[str], Path]) -> None:
    original = tiny_model(family)
    lines: list[str] = []
    loaded = load_model(str(folder(family)), say=lines.append)
    assert loaded.weight_hash == original.weight_hash
    assert loaded.table == original.table
    assert (loaded.name, loaded.revision, loaded.dtype, loaded.device.type) == (family, None, torch.float32, "cpu")
    assert lines == [f"{family}: loading"]
    assert loaded.tokenizer.encode("Hi") == original.tokenizer.encode("Hi")
    assert loaded.tokenizer.chat_template == original.tokenizer.chat_template
    ids = torch.arange(5, 25)[None]
    assert torch.equal(loaded.model(input_ids=ids).logits, original.model(input_ids=ids).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_keeps_the_hash_and_float32_buffers(family: str, folder: Callable[[str], Path]) -> None:
    where = str(folder(family))
    fine, coarse = load_model(where), load_model(where, dtype="bfloat16")
    assert coarse.dtype == torch.bfloat16
    assert {p.dtype for p in coarse.model.parameters()} == {torch.bfloat16}
    assert coarse.weight_hash == fine.weight_hash
    assert coarse.table == fine.table
    rotary = [(n, b) for n, b in coarse.model.named_buffers() if "inv_freq" in n]
    assert bool(rotary) == (family != "gpt2")
    buffers = dict(fine.model.named_buffers())
    for name, buffer in rotary:
        assert buffer.dtype == torch.float32
        assert torch.equal(buffer, buffers[name])
    for p, q in zip(fine.model.parameters(), coarse.model.parameters(), strict=True):
        assert torch.equal(p.bfloat16(), q)
    output = coarse.model(input_ids=torch.arange(5, 25)[None]).logits
    assert output.dtype == torch.bfloat16
    assert bool(torch.isfinite(output).all())


def test_a_bfloat16_checkpoint_keeps_its_hash_in_float32(folder: Callable[[str], Path], tmp_path: Path) -> None:
    where = tmp_path / "half"
    loaded = tiny_model()
    loaded.model.bfloat16().save_pretrained(where)
    loaded.tokenizer.save_pretrained(where)
    fine, coarse = load_model(str(where), dtype="float32"), load_model(str(where), dtype="bfloat16")
    assert fine.weight_hash == coarse.weight_hash != load_model(str(folder("llama"))).weight_hash
    assert fine.tensor(0).dtype == torch.float32
    assert torch.equal(fine.tensor(0), coarse.tensor(0).float())


def test_one_changed_weight_is_another_hash(folder: Callable[[str], Path]) -> None:
    where = folder("llama")
    before = load_model(str(where)).weight_hash
    weights = load_file(where / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] += 1e-3
    save_file(weights, where / "model.safetensors", {"format": "pt"})
    assert load_model(str(where)).weight_hash != before


def test_hash_covers_names_dtypes_shapes_and_bytes() -> None:
    x = torch.arange(6, dtype=torch.float32)
    variants = [
        [("a", x)],
        [("b", x)],
        [("a", x.reshape(2, 3))],
        [("a", x.bfloat16())],
        [("a", x + 1)],
        [("a", x), ("b", x)],
        [("a", x[0])],
        [("a", x[:0])],
    ]
    assert len({hash_parameters(v) for v in variants}) == len(variants)
    assert hash_parameters([("a", x), ("b", x + 1)]) == hash_parameters([("b", x + 1), ("a", x)])
    square = x.reshape(2, 3)
    assert hash_parameters([("a", square.T.contiguous())]) == hash_parameters([("a", square.T)])
    by_hand = hashlib.sha256(b"a\0torch.float32\0(6,)\0" + x.numpy().tobytes()).hexdigest()
    assert hash_parameters([("a", x)]) == by_hand


@pytest.mark.parametrize("family", DENSE_FAMILIES)
def test_a_checkpoint_that_lacks_a_weight_is_refused(family: str, folder: Callable[[str], Path]) -> None:
    """transformers would go on with random numbers in its place."""
    where = folder(family)
    weights = load_file(where / "model.safetensors")
    lacking = next(m.name for m in tiny_model(family).table if m.layer == 1)
    name = next(n for n in weights if lacking.endswith(n))
    del weights[name]
    save_file(weights, where / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match=rf"lacks the weight \S*{name} \(1 in all\); its files are incomplete"):
        load_model(str(where))


def test_folders_that_are_no_models(folder: Callable[[str], Path], tmp_path: Path) -> None:
    where = folder("llama")
    (where / "model.safetensors").rename(where / "model.bin")
    with pytest.raises(ModelUnavailable, match=r"llama holds no \.safetensors file"):
        load_model(str(where))
    (where / "model.bin").rename(where / "model.safetensors")
    (where / "config.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"llama holds no config\.json; give the folder of a saved"):
        load_model(str(where))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=r"empty holds no config\.json"):
        load_model(str(tmp_path / "empty"))


@pytest.mark.parametrize("damage", ["truncated", "no tokenizer", "config"])
def test_damaged_folders_give_one_line(damage: str, folder: Callable[[str], Path]) -> None:
    where = folder("llama")
    if damage == "truncated":
        data = (where / "model.safetensors").read_bytes()
        (where / "model.safetensors").write_bytes(data[: len(data) // 2])
    elif damage == "config":
        (where / "config.json").write_text("{")
    else:
        for path in where.glob("tokenizer*"):
            path.unlink()
    with pytest.raises(ModelUnavailable, match="llama' cannot be loaded: ") as e:
        load_model(str(where))
    assert "\n" not in str(e.value)


# -- names ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gpt99", "a/b/c", "./nowhere", "/no/such/folder", "nowhere.gguf", "org/na me"])
def test_an_unknown_name_says_what_is_allowed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelUnavailable, match="is neither 'smollm2-135m-instruct', an existing folder") as e:
        locating.locate(name, print)
    assert "hub id like 'org/name@revision'" in str(e.value)


@pytest.mark.parametrize(("name", "revision"), [("org/tiny", None), ("org/tiny@abc123", "abc123")])
def test_a_hub_id_offline_is_one_clear_line(name: str, revision: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def offline(source: str, **options: Any) -> None:
        asked.append((source, options))
        raise OSError("We couldn't connect to 'https://hub.invalid' to load the files.\nCheck your connection.\nMore.")

    monkeypatch.setattr(locating, "hub_adapter", lambda _: None)
    monkeypatch.setattr(AutoConfig, "from_pretrained", offline)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("no second try"))
    with pytest.raises(ModelUnavailable) as e:
        load_model(name)
    assert str(e.value) == (
        f"model '{name}' cannot be loaded: OSError: We couldn't connect to 'https://hub.invalid' to load the files."
    )
    expected = {"trust_remote_code": False} | ({"revision": revision} if revision else {})
    assert asked == [("org/tiny", expected)]


def test_hub_options_never_trust_code_or_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def from_hub(source: str, **options: Any) -> tuple[Any, dict[str, Any]]:
        asked.update(options)
        return tiny_model().model, {"missing_keys": set()}

    def config_of(source: str, **options: Any) -> PretrainedConfig:
        assert options["trust_remote_code"] is False
        return tiny_model().model.config

    monkeypatch.setattr(locating, "hub_adapter", lambda _: None)
    monkeypatch.setattr(AutoConfig, "from_pretrained", config_of)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: tokenizer())
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_hub)
    loaded = load_model("org/tiny@v1")
    assert (loaded.name, loaded.revision) == ("org/tiny", "v1")
    assert (asked["trust_remote_code"], asked["use_safetensors"], asked["dtype"]) == (False, True, "auto")


# -- GGUF -------------------------------------------------------------------------------------------------------------
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path: Path, *, leave_out: str | None = None) -> dict[str, np.ndarray]:
    """The tiny Llama as a float32 GGUF file; returns its weights by transformers' names."""
    weights = {n: t.detach().numpy() for n, t in tiny_model("llama").model.state_dict().items()}
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(2)
    w.add_context_length(1024)
    w.add_embedding_length(16)
    w.add_feed_forward_length(32)
    w.add_head_count(2)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(10_000.0)
    w.add_vocab_size(128)
    tokens = ["<unk>", "<s>", "</s>", "Ġ", "Ċ", *(chr(33 + i) for i in range(90))]
    w.add_tokenizer_model("gpt2")
    w.add_token_list(tokens + [f"x{i}" for i in range(128 - len(tokens))])
    w.add_token_types([3, 3, 3] + [1] * 125)
    w.add_token_merges(["x 1"])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    named = {
        "token_embd": weights["model.embed_tokens.weight"],
        "output_norm": weights["model.norm.weight"],
        "output": weights["lm_head.weight"],
    }
    for layer in (0, 1):
        for ours, theirs in GGUF_NAMES.items():
            array = weights[f"model.layers.{layer}.{ours}.weight"]
            heads = {"attn_q": 2, "attn_k": 1}.get(theirs)
            if heads:  # GGUF interleaves the two halves of each rotary head
                array = array.reshape(heads, 2, -1, 16).swapaxes(1, 2).reshape(array.shape)
            named[f"blk.{layer}.{theirs}"] = array
    for name, array in named.items():
        if name != leave_out:
            w.add_tensor(f"{name}.weight", np.ascontiguousarray(array))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "assets"


def test_a_gguf_file_is_converted_once(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    weights = write_gguf(path)
    lines: list[str] = []
    loaded = load_model(str(path), say=lines.append)
    assert loaded.name == "toy"
    for name, tensor in loaded.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), weights[name], err_msg=name)
    assert loaded.table == tiny_model("llama").table
    assert not getattr(loaded.model, "is_quantized", False)
    assert not hasattr(loaded.model.config, "quantization_config")
    assert loaded.tokenizer.encode("a b", add_special_tokens=False) == [
        loaded.tokenizer.convert_tokens_to_ids(t) for t in ("a", "Ġ", "b")
    ]
    (folder,) = cache.iterdir()
    assert folder.name.startswith("gguf-")
    assert lines[:2] == ["toy.gguf: converting GGUF to safetensors (once)", "toy: loading"]
    lines.clear()
    again = load_model(str(path), say=lines.append)
    assert lines[0] == "toy: loading"
    assert again.weight_hash == loaded.weight_hash
    # A folder that holds nothing but one GGUF file is that file.
    (tmp_path / "folder").mkdir()
    shutil.copy(path, tmp_path / "folder" / "model.gguf")
    assert load_model(str(tmp_path / "folder")).weight_hash == loaded.weight_hash
    assert list(cache.iterdir()) == [folder]


@pytest.mark.parametrize("keep", [0, 3, 10, 500, 2000, 20_000])
def test_a_truncated_gguf_file_is_named(keep: int, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    write_gguf(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelUnavailable, match=r"toy\.gguf cannot be read as GGUF \(") as e:
        load_model(str(path))
    assert "\n" not in str(e.value)
    assert list(cache.iterdir()) == []


def test_a_gguf_file_that_lacks_a_weight_is_refused(cache: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "toy.gguf", leave_out="blk.1.ffn_up")
    with pytest.raises(
        ModelUnavailable, match=r"toy\.gguf lacks the weight model\.layers\.1\.mlp\.up_proj\.weight \(1 in"
    ):
        load_model(str(tmp_path / "toy.gguf"))
    assert list(cache.iterdir()) == []


def test_an_interrupted_conversion_starts_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "toy.gguf")
    real = locating.convert_gguf

    def interrupted(source: Path, target: Path) -> None:
        real(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(locating, "convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_model(str(tmp_path / "toy.gguf"))
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("HARMVIZ_CACHE", str(cache.parent))
    # What a killed process leaves behind is in nobody's way.
    (cache / ".part-killed" / "model").mkdir(parents=True)
    assert load_model(str(tmp_path / "toy.gguf")).table == tiny_model("llama").table


# -- the real thing ---------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_embedded_model() -> None:
    loaded = load_model()
    assert loaded.name == "smollm2-135m-instruct"
    assert loaded.table.n_weights == 106_168_320
    assert len(loaded.table) == 30 * 7
    assert loaded.table[3] == WeightMatrix("model.layers.0.self_attn.o_proj.weight", 0, "o_proj", 576, 576)
    assert loaded.tokenizer.chat_template
    assert not hasattr(loaded.model.config, "quantization_config")
    ids = torch.tensor([loaded.tokenizer.encode("The capital of France is")])
    with torch.no_grad():
        assert loaded.tokenizer.decode(loaded.model(input_ids=ids).logits[0, -1].argmax()).strip() == "Paris"

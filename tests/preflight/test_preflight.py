"""The pre-flight: sizes from headers, samples as the run itself counts them, needs that follow every setting, no
network."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from harmviz import preflight
from harmviz.claims.mapping.page import data_form
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.work import scratch_bytes
from harmviz.errors import DataInvalid, HarmvizError, ModelUnavailable
from harmviz.preflight import DataPlan, ModelEstimate, machine
from harmviz.preflight.tensors import read_gguf, read_safetensors
from harmviz.runs import open_run
from tests.worlds.fabricated import TABLE, make_ladder, make_run
from tests.worlds.tiny import FAMILIES, tiny_model

ROOT = Path(__file__).resolve().parents[2]
MODEL = ModelEstimate("m", 1_000_000, 800_000, 4_000_000, at_hand=True, vocabulary=1000, activations_per_token=2000)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: None)
    return tmp_path


def plan(**settings: int) -> DataPlan:
    return preflight.plan_source("builtin", RunSpec(**settings))


# -- models -----------------------------------------------------------------------------------------------------------
def test_sizes_of_a_local_model_are_those_of_the_loaded_one(tiny_dir):
    from harmviz.models.load import load_model

    loaded, estimate = load_model(str(tiny_dir)), preflight.model_estimate(str(tiny_dir))
    assert (estimate.n_parameters, estimate.n_scored) == (loaded.n_parameters, loaded.table.n_weights)
    assert estimate.vocabulary == loaded.model.config.vocab_size
    assert estimate.at_hand
    assert estimate.disk_bytes == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_headers_and_the_loaded_model_give_the_same_scored_weights(family, tmp_path):
    loaded = tiny_model(family)
    loaded.model.save_pretrained(tmp_path)
    estimate = preflight.model_estimate(str(tmp_path))
    assert (estimate.n_parameters, estimate.n_scored) == (loaded.n_parameters, loaded.table.n_weights)
    scored = read_safetensors([tmp_path / "model.safetensors"], n_layers=2).scored
    if family == "mixtral":  # saved one matrix per expert, loaded as one parameter for all: compared by their sizes
        per_layer = [sum(math.prod(s) for n, s in scored.items() if f".layers.{layer}." in n) for layer in (0, 1)]
        assert per_layer == [sum(m.size for m in loaded.table if m.layer == layer) for layer in (0, 1)]
    else:
        assert scored == {m.name: (m.rows, m.cols) for m in loaded.table}
        assert list(scored) != [] == [n for n in scored if "embed" in n or "lm_head" in n]


def test_a_checkpoint_of_more_blocks_than_the_config_counts_is_still_sized(tmp_path):
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 1}')
    weights = {f"model.layers.{i}.mlp.up_proj.weight": np.zeros((4, 8), np.float32) for i in (0, 1)}
    save_file(weights, tmp_path / "model.safetensors")
    assert preflight.model_estimate(str(tmp_path)).n_scored == 64


def test_the_embedded_model_is_known_before_it_is_fetched():
    estimate = preflight.model_estimate("smollm2-135m-instruct")
    assert (estimate.n_parameters, estimate.n_scored) == (134_515_008, TABLE.n_weights)
    assert not estimate.at_hand
    assert estimate.disk_bytes > 4 * 134_515_008
    assert any("not fetched yet" in n for n in estimate.notes)
    assert estimate.vocabulary == pytest.approx(49152, rel=0.01)


def test_the_aligned_model_is_known_before_and_after_it_is_made(tmp_path):
    from safetensors.numpy import save_file as save_arrays

    from harmviz.models.assets import ALIGNED, EMBEDDED
    from harmviz.models.names import MARKER, find_adapter, merged_dir

    base = preflight.model_estimate(EMBEDDED)
    estimate = preflight.model_estimate(ALIGNED)
    assert (estimate.name, estimate.n_parameters, estimate.n_scored) == (ALIGNED, base.n_parameters, base.n_scored)
    assert not estimate.at_hand
    assert not estimate.made_here, "its base would have to be fetched"
    assert estimate.disk_bytes == base.disk_bytes + 4 * 134_515_008

    for folder in (tmp_path / "assets" / EMBEDDED, merged_dir(find_adapter(ALIGNED))):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        save_arrays({"model.layers.0.mlp.up_proj.weight": np.zeros((4, 8), np.float32)}, folder / "model.safetensors")
        (folder / MARKER).write_text("{}")
        estimate = preflight.model_estimate(ALIGNED)
        is_tuned = folder != tmp_path / "assets" / EMBEDDED
        assert (estimate.at_hand, estimate.made_here, estimate.disk_bytes) == (
            is_tuned,
            not is_tuned,
            0 if is_tuned else 4 * 32,
        )


def test_checkpoints_of_the_caches_ladders_are_offered(cache):
    assert preflight.tuned_models() == ["smollm2-135m-aligned"]
    make_ladder(cache / "runs", "x-align-1")
    assert preflight.tuned_models() == ["smollm2-135m-aligned", "x-align-1/safety-sft-4"]
    assert preflight.model_estimate("x-align-1/safety-sft-4").n_parameters == 134_515_008


def test_a_gguf_file_is_read_from_its_header(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "cc"])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_string("general.name", "tiny")
    for name, shape in {
        "token_embd.weight": (50, 8),
        "blk.0.attn_q.weight": (8, 8),
        "blk.0.attn_norm.weight": (8,),
        "blk.0.ffn_gate_inp.weight": (4, 8),
        "blk.1.ffn_up.weight": (16, 8),
    }.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    estimate = preflight.model_estimate(str(tmp_path / "m.gguf"))
    assert (estimate.n_parameters, estimate.n_scored, estimate.vocabulary) == (400 + 64 + 8 + 32 + 128, 64 + 128, 50)
    assert estimate.disk_bytes == 4 * estimate.n_parameters  # the converted copy
    whole = (tmp_path / "m.gguf").read_bytes()
    for cut in (0, 10, 60, 200):
        (tmp_path / "cut.gguf").write_bytes(whole[:cut])
        with pytest.raises(ModelUnavailable, match="cannot be read as GGUF"):
            read_gguf([tmp_path / "cut.gguf"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 5) + b"xxxxx",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10) + b'{"a":{}}  ',
    ],
)
def test_a_damaged_safetensors_file_is_named(content, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors cannot be read"):
        preflight.model_estimate(str(tmp_path))


def test_a_file_that_is_cut_off_and_a_missing_shard_are_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": np.zeros((4, 4), np.float32)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-8])
    with pytest.raises(ModelUnavailable, match="cut off"):
        preflight.model_estimate(str(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(ModelUnavailable, match=r"one\.safetensors is missing"):
        preflight.model_estimate(str(tmp_path))


def test_a_hub_model_that_is_not_here_is_unknown_and_nobody_is_asked(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    model = preflight.model_estimate("no-such-org/no-such-model")
    assert (model.n_parameters, model.at_hand) == (None, False)
    estimate = preflight.run_estimate(model, plan())
    assert {n.verdict for n in estimate.needs} == {"unknown"}
    assert estimate.seconds is None
    assert estimate.blocking == ()
    with pytest.raises(ModelUnavailable, match="is no hub id"):
        preflight.model_estimate("no such model")


def test_a_hub_model_is_looked_up_on_request(monkeypatch):
    files = [
        SimpleNamespace(rfilename="model.safetensors", size=2000),
        SimpleNamespace(rfilename="pytorch_model.bin", size=9),
    ]
    info = SimpleNamespace(siblings=files, safetensors=SimpleNamespace(total=1000))
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda self, repo, **more: asked.append((repo, more["revision"])) or info
    )
    model = preflight.look_up("org/name@v1")
    assert asked == [("org/name", "v1")]
    assert (model.n_parameters, model.disk_bytes) == (1000, 2000)
    info.siblings = files[1:]
    with pytest.raises(ModelUnavailable, match=r"no \.safetensors weights"):
        preflight.look_up("org/name")


def test_no_network_is_one_clear_line(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fail)
    with pytest.raises(ModelUnavailable, match=r"could not be looked up \(no route\); check the name and the network"):
        preflight.look_up("org/name")


# -- local models -----------------------------------------------------------------------------------------------------
@pytest.fixture
def root(tmp_path: Path, tiny_dir: Path) -> Path:
    """The default root with one model two levels down, one .gguf file, and things that are no models."""
    models = tmp_path / "models"
    (models / "family").mkdir(parents=True)
    (models / "family" / "tiny").symlink_to(tiny_dir)  # leads out: not listed
    (models / "family" / "real").mkdir()
    (models / "family" / "real" / "config.json").write_text("{}")
    save_file({"a": np.zeros((4, 4), np.float32)}, models / "family" / "real" / "model.safetensors")
    (models / "one.gguf").write_bytes(b"GGUF")
    (models / "pickle").mkdir()
    (models / "pickle" / "config.json").write_text("{}")
    (models / "pickle" / "pytorch_model.bin").write_bytes(b"x")
    return models


def test_only_models_below_the_root_are_listed(root):
    assert preflight.local_models() == [root / "family" / "real", root / "one.gguf"]


def test_roots_are_configured_by_the_environment(root, tiny_dir, monkeypatch):
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", os.pathsep.join([str(root / "absent"), str(tiny_dir.parent)]))
    assert preflight.local_models() == [tiny_dir.resolve()]
    assert preflight.check_local(tiny_dir) == tiny_dir.resolve()
    with pytest.raises(HarmvizError, match="lies outside"):
        preflight.check_local(root / "family" / "real")


@pytest.mark.parametrize("path", ["..", "../..", "/etc", "family/tiny", "family/real/../../.."])
def test_paths_outside_the_root_are_refused(root, path):
    with pytest.raises(HarmvizError, match=r"lies outside .* HARMVIZ_MODEL_ROOTS"):
        preflight.check_local(root / path)


@pytest.mark.parametrize("path", ["pickle", "family", "absent"])
def test_what_is_no_model_is_refused(root, path):
    with pytest.raises(ModelUnavailable, match="is no model"):
        preflight.check_local(root / path)


# -- runs -------------------------------------------------------------------------------------------------------------
def test_the_plan_counts_as_the_run_does(tiny_run):
    """Built-in data: no row is too short, so that the counts are exact."""
    counts = open_run(tiny_run).manifest["data"]["counts"]
    samples = plan(samples=8, max_response_tokens=32).samples

    def total(*splits: str) -> int:
        return sum(n for by in counts.values() for split, n in by.items() if split in splits)

    assert samples.categories == 7
    assert samples.scoring == total("scoring_a", "scoring_b")
    assert samples.harm_scoring == 7 * 8
    assert samples.preserve == pytest.approx(total("preserve"), abs=2)  # own answers may be too short
    assert samples.validation == pytest.approx(total("validation"), abs=2)
    assert samples.report == pytest.approx(total("report"), abs=2)


def test_every_setting_changes_the_estimate():
    base = preflight.run_estimate(MODEL, plan(), q_max=0.01)
    assert base.seconds is not None
    assert preflight.run_estimate(MODEL, plan(samples=8), q_max=0.01).seconds < base.seconds
    assert preflight.run_estimate(MODEL, plan(max_response_tokens=16), q_max=0.01).seconds < base.seconds
    memory, disk = base.needs
    assert preflight.run_estimate(MODEL, plan(), q_max=0.02).needs[1].needed > disk.needed
    assert disk.needed >= scratch_bytes(800_000, 9)
    half = ModelEstimate("m", 1_000_000, 800_000, 2_000_000, vocabulary=1000, activations_per_token=2000)
    assert preflight.run_estimate(half, plan(), q_max=0.01, dtype="bfloat16").needs[0].needed < memory.needed


def test_without_room_for_score_files_the_run_is_said_to_be_slower_and_may_start(monkeypatch):
    model = ModelEstimate("m", 8_000_000_000, 7_000_000_000, 16_000_000_000)
    for free, verdict, slower in ((10**13, "fits", False), (2 * 10**11, "fits", True), (10**6, "too much", False)):
        monkeypatch.setattr(machine, "free_disk", lambda _, free=free: free)
        disk = preflight.run_estimate(model, plan()).needs[-1]
        assert (disk.what, disk.verdict) == ("disk", verdict)
        assert ("computed in blocks" in disk.note) == slower


def test_time_scales_with_size_and_names_where_it_comes_from():
    one = preflight.run_estimate(MODEL, plan(), q_max=0.01)
    ten = preflight.run_estimate(ModelEstimate("m", 10_000_000, 8_000_000, 4), plan(), q_max=0.01)
    assert ten.seconds == pytest.approx(10 * one.seconds)
    assert "smollm2-135m-instruct on pyrit, 55 min on 2 threads" in one.basis


def test_the_run_closest_in_size_on_the_same_device_is_scaled_from(cache, monkeypatch):
    run = make_run(
        cache / "runs",
        "near-0000000000",
        timings={"all": 100.0},
        hardware={"device": "cpu", "threads": 9, "machine": "arm64"},
        parameters={"samples": 24, "seed": 0, "max_response_tokens": 96, "q_max": 1e-4},
    )
    n = run.manifest["model"]["n_scored_weights"]
    estimate = preflight.run_estimate(ModelEstimate("m", n, n - 1, 4 * n), plan())
    assert "9 threads of an arm64 CPU" in estimate.basis or "55 min" in estimate.basis  # equally close: either
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: 80 * 10**9)
    on_gpu = preflight.run_estimate(MODEL, plan(), q_max=0.01)
    assert (on_gpu.seconds, on_gpu.device) == (None, "cuda")
    assert on_gpu.basis == "no run made on a GPU is stored to scale from"


def test_runs_made_on_several_devices_are_not_scaled_from(cache):
    def basis_beside(run_id, **hardware):
        run = make_run(
            cache / "runs",
            run_id,
            timings={"all": 100.0},
            hardware={"device": "cpu", "threads": 9, "machine": "arm64", **hardware},
            parameters={"samples": 24, "seed": 0, "skip_tokens": 0, "max_response_tokens": 96, "q_max": 1e-4},
        )
        n = run.manifest["model"]["n_scored_weights"]
        return preflight.run_estimate(ModelEstimate("m", n, n, 4 * n), plan()).basis

    assert "9 threads of an arm64 CPU" not in basis_beside("shared-0000000000", ranks=2)
    assert "9 threads of an arm64 CPU" in basis_beside("single-0000000000")


def test_what_cannot_fit_blocks_and_what_is_tight_warns(monkeypatch):
    memory, disk = preflight.run_estimate(MODEL, plan(), q_max=0.01).needs
    with monkeypatch.context() as m:
        m.setattr(machine, "free_disk", lambda _: disk.needed - 1)
        in_blocks = preflight.run_estimate(MODEL, plan(), q_max=0.01).needs[1]  # without room for score files
    assert in_blocks.needed < disk.needed
    for name, need in (("free_memory", memory), ("free_disk", in_blocks)):
        for share, blocked, warned in ((0.99, True, False), (1.1, False, True), (2.0, False, False)):
            with monkeypatch.context() as m:
                m.setattr(machine, name, lambda *_, share=share, need=need: int(share * need.needed))
                estimate = preflight.run_estimate(MODEL, plan(), q_max=0.01)
                assert bool(estimate.blocking) == blocked
                assert any("tight" in w for w in estimate.warnings) == warned
                if blocked:
                    assert need.what in estimate.blocking[0]
                    assert "needed" in estimate.blocking[0]


def test_a_gpu_has_its_own_memory_line_and_asking_for_none_blocks(monkeypatch):
    assert "no GPU" in preflight.run_estimate(MODEL, plan(), q_max=0.01, device="cuda").blocking[0]
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: 10**9)
    estimate = preflight.run_estimate(MODEL, plan(), q_max=0.01)
    assert [n.what for n in estimate.needs] == ["memory", "GPU memory", "disk"]
    assert estimate.dtype == "float32"
    assert preflight.run_estimate(ModelEstimate("m", 10**8, 10**8, 4), plan()).dtype == "bfloat16"
    assert preflight.run_estimate(MODEL, plan(), q_max=0.01, device="cpu").device == "cpu"


def test_a_mask_too_small_to_hold_a_weight_blocks():
    assert "would hold no weight" in preflight.run_estimate(MODEL, plan(), q_max=1e-6).blocking[0]
    assert preflight.run_estimate(MODEL, plan(), q_max=1e-3).blocking == ()


@pytest.mark.parametrize("source", [name for name in data_form._DATA if name not in ("builtin", "upload")])
def test_data_that_is_not_fetched_is_planned_without_fetching(source, monkeypatch):
    """Every set that the Runs page offers."""
    monkeypatch.setattr("harmviz.preflight.plan.at_hand", lambda _: False)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("something was fetched"))
    unfetched = preflight.plan_source(source, RunSpec())
    assert "not fetched yet" in unfetched.notes[0]
    assert unfetched.samples.scoring > 0
    with pytest.raises(DataInvalid):
        preflight.plan_source("/etc/passwd", RunSpec())


def test_this_machine_has_memory_and_disk(tmp_path):
    assert (machine.free_memory() or 0) > 1 << 20
    assert machine.free_disk(tmp_path / "not" / "yet") == pytest.approx(machine.free_disk(tmp_path), rel=0.05)


def test_the_estimate_is_finite_and_loads_no_torch():
    code = (
        "import sys, math\nfrom harmviz import preflight\nfrom harmviz.claims.mapping.settings import RunSpec\n"
        "m = preflight.model_estimate('smollm2-135m-instruct')\n"
        "e = preflight.run_estimate(m, preflight.plan_source('builtin', RunSpec()))\n"
        "assert math.isfinite(e.seconds)\n"
        "print({'torch', 'transformers', 'streamlit'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"
    assert math.isfinite(preflight.run_estimate(MODEL, plan(), q_max=0.01).seconds)

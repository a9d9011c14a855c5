"""Series of checkpoints, from ladders and from models by name, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from harmviz.claims.compression import ladder_series
from harmviz.claims.compression.comparisons import planned_tests
from harmviz.claims.compression.ladder_series import ladder_checkpoints, open_ladders
from harmviz.claims.compression.model_series import open_models
from harmviz.claims.compression.presets import PRESETS, Stage, preset
from harmviz.claims.compression.series import Checkpoint
from harmviz.errors import ModelUnavailable, RunIncompatible
from harmviz.files import sha256_of_file
from harmviz.runs.manifest import manifest_hash
from harmviz.tuning.settings import ARMS
from harmviz.tuning.stored import Ladder
from tests.worlds.compression import ladder
from tests.worlds.tiny import tiny_model


def test_which_checkpoints_of_a_ladder(ladders: list[Ladder]) -> None:
    def names(at: str) -> list[str]:
        return [c.name for c in ladder_checkpoints(ladders[0], at)]

    assert names("ends") == ["start", *(f"{arm}-{end}" for arm in ARMS for end in ("sft-4", "dpo-2"))]
    assert sorted(names("all")) == sorted(["start", *(e["name"] for e in ladders[0].checkpoints)])
    assert names("sft-1,safety-dpo-2") == [
        "start",
        "safety-sft-1",
        "safety-dpo-2",
        "helpful-only-sft-1",
        "refusal-style-sft-1",
    ]
    with pytest.raises(RunIncompatible, match="has no checkpoint 'sft-99'"):
        names("sft-99")


def test_a_ladder_is_found_by_the_beginning_of_its_id(
    ladders: list[Ladder], monkeypatch: pytest.MonkeyPatch, tiny_dir: Path
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(ladders[0].path.parents[1]))
    assert open_ladders([ladders[0].id[:-2]], at="dpo-2", model=str(tiny_dir)).ladders[0].id == ladders[0].id
    with pytest.raises(RunIncompatible, match="several ladders begin with it"):
        open_ladders(["tiny"], model=str(tiny_dir))
    with pytest.raises(RunIncompatible, match="there is no such folder"):
        open_ladders(["nowhere"], model=str(tiny_dir))


def test_what_is_wrong_with_ladders_is_said_before_a_model_is_loaded(
    ladders: list[Ladder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder_series, "load_model", lambda *a, **k: pytest.fail("loaded"))
    first, second = (str(made.path) for made in ladders)
    with pytest.raises(RunIncompatible, match="given twice"):
        open_ladders([first, first])
    with pytest.raises(ValueError, match="splits must be 2"):
        open_ladders([first, second], n_splits=3)

    broken = tmp_path / "broken"
    shutil.copytree(first, broken)
    next((broken / "adapters").glob("safety-dpo-2*")).unlink()
    with pytest.raises(RunIncompatible, match=r"safety-dpo-2\.safetensors is missing"):
        open_ladders([str(broken)])

    def changed(change: Callable[[dict[str, Any]], None]) -> str:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(second, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest | {"manifest_hash": manifest_hash(manifest)}))
        return str(folder)

    with pytest.raises(RunIncompatible, match=r"different settings \(beta\)"):
        open_ladders([first, changed(lambda m: m["parameters"].update(beta=0.5))])
    with pytest.raises(RunIncompatible, match="different models"):
        open_ladders([first, changed(lambda m: m["model"].update(weight_hash="0" * 64))])

    def without_one(manifest: dict[str, Any]) -> None:
        method = manifest["method"]
        method["checkpoints"] = [e for e in method["checkpoints"] if e["name"] != "safety-sft-4"]

    with pytest.raises(RunIncompatible, match="has no checkpoint 'safety-sft-4'"):
        open_ladders([first, changed(without_one)])


def test_six_tuning_seeds_make_six_splits(ladders: list[Ladder], tiny_dir: Path, tmp_path: Path) -> None:
    """Four more, each with another seed and another adapter than those there are."""
    names = [str(made.path) for made in ladders]
    for seed in range(2, 6):
        folder = tmp_path / f"seed{seed}"
        shutil.copytree(names[0], folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["parameters"]["seed"] = seed
        for name in [n for n in manifest["files"] if n.startswith("adapters/")]:
            scaled = {key: value * (1 + 0.1 * seed) for key, value in load_file(folder / name).items()}
            with safe_open(folder / name, "np") as file:
                header = file.metadata()
            save_file(scaled, folder / name, metadata=header)
            manifest["files"][name] = sha256_of_file(folder / name)
        manifest["manifest_hash"] = manifest_hash(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        names.append(str(folder))
    six = open_ladders(names, at="dpo-2", model=str(tiny_dir))
    assert six.n_splits == 6
    assert [source["tuning_seed"] for source in six.sources] == list(range(6))
    assert six.notes == ()
    of_safety = six.checkpoints[1]
    assert len({six.identity(split, of_safety) for split in range(6)}) == 6
    with pytest.raises(ValueError, match="splits must be 6"):
        open_ladders(names, at="dpo-2", n_splits=3)


def test_the_wrong_start_model_is_refused(ladders: list[Ladder], tmp_path: Path) -> None:
    other = tiny_model(seed=1)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(ModelUnavailable, match="was tuned on other weights"):
        open_ladders([str(ladders[0].path)], model=str(tmp_path / "other"))


def test_models_that_make_no_series_are_refused(tiny_dir: Path, tmp_path: Path) -> None:
    def saved(name: str, **options: Any) -> Stage:
        loaded = tiny_model(**options)
        loaded.model.save_pretrained(tmp_path / name)
        loaded.tokenizer.save_pretrained(tmp_path / name)
        return Stage(name, str(tmp_path / name))

    base = Stage("base", str(tiny_dir))
    with pytest.raises(ValueError, match="at least 2"):
        open_models([base])
    with pytest.raises(ValueError, match="twice"):
        open_models([base, Stage("again", str(tiny_dir))])
    with pytest.raises(RunIncompatible, match="are the same weights"):
        open_models([base, saved("copy")])
    with pytest.raises(RunIncompatible, match="different architectures or shapes"):
        open_models([base, saved("qwen", family="qwen2")])
    with pytest.raises(RunIncompatible, match="different architectures or shapes"):
        open_models([base, saved("gpt", family="gpt2")])
    with pytest.raises(ModelUnavailable, match="checkpoint 'lost'"):
        open_models([base, Stage("lost", str(tmp_path / "nothing"))])


def test_presets_name_two_stages_at_least_and_need_no_network_to_be_read() -> None:
    for name in PRESETS:
        stages = preset(name)
        assert len({s.label for s in stages}) == len({s.model for s in stages}) == len(stages) >= 2
    with pytest.raises(ValueError, match="preset must be one of"):
        preset("gpt-5")


def test_the_planned_tests() -> None:
    kinds = [(t["a"], t["b"], t["kind"]) for t in planned_tests(ladder(stages=(("sft", 4),)))]
    assert kinds == [
        ("safety-sft-4", "start", "start"),
        ("helpful-only-sft-4", "start", "start"),
        ("refusal-style-sft-4", "start", "start"),
        ("safety-sft-4", "helpful-only-sft-4", "control"),
        ("safety-sft-4", "refusal-style-sft-4", "control"),
    ]
    plain = planned_tests([Checkpoint(n, n) for n in ("base", "sft", "dpo")])
    assert [(t["a"], t["b"], t["kind"]) for t in plain] == [
        ("sft", "base", "start"),
        ("dpo", "base", "start"),
        ("dpo", "sft", "previous"),
    ]

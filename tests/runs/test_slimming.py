"""A ladder without its checkpoints, a map without its candidates: what stays, what goes, what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harmviz.cli import main
from harmviz.errors import ModelUnavailable, RunIncompatible, RunNotFound
from harmviz.models.locating import locate
from harmviz.preflight.models import model_estimate
from harmviz.runs import export_run, import_run, list_partials, open_run, result_digest, slimming, verify_run
from harmviz.runs.manifest import manifest_hash
from harmviz.runs.slimming import slim
from harmviz.tuning.stored import checkpoints, open_ladder
from tests.worlds.fabricated import make_ladder, make_run

ID = "tiny-align-0123456789"
NAMES = ("safety-sft-4", "safety-dpo-2")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "runs"


def test_its_numbers_stay_and_its_weights_go(runs: Path) -> None:
    before = make_ladder(runs, ID, checkpoints=NAMES)
    old = open_ladder(before.path)
    hashes = {name: old.sha256(name) for name in NAMES}
    n_bytes = sum(old.adapter_path(name).stat().st_size for name in NAMES)
    assert slim(ID) == n_bytes
    after = open_run(ID)
    assert verify_run(after) == []
    assert result_digest(after) == result_digest(before)
    assert [p.name for p in after.path.iterdir()] == ["manifest.json"]
    ladder = open_ladder(after.path)
    assert ladder.checkpoints == old.checkpoints
    assert {name: ladder.sha256(name) for name in NAMES} == hashes
    assert [entry["bytes"] for entry in ladder.document()["checkpoints"]] == [0, 0]
    assert slim(ID) == 0
    assert list_partials() == []


def test_who_wants_a_checkpoint_is_told_where_it_went(runs: Path) -> None:
    ladder = open_ladder(make_ladder(runs, ID, checkpoints=NAMES).path)
    assert checkpoints() == [f"{ID}/{name}" for name in sorted(NAMES)]
    slim(ID)
    assert checkpoints() == []
    with pytest.raises(RunIncompatible, match=r"safety-sft-4 were deleted .*harmviz align"):
        open_ladder(ladder.path).adapter_path("safety-sft-4")
    for ask in (lambda name: locate(name, print), model_estimate):
        with pytest.raises(ModelUnavailable, match=r"safety-dpo-2 were deleted .*harmviz align"):
            ask(f"{ID}/safety-dpo-2")
        with pytest.raises(ModelUnavailable, match=r"^(?!.*were deleted)"):
            ask(f"{ID}/@")


def test_it_is_exported_and_imported_as_it_is(runs: Path, tmp_path: Path) -> None:
    digest = result_digest(make_ladder(runs, ID, checkpoints=NAMES))
    slim(ID)
    export_run(open_run(ID), tmp_path / "ladder.zip")
    there = import_run(tmp_path / "ladder.zip", tmp_path / "elsewhere")
    assert verify_run(there) == []
    assert result_digest(there) == digest


def test_what_a_killed_call_left_lying_is_deleted_by_the_next(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = open_ladder(make_ladder(runs, ID, checkpoints=NAMES).path)
    with monkeypatch.context() as patch:
        patch.setattr(slimming, "_delete", lambda folder, names: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            slim(ID)
    assert len(verify_run(open_run(ID))) == len(NAMES)
    assert slim(ID) > 0
    assert verify_run(open_run(ID)) == []
    assert not (ladder.path / "adapters").exists()


def test_a_map_lets_go_of_its_candidates_alone(runs: Path) -> None:
    before = make_run(runs)
    digest, n_bytes = result_digest(before), before.candidates_path.stat().st_size
    assert slim(before.id) == n_bytes
    after = open_run(before.id)
    assert verify_run(after) == []
    assert result_digest(after) == digest
    assert set(before.manifest["files"]) - set(after.manifest["files"]) == {"candidates.safetensors"}
    assert after.masks() == before.masks()
    assert after.results().equals(before.results())
    with pytest.raises(RunIncompatible, match=r"candidates\.safetensors of run .* was deleted \(`runs slim`\)"):
        _ = after.candidates_path
    assert slim(before.id) == 0


@pytest.mark.parametrize("what", ["dissociation", "scene", "jailbreak", "emergent", "eval"])
def test_who_needs_candidates_is_told_before_a_model_is_loaded(
    runs: Path, tiny_run: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_run, runs / tiny_run.name)
    slim(tiny_run.name)
    mask = next((runs / tiny_run.name / "masks").iterdir())
    data = ["--data", "demo"] if what in ("dissociation", "jailbreak") else []
    argv = ["eval", "--mask", str(mask), "--run"] if what == "eval" else ["experiment", what]
    assert main([*argv, tiny_run.name, *data, "--model", str(runs / "nowhere")]) != 0
    said = capsys.readouterr().err
    assert "was deleted (`runs slim`)" in said
    assert "nowhere" not in said


def test_what_went_comes_back_with_the_archive_of_the_whole_run(runs: Path, tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, runs / tiny_run.name)
    whole = open_run(tiny_run.name)
    kept = whole.candidates_path.read_bytes()
    export_run(whole, tmp_path / "whole.zip")
    slim(whole.id)
    export_run(open_run(whole.id), tmp_path / "slimmed.zip")
    assert not import_run(tmp_path / "slimmed.zip").has_candidates
    assert import_run(tmp_path / "whole.zip").candidates_path.read_bytes() == kept
    assert verify_run(open_run(whole.id)) == []
    assert import_run(tmp_path / "slimmed.zip").has_candidates, "a whole run is not slimmed by an import"


def test_only_the_files_come_back_and_only_the_very_same(runs: Path, tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, runs / tiny_run.name)
    whole = open_run(tiny_run.name)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(whole.path, elsewhere / whole.id)
    manifest = json.loads((elsewhere / whole.id / "manifest.json").read_text())
    manifest["created"] = "2020-01-01T00:00:00+00:00"
    manifest["manifest_hash"] = manifest_hash(manifest)
    (elsewhere / whole.id / "manifest.json").write_text(json.dumps(manifest))
    export_run(open_run(whole.id, elsewhere), tmp_path / "told.zip")
    slim(whole.id)
    again = import_run(tmp_path / "told.zip")
    assert again.has_candidates
    assert again.manifest == whole.manifest, "what the archive tells of itself does not replace what is stored"
    assert verify_run(again) == []


def test_the_map_that_pages_open_with_keeps_its_candidates(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = make_run(runs)
    monkeypatch.setattr(slimming, "shipped_runs", lambda: frozenset({shown.id}))
    with pytest.raises(RunIncompatible, match="pages open with it"):
        slim(shown.id)
    assert open_run(shown.id).has_candidates


def test_only_what_is_whole_and_has_something_to_spare_is_slimmed(runs: Path) -> None:
    other = make_run(runs, kind="experiment")
    with pytest.raises(RunIncompatible, match="nothing of it can be spared"):
        slim(other.id)
    for name in ("nothing", "", "../x", "."):
        with pytest.raises(RunNotFound, match="there is no run"):
            slim(name)
    ladder = open_ladder(make_ladder(runs, ID, checkpoints=NAMES).path)
    kept = ladder.adapter_path("safety-dpo-2").read_bytes()
    ladder.adapter_path("safety-sft-4").write_bytes(b"x")
    with pytest.raises(RunIncompatible, match=r"damaged \(adapters/safety-sft-4\.safetensors was changed"):
        slim(ID)
    assert ladder.adapter_path("safety-dpo-2").read_bytes() == kept
    assert verify_run(other) == []


@pytest.mark.parametrize("let_go", [[], "x", {"adapters/a.safetensors": "0"}, {"../a": "0" * 64}])
def test_a_manifest_that_lets_go_of_nonsense_is_refused(runs: Path, let_go: object) -> None:
    path = make_ladder(runs, ID).path
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["manifest_hash"]
    (path / "manifest.json").write_text(json.dumps({**manifest, "let_go": let_go}))
    with pytest.raises(RunIncompatible, match="let_go"):
        open_run(path)


def test_the_command_asks_first(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_ladder(runs, ID)
    assert main(["runs", "slim", ID]) != 0
    assert "add --yes" in capsys.readouterr().err
    assert verify_run(run) == []
    assert main(["runs", "slim", ID, "--yes", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["run_id"], answer["freed_bytes"] > 0) == (ID, True)
    assert main(["verify", ID]) == 0

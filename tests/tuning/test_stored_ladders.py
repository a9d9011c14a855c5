"""Ladders on disk: which there are, and what becomes of those that were made before ladders were runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harmviz.cli import main
from harmviz.errors import RunIncompatible
from harmviz.files import sha256_of_file
from harmviz.models.adapters import save_adapter
from harmviz.paths import shipped_runs_root
from harmviz.runs import list_runs, shipped_runs, verify_run
from harmviz.tuning.old_ladders import take_in
from harmviz.tuning.stored import Ladder, checkpoints, is_ladder, ladders, open_ladder
from tests.worlds.fabricated import make_ladder, make_run
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import make_adapter

ID = "tiny-align-0123456789"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def old_ladder(folder: Path, **changes: Any) -> Path:
    """A ladder as earlier versions stored it."""
    loaded = tiny_model()
    file = folder / "adapters" / "safety-sft-4.safetensors"
    save_adapter(file, make_adapter(loaded))
    refusal = {"value": 0.5, "ci_low": 0.1, "ci_high": 0.9, "n": 4, "hits": 2, "unit": "share"}
    entry = {
        "name": "safety-sft-4",
        "arm": "safety",
        "stage": "sft",
        "step": 4,
        "file": "adapters/safety-sft-4.safetensors",
        "sha256": sha256_of_file(file),
        "bytes": file.stat().st_size,
        "depth": "along",
        "numbers": {"refusal/harmful": refusal},
    }
    document = {
        "schema": 1,
        "id": ID,
        "digest": "0123456789",
        "created": "2026-11-28T18:32:13Z",
        "model": {"name": "tiny", "revision": None, "weight_hash": loaded.weight_hash, "n_parameters": 7_000},
        "data": {"hashes": {"harmful": "ab"}, "counts": {"harmful": 12}, "left_out_as_near": 3, "files": {"f": "cd"}},
        "settings": {"seed": 5, "steps": 4, "brief": True},
        "steps": {"sft": 4, "dpo": 2},
        "arms": ["safety"],
        "evaluation": {"judge": None},
        "software": {"python": "3.11.7", "torch": "2.13.0"},
        "start": {"depth": "along", "numbers": {}},
        "checkpoints": [entry],
    }
    (folder / "ladder.json").write_text(json.dumps(document | changes))
    return folder


def test_an_old_ladder_becomes_the_run_it_would_be_today(cache: Path, tmp_path: Path) -> None:
    folder = old_ladder(tmp_path / "old")
    run = take_in(folder)
    assert (run.path, verify_run(run)) == (cache / "runs" / ID, [])
    ladder = open_ladder(run.path)
    assert (
        ladder.adapter_path("safety-sft-4").read_bytes() == (folder / "adapters/safety-sft-4.safetensors").read_bytes()
    )
    assert ladder.checkpoint("safety-sft-4")["numbers"]["refusal/harmful"]["hits"] == 2
    assert (ladder.settings["seed"], run.manifest["seeds"]) == (5, {"run": 5})
    assert run.created == "2026-11-28T18:32:13+00:00"
    assert run.manifest["model"]["n_scored_weights"] == tiny_model().table.n_weights
    assert run.manifest["model"]["family"] == "unknown"  # no run of this model is stored
    document, old = ladder.document(), json.loads((folder / "ladder.json").read_text())
    for key in ("id", "settings", "steps", "arms", "evaluation", "software", "start", "checkpoints"):
        assert document[key] == old[key]
    assert take_in(folder) == run  # there already


def test_old_ladders_are_taken_in_by_the_command_line(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = old_ladder(tmp_path / "old")
    with pytest.raises(RunIncompatible, match="runs import"):
        open_ladder(folder)
    assert main(["runs", "import", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(cache / "runs" / ID)
    assert ladders()[ID] == cache / "runs" / ID


def test_a_damaged_old_ladder_is_not_taken_in(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RunIncompatible, match="not of schema 1"):
        take_in(old_ladder(tmp_path / "other", schema=2))
    folder = old_ladder(tmp_path / "old")
    (folder / "adapters" / "safety-sft-4.safetensors").write_bytes(b"x")
    with pytest.raises(RunIncompatible, match=r"safety-sft-4\.safetensors is missing or damaged"):
        take_in(folder)
    (folder / "ladder.json").write_text("{")
    with pytest.raises(RunIncompatible, match="cannot be read"):
        take_in(folder)
    assert list_runs() == []


def test_ladders_that_ship_stand_beside_those_made_here(cache: Path) -> None:
    shipped = {run.id for run in list_runs(shipped_runs_root()) if is_ladder(run)}
    assert shipped <= shipped_runs()
    assert len(shipped) >= 3
    make_run(cache / "runs")  # no ladder
    make_ladder(cache / "runs", "a-1", checkpoints=("safety-sft-4", "safety-dpo-2"))
    both = min(shipped)
    make_ladder(cache / "runs", both)
    assert ladders() == {
        **{name: shipped_runs_root() / name for name in sorted(shipped)},
        "a-1": cache / "runs" / "a-1",
        both: cache / "runs" / both,
    }
    assert list(ladders()) == sorted(ladders())
    assert checkpoints() == ["a-1/safety-dpo-2", "a-1/safety-sft-4"]


def test_the_committed_ladders_keep_their_numbers_and_are_without_weights_once_measured() -> None:
    measured = {
        source["ladder"]
        for run in list_runs(shipped_runs_root())
        if run.id in shipped_runs()
        for source in run.manifest["method"].get("sources", [])
    }
    for run in (run for run in list_runs(shipped_runs_root()) if is_ladder(run)):
        ladder = Ladder(run)
        assert verify_run(run) == []
        files = {entry["file"] for entry in ladder.checkpoints}
        assert set(ladder.let_go) == (files if run.id in measured else set())
        hashes = {**run.manifest["files"], **ladder.let_go}
        assert all(ladder.sha256(entry["name"]) == hashes[entry["file"]] for entry in ladder.checkpoints)
        assert all(entry["numbers"]["refusal/harmful"]["n"] > 0 for entry in ladder.checkpoints)

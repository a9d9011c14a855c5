"""Alignment compression end to end on tiny ladders and models: stages, resuming, options."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.compression import measure
from harmviz.claims.compression.kept import FILE as FILE_OF_CHECKPOINTS
from harmviz.claims.compression.kept import Earlier
from harmviz.claims.compression.ladder_series import LadderSeries, open_ladders
from harmviz.claims.compression.measure import run_compression
from harmviz.claims.compression.model_series import open_models
from harmviz.claims.compression.presets import Stage
from harmviz.claims.compression.sample_losses import FILE, resampled, sample_losses
from harmviz.cli import main
from harmviz.data.prompts import PromptData
from harmviz.errors import RunIncompatible
from harmviz.files import sha256_of_file
from harmviz.models.adapters import merge_adapter
from harmviz.runs import Run, read_run, verify_run
from harmviz.runs.archive import export_run, import_run
from harmviz.runs.manifest import manifest_hash
from harmviz.runs.slimming import slim
from harmviz.tuning.stored import Ladder
from tests.worlds.compression import TINY_SPEC


def values(run: Run, metric: str) -> pd.Series:
    rows = run.results()
    return rows[(rows["metric"] == metric) & (rows["contrast"].fillna("none") == "none")].set_index("condition")[
        "value"
    ]


def test_a_result_holds_every_measure_of_every_checkpoint(whole: Run) -> None:
    assert verify_run(whole) == []
    assert not (whole.path / "scratch").exists()
    method = whole.manifest["method"]
    names = [c["name"] for c in method["checkpoints"]]
    assert names == ["start", "safety-dpo-2", "helpful-only-dpo-2"]
    assert method["split_seeds"] == [0, 1]
    assert [t["kind"] for t in method["tests"]] == ["start", "start", "control"]
    for metric in (
        "separability",
        "separability_crossfit",
        "jaccard_half",
        "jaccard_ceiling",
        "jaccard_chance",
        "gini",
        "refusal/harmful",
    ):
        of_metric = values(whole, metric)
        assert set(of_metric.index) == {*names, *(f"{n}#{s}" for n in names for s in (0, 1))}, metric
        for name in names:
            by_seed = [of_metric[f"{name}#{s}"] for s in (0, 1)]
            assert of_metric[name] == pytest.approx(np.mean(by_seed)), metric
    rows = whole.results()
    curve = rows[(rows["metric"] == "harm_specific") & (rows["condition"] == "safety-dpo-2")]
    assert sorted(zip(curve["contrast"], curve["q"], strict=True)) == [("both", 5e-3), ("none", 1e-3), ("none", 5e-3)]
    assert (curve["n_weights"] > 0).all()
    main_rows = rows[(rows["metric"] == "separability") & rows["condition"].isin(names)]
    assert (main_rows["ci_low"] <= main_rows["ci_high"]).all()
    assert main_rows["n"].gt(40).all()
    assert main_rows["value"].ge(0).all()
    assert {"p_swap", "p_holm", "q_at_0.1", "q_at_0.2", "nll", "separability_relative"} <= set(rows["metric"])
    p = rows[rows["metric"] == "p_swap"]["value"]
    assert p.between(0, 1).all()
    for contrast in ("none", "both"):
        kept = resampled(whole).separability(contrast)[0].mean(axis=0)
        stored = rows[(rows["metric"] == "separability") & (rows["contrast"] == contrast)].set_index("condition")
        assert kept == pytest.approx(stored.loc[names, "value"].to_numpy()), "the samples' losses are kept"
    # the model is the start again: adapters were taken out bit for bit
    intact = values(whole, "nll")
    assert intact.loc["start"].tolist() != intact.loc["safety-dpo-2"].tolist()


def test_it_travels_as_an_archive_with_its_samples_losses(whole: Run, tmp_path: Path) -> None:
    packed = io.BytesIO()
    export_run(whole, packed)
    there = import_run(packed, tmp_path / "there")
    assert sample_losses(there).equals(sample_losses(whole))
    broken = tmp_path / "broken" / whole.id
    shutil.copytree(whole.path, broken)
    (broken / FILE).write_bytes(b"PAR1 and no more")
    manifest = json.loads((broken / "manifest.json").read_text())
    manifest["files"][FILE] = sha256_of_file(broken / FILE)
    (broken / "manifest.json").write_text(json.dumps(manifest | {"manifest_hash": manifest_hash(manifest)}))
    packed = io.BytesIO()
    export_run(read_run(broken), packed)
    with pytest.raises(RunIncompatible, match=rf"{FILE}: no readable Parquet file"):
        import_run(packed, tmp_path / "nowhere")
    with pytest.raises(RunIncompatible, match=f"{FILE} cannot be read"):
        sample_losses(read_run(broken))


def test_an_interrupted_result_goes_on_to_the_same_rows(
    series: Callable[..., LadderSeries], whole: Run, data: PromptData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = measure.measure_checkpoint, []

    def dies_at_the_fourth(*args: Any, **kwargs: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(measure, "measure_checkpoint", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run_compression(series(), data, TINY_SPEC, root=tmp_path)
    monkeypatch.setattr(measure, "measure_checkpoint", lambda *a, **k: (done.append(1), real(*a, **k))[1])
    again = run_compression(series(), data, TINY_SPEC, root=tmp_path, resume=True)
    assert len(done) == 6, "finished checkpoints are not measured again"
    assert again.id == whole.id
    pd.testing.assert_frame_equal(again.results(), whole.results())
    stages = list(again.manifest["timings"])
    assert [s for s in stages if s.startswith("split")] == [
        f"split{k}.checkpoint{i}" for k in (0, 1) for i in (0, 1, 2)
    ]


@pytest.fixture
def slimmed(ladders: list[Ladder], tmp_path: Path) -> list[Path]:
    """Both ladders, the first without the weights of its checkpoints."""
    for ladder in ladders:
        shutil.copytree(ladder.path, tmp_path / "ladders" / ladder.id)
    assert slim(ladders[0].id, tmp_path / "ladders") > 0
    return [tmp_path / "ladders" / ladder.id for ladder in ladders]


def test_seeds_are_added_to_a_result_whose_weights_are_gone(
    slimmed: list[Path],
    tiny_dir: Path,
    series: Callable[..., LadderSeries],
    whole: Run,
    data: PromptData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = run_compression(series(n=1), data, TINY_SPEC, root=tmp_path / "one")
    assert (one.path / FILE_OF_CHECKPOINTS).stat().st_size < 50_000
    earlier = Earlier.of([one])
    real, done = measure.measure_checkpoint, []
    monkeypatch.setattr(measure, "measure_checkpoint", lambda *a, **k: (done.append(1), real(*a, **k))[1])
    at, names = "safety-dpo-2,helpful-only-dpo-2", [str(path) for path in slimmed]
    with pytest.raises(RunIncompatible, match="were deleted once they were measured"):
        open_ladders(names, at=at, model=str(tiny_dir))
    both = open_ladders(names, at=at, spared=earlier.weights, model=str(tiny_dir))
    run = run_compression(both, data, TINY_SPEC, earlier=earlier, root=tmp_path / "both")
    assert len(done) == 3, "of the second ladder alone"
    assert run.id == whole.id
    pd.testing.assert_frame_equal(run.results(), whole.results())
    assert sample_losses(run).equals(sample_losses(whole))
    assert run.manifest["method"]["notes"] == [f"3 checkpoints were measured by {one.id}"]
    assert whole.manifest["method"]["notes"] == []
    other_rows = replace(TINY_SPEC, held_out=4)
    with pytest.raises(RunIncompatible, match=f"nothing of {one.id} can be taken over"):
        run_compression(both, data, other_rows, earlier=earlier, root=tmp_path / "other")
    mixed = Earlier.of([one, run_compression(series(n=1), data, other_rows, root=tmp_path / "mixed")])
    other_seed = replace(TINY_SPEC, seed=1)
    with pytest.raises(RunIncompatible, match=r"nothing of .* can be taken over"):
        run_compression(both, data, other_seed, earlier=mixed, root=tmp_path / "other")
    swapped = open_ladders(names[::-1], at=at, spared=earlier.weights, model=str(tiny_dir))
    with pytest.raises(RunIncompatible, match="were deleted once they were measured"):
        run_compression(swapped, data, TINY_SPEC, earlier=earlier, root=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert len(done) == 6, "nothing else was measured but what was asked for without earlier results"


def test_what_keeps_no_checkpoints_is_refused(whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / whole.id
    shutil.copytree(whole.path, copy)
    content = bytearray((copy / FILE_OF_CHECKPOINTS).read_bytes())
    content[-1] ^= 1
    (copy / FILE_OF_CHECKPOINTS).write_bytes(content)
    with pytest.raises(RunIncompatible, match=f"{FILE_OF_CHECKPOINTS} was changed after the run was written"):
        Earlier.of([read_run(copy)])
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["method"]["measured_weights"]
    (copy / "manifest.json").write_text(json.dumps(manifest | {"manifest_hash": manifest_hash(manifest)}))
    assert main(["experiment", "compression", "--ladder", "x", "--with", str(copy)]) == 2
    assert "keeps nothing of its checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 6},
        {"held_out": 4},
        {"q_plain": (2e-3, 5e-3)},
        {"max_response_tokens": 10},
        {"seed": 5},
        {"p": 0.2},
        {"set_q": 0.03},
    ],
)
def test_every_setting_changes_the_result(
    changes: dict[str, Any], series: Callable[..., LadderSeries], whole: Run, data: PromptData, tmp_path: Path
) -> None:
    other = run_compression(series(n=1), data, replace(TINY_SPEC, **changes), root=tmp_path)
    assert other.id != whole.id
    plain = run_compression(series(n=1), data, TINY_SPEC, root=tmp_path)
    assert other.id != plain.id
    columns = ["metric", "condition", "value", "contrast", "q"]
    assert not other.results()[columns].equals(plain.results()[columns])


def test_models_by_name_are_compared_with_the_first(
    ladders: list[Ladder], tiny_dir: Path, data: PromptData, tmp_path: Path
) -> None:
    tuned = merge_adapter(tiny_dir, ladders[0].adapter_path("safety-dpo-2"), tmp_path / "tuned")
    made = open_models([Stage("base", str(tiny_dir)), Stage("tuned", str(tuned))], n_splits=2)
    run = run_compression(made, data, TINY_SPEC, root=tmp_path / "runs")
    assert [s["model"] for s in run.manifest["method"]["sources"]] == [str(tiny_dir), str(tuned)]
    assert run.manifest["method"]["notes"]
    by_ladder = run_compression(
        open_ladders([str(ladders[0].path)], at="safety-dpo-2", n_splits=2, model=str(tiny_dir)),
        data,
        TINY_SPEC,
        root=tmp_path / "runs",
    )
    same = values(by_ladder, "separability")
    assert values(run, "separability")["tuned"] == pytest.approx(
        same["safety-dpo-2"], abs=2e-3
    )  # merged in memory or on disk
    assert values(run, "separability")["base"] == same["start"]

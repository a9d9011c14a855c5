"""Alignment compression end to end on tiny ladders and models: selection, stages, resuming, options, errors, the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.compression import measure as compression_module
from harmviz.claims.compression.checkpoints import LadderSeries, ladder_checkpoints, open_ladders, open_models
from harmviz.claims.compression.measure import CompressionSpec, choose_split, run_compression, usable_categories
from harmviz.claims.compression.presets import PRESETS, Stage, preset
from harmviz.claims.compression.rows import planned_tests
from harmviz.claims.compression.selections import ScoringSet, eligible_weights, select_weights, top_weights
from harmviz.cli import main
from harmviz.data.prompts import PromptData, load_prompts
from harmviz.data.splits import SCORING
from harmviz.errors import DataInvalid, HarmvizError, ModelUnavailable, RunIncompatible
from harmviz.masks.lists import guard_score, mean_score
from harmviz.masks.ranking import count_of, selection_order
from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.runs import Run, verify_run
from harmviz.scoring.signed import score_signed
from harmviz.tuning.ladder import run_align
from harmviz.tuning.settings import ARMS, AlignSpec
from harmviz.tuning.stored import Ladder
from tests.worlds.compression import ladder
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import make_data

SPEC = CompressionSpec(
    samples=4,
    safe=2,
    benign=4,
    preserve=4,
    held_out=3,
    benign_held_out=6,
    max_response_tokens=12,
    max_prompt_tokens=200,
    q_plain=(1e-3, 5e-3),
    q_contrastive=(5e-3,),
    set_q=0.02,
)


@pytest.fixture(scope="module")
def ladders(tmp_path_factory: pytest.TempPathFactory) -> list[Ladder]:
    """Two ladders of the tiny model that differ in their seed."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HARMVIZ_CACHE", str(tmp_path_factory.mktemp("ladders")))
    try:
        specs = [AlignSpec(steps=4, max_answer_tokens=6, max_rejected_tokens=4, seed=s) for s in (0, 1)]
        return [run_align(tiny_model(), make_data(), spec, ARMS) for spec in specs]
    finally:
        patch.undo()


@pytest.fixture
def series(ladders: list[Ladder], tiny_dir: Path) -> Callable[..., LadderSeries]:
    def opened(*, n: int = 2, at: str = "safety-dpo-2,helpful-only-dpo-2", **options: Any) -> LadderSeries:
        return open_ladders([str(made.path) for made in ladders[:n]], at=at, model=str(tiny_dir), **options)

    return opened


@pytest.fixture(scope="module")
def data() -> PromptData:
    return load_prompts("builtin")


@pytest.fixture(scope="module")
def whole(ladders: list[Ladder], tiny_dir: Path, data: PromptData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    opened = open_ladders(
        [str(made.path) for made in ladders], at="safety-dpo-2,helpful-only-dpo-2", model=str(tiny_dir)
    )
    return run_compression(opened, data, SPEC, root=tmp_path_factory.mktemp("whole"))


# -- selection --------------------------------------------------------------------------------------------------------
def test_the_best_weights_are_those_of_a_full_sort_under_ties() -> None:
    table = WeightTable([WeightMatrix("a", 0, "x", 40, 50), WeightMatrix("b", 0, "y", 30, 30)])
    rng = np.random.default_rng(0)
    scores = [rng.integers(-3, 4, m.size).astype(np.float32) for m in table]  # seven values: ties everywhere
    eligible = [rng.random(m.size) < 0.7 for m in table]
    flat = np.concatenate([s * e for s, e in zip(scores, eligible, strict=True)])
    order = selection_order(flat)
    order = order[flat[order] > 0]
    for k in (0, 1, 17, 400, 5000):
        found = top_weights(table, scores.__getitem__, eligible, k)
        assert found.tolist() == order[:k].tolist()


def test_streamed_selections_are_those_of_all_scores_at_once(data: PromptData) -> None:
    loaded = tiny_model()
    split = choose_split(data, SPEC, 0, lambda row: True)
    encoded = {key: compression_module._encoded(loaded, rows, SPEC) for key, rows in split.signed.items()}
    preserve = compression_module._encoded(loaded, split.preserve, SPEC)
    done: list[float] = []
    found = select_weights(
        loaded, ScoringSet(encoded, preserve, split.categories), q_max=0.05, set_q=0.02, p=0.1, tick=done.append
    )
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)

    from harmviz.data.encoding import make_batches

    def harm(name: str, halves: tuple[str, ...] = SCORING) -> np.ndarray:
        sums = [score_signed(loaded, make_batches(encoded[name, h], max_tokens=1024)) for h in halves]
        total = sum(np.concatenate([m.numpy().ravel() for m in made]) for made in sums)
        return np.asarray(-total / sum(len(encoded[name, h]) for h in halves), dtype=np.float32)

    eligible = np.concatenate(eligible_weights(loaded, preserve, 0.1))
    assert (~eligible).sum() == count_of(0.1, loaded.table.n_weights)
    assert found.eligible.sum() == eligible.sum()
    guard = guard_score(harm("safe"), harm("benign"))
    n = loaded.table.n_weights

    def best(score: np.ndarray, q: float) -> set[int]:
        order = selection_order(np.where(eligible, score, 0))[: count_of(q, n)]
        return set(order[score[order] > 0].tolist())

    every = [harm(c) for c in split.categories]
    assert set(found.mean["none"].tolist()) == best(mean_score(every), 0.05)
    assert set(found.mean["both"].tolist()) == best(mean_score([h - guard for h in every]), 0.05)
    category = split.categories[2]
    assert set(found.of_set[category, "none", "whole"].tolist()) == best(harm(category), 0.02)
    half = guard_score(harm("safe", SCORING[:1]), harm("benign", SCORING[:1]))
    assert set(found.of_set[category, "both", SCORING[0]].tolist()) == best(harm(category, SCORING[:1]) - half, 0.02)


# -- splits -----------------------------------------------------------------------------------------------------------
def test_every_prompt_of_a_split_has_one_job(data: PromptData) -> None:
    split = choose_split(data, CompressionSpec(), 0, lambda row: True)
    jobs = [[r.prompt_id for r in rows] for rows in (*split.signed.values(), split.preserve, split.held_out)]
    used: dict[str, set[int]] = {}
    for i, prompts in enumerate(jobs):
        for p in prompts:
            used.setdefault(p, set()).add(i)
    held = len(jobs) - 1
    assert not [p for p, of in used.items() if held in of and len(of) > 1], (
        "nothing is measured that was scored or preserved"
    )
    assert len(split.held_out) == len({r.prompt_id for r in split.held_out if r.set == "benign"}) + sum(
        r.set != "benign" for r in split.held_out
    )
    assert {r.set for r in split.held_out} == {*split.categories, *(f"safe:{c}" for c in split.categories), "benign"}
    other = choose_split(data, CompressionSpec(), 1, lambda row: True)
    assert other.row_ids != split.row_ids


def test_data_without_what_it_takes_is_refused(data: PromptData) -> None:
    no_safe = PromptData("d", tuple(r for r in data.rows if not r.set.startswith("safe:")), {}, ())
    with pytest.raises(DataInvalid, match="no harm category has a set safe:<category>"):
        usable_categories(no_safe)
    no_benign = PromptData("d", tuple(r for r in data.rows if r.set != "benign"), {}, ())
    with pytest.raises(DataInvalid, match="no benign rows"):
        usable_categories(no_benign)
    one_less = PromptData("d", tuple(r for r in data.rows if r.set != "safe:hate"), {}, ())
    assert "hate" not in usable_categories(one_less)
    with pytest.raises(DataInvalid, match=r"split 3: 0 usable rows of .* for scoring_a"):
        choose_split(data, SPEC, 3, lambda row: False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"samples": 1}, "samples must be"),
        ({"held_out": 1}, "held_out must be"),
        ({"q_plain": ()}, "q must name"),
        ({"q_plain": (1e-5, 1e-5)}, "q must name"),
        ({"q_contrastive": (0.5,)}, "q must lie in"),
        ({"p": 1.0}, "p must satisfy"),
        ({"max_response_tokens": 2}, "max_response_tokens must be"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CompressionSpec(**changes)


# -- the whole --------------------------------------------------------------------------------------------------------
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
        found = values(whole, metric)
        assert set(found.index) == {*names, *(f"{n}#{s}" for n in names for s in (0, 1))}, metric
        for name in names:
            assert found[name] == pytest.approx(np.mean([found[f"{name}#{s}"] for s in (0, 1)])), metric
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
    # the model is the start again: adapters were taken out bit for bit
    intact = values(whole, "nll")
    assert intact.loc["start"].tolist() != intact.loc["safety-dpo-2"].tolist()


def test_an_interrupted_result_goes_on_to_the_same_rows(
    series: Callable[..., LadderSeries], whole: Run, data: PromptData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = compression_module.measure_checkpoint, []

    def dies_at_the_fourth(*args: Any, **kwargs: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(compression_module, "measure_checkpoint", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run_compression(series(), data, SPEC, root=tmp_path)
    monkeypatch.setattr(compression_module, "measure_checkpoint", lambda *a, **k: (done.append(1), real(*a, **k))[1])
    again = run_compression(series(), data, SPEC, root=tmp_path, resume=True)
    assert len(done) == 6, "finished checkpoints are not measured again"
    assert again.id == whole.id
    pd.testing.assert_frame_equal(again.results(), whole.results())
    stages = list(again.manifest["timings"])
    assert [s for s in stages if s.startswith("split")] == [
        f"split{k}.checkpoint{i}" for k in (0, 1) for i in (0, 1, 2)
    ]


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
    from dataclasses import replace

    other = run_compression(series(n=1), data, replace(SPEC, **changes), root=tmp_path)
    assert other.id != whole.id
    plain = run_compression(series(n=1), data, SPEC, root=tmp_path)
    assert other.id != plain.id
    columns = ["metric", "condition", "value", "contrast", "q"]
    assert not other.results()[columns].equals(plain.results()[columns])


def test_models_by_name_are_compared_with_the_first(
    ladders: list[Ladder], tiny_dir: Path, data: PromptData, tmp_path: Path
) -> None:
    from harmviz.models.adapters import merge_adapter

    tuned = merge_adapter(tiny_dir, ladders[0].adapter_path("safety-dpo-2"), tmp_path / "tuned")
    made = open_models([Stage("base", str(tiny_dir)), Stage("tuned", str(tuned))], n_splits=2)
    run = run_compression(made, data, SPEC, root=tmp_path / "runs")
    assert [s["model"] for s in run.manifest["method"]["sources"]] == [str(tiny_dir), str(tuned)]
    assert run.manifest["method"]["notes"]
    by_ladder = run_compression(
        open_ladders([str(ladders[0].path)], at="safety-dpo-2", n_splits=2, model=str(tiny_dir)),
        data,
        SPEC,
        root=tmp_path / "runs",
    )
    same = values(by_ladder, "separability")
    assert values(run, "separability")["tuned"] == pytest.approx(
        same["safety-dpo-2"], abs=2e-3
    )  # merged in memory or on disk
    assert values(run, "separability")["base"] == same["start"]


# -- series and their errors ------------------------------------------------------------------------------------------
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
    from harmviz.claims.compression import checkpoints

    monkeypatch.setattr(checkpoints, "load_model", lambda *a, **k: pytest.fail("loaded"))
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
        (folder / "manifest.json").write_text(json.dumps(manifest))
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
    from harmviz.claims.compression.checkpoints import Checkpoint

    plain = planned_tests([Checkpoint(n, n) for n in ("base", "sft", "dpo")])
    assert [(t["a"], t["b"], t["kind"]) for t in plain] == [
        ("sft", "base", "start"),
        ("dpo", "base", "start"),
        ("dpo", "sft", "previous"),
    ]


# -- the command ------------------------------------------------------------------------------------------------------
def test_the_command_prints_tables_and_json(
    ladders: list[Ladder], tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [
        "experiment",
        "compression",
        "--ladder",
        str(ladders[0].path),
        "--model",
        str(tiny_dir),
        "--at",
        "safety-dpo-2",
        "--data",
        "builtin",
        "--samples",
        "4",
        "--held-out",
        "3",
        "--q",
        "5e-3",
        "--set-q",
        "0.02",
        "--max-response-tokens",
        "8",
        "--out",
        str(tmp_path),
    ]
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert "plain, as in the paper" in printed
    assert "contrastive" in printed
    assert "safety-dpo-2 minus start" in printed
    assert "not reached" in printed
    assert main([*call, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tests"] == [{"a": "safety-dpo-2", "b": "start", "kind": "start"}]
    assert {r["experiment"] for r in document["rows"]} == {"compression"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of"),
        (["a", "b", "--preset", "olmo3-7b"], "give one of"),
        (["only-one"], "at least 2"),
        (["x", "x"], "twice"),
        (["--preset", "gpt-5"], "preset must be one of"),
        (["a", "b", "--model", "m"], "--model names the start model"),
        (["a", "b", "--splits", "0"], "splits must be"),
        (["a", "b", "--q", "much"], "q must be fractions"),
        (["a", "b", "--samples", "1"], "samples must be"),
        (["--ladder", "nowhere-at-all", "--data", "builtin"], "no such ladder"),
        (["a", "b", "--data", "builtin"], "neither"),
    ],
)
def test_bad_arguments_end_with_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "compression", *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert issubclass(RunIncompatible, HarmvizError)

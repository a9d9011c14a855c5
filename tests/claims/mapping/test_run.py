"""A complete map run of a tiny model: what is in it, what it says, and that no interruption changes a byte of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from harmviz.claims.mapping import stages
from harmviz.claims.mapping.maps import EDGES, matrix_map
from harmviz.claims.mapping.measure import run_map
from harmviz.claims.mapping.sample_losses import sample_losses
from harmviz.claims.mapping.settings import BENIGN_LIMIT, RunSpec
from harmviz.cli import main
from harmviz.data.prompts import load_prompts
from harmviz.masks.candidates import Candidates
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, select
from harmviz.models.load import load_model
from harmviz.models.weights import WeightMatrix
from harmviz.runs import PartialRun, open_run, result_digest, verify_run
from harmviz.scoring import blocks
from tests.conftest import QUICK_RUN, TWO_TYPES
from tests.worlds.kills import killed_at

SPEC = RunSpec(samples=8, q_max=0.05, max_response_tokens=32)
QUICK = replace(SPEC, quick=True)
CATEGORIES = ("exploits", "hate", "misinformation", "privacy", "self_harm", "sexual", "violence")


class Stop(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def frame(tiny_run):
    return open_run(tiny_run).results()


def test_the_run_is_complete_and_verified(tiny_run):
    run = open_run(tiny_run)
    assert verify_run(run) == []
    assert run.manifest["parameters"]["samples"] == 8
    assert not list(tiny_run.parent.glob(".partial*/*"))  # scratch is gone
    assert {f"headline-{s}" for s in ("plain", "contrastive")} <= set(run.masks())


def test_every_prompt_has_one_job(tiny_run):
    counts = open_run(tiny_run).manifest["data"]["counts"]
    for category in CATEGORIES:
        assert counts[category] == {"scoring_a": 4, "scoring_b": 4, "validation": 4, "report": 8}
    assert counts["benign"] == {"scoring_a": 32, "scoring_b": 32, "preserve": 64, "validation": 21, "report": 43}


def test_headline_keeps_the_benign_limit_on_validation_and_is_the_best_that_does(tiny_run, frame):
    run = open_run(tiny_run)
    grid = frame[(frame.condition == "validation") & (frame.metric == "delta_nll")]
    for contrast, point in run.manifest["method"]["headline"].items():
        of_contrast = grid[grid.contrast == contrast]
        assert len(of_contrast[of_contrast.category == "harm"]) == 12  # six q by two p
        benign = of_contrast[of_contrast.category == "benign"].set_index(["q", "p"]).value
        harm = of_contrast[of_contrast.category == "harm"].set_index(["q", "p"]).value
        allowed = benign[benign <= BENIGN_LIMIT[contrast]].index
        assert point["within_benign_limit"] == (len(allowed) > 0)
        if len(allowed):
            assert (point["q"], point["p"]) == harm.loc[allowed].idxmax()


def test_every_effect_has_its_interval_n_and_controls(tiny_run, frame):
    effect = frame[(frame.experiment == "effect") & (frame.metric == "delta_nll") & frame.condition.isna()]
    assert effect.ci_low.notna().all()
    assert ((effect.ci_low <= effect.value) & (effect.value <= effect.ci_high)).mean() > 0.99
    for contrast, point in open_run(tiny_run).manifest["method"]["headline"].items():
        at_point = effect[(effect.contrast == contrast) & (effect.q == point["q"]) & (effect.p == point["p"])]
        at_point = at_point[(at_point["mask"] == "mean(all)") & (at_point.skip_tokens == 0)]
        wanted = {"none", "random", "magnitude", "utility", "benign_signed", "safe_signed", "unprotected"}
        if contrast == "both":
            wanted |= {"mirror_safe", "mirror_benign"}
        assert set(at_point.control) == wanted
        for control in wanted:
            measured = set(at_point[at_point.control == control].category)
            assert {*CATEGORIES, *(f"safe:{c}" for c in CATEGORIES), "harm", "safe", "benign", "benign_own"} >= measured
            assert {*CATEGORIES, "harm", "safe", "benign"} <= measured
    assert set(effect[effect["mask"].isin(CATEGORIES)]["mask"]) == set(CATEGORIES)
    assert set(effect.skip_tokens) == {0, 8}


def test_transfer_overlap_and_concentration_cover_all_sets(frame):
    transfer = frame[(frame.experiment == "transfer") & (frame.metric == "delta_nll")]
    assert set(transfer["mask"]) == set(CATEGORIES)
    assert set(CATEGORIES) | {"benign", "safe"} <= set(transfer.category)
    overlap = frame[(frame.experiment == "overlap") & (frame.metric == "jaccard")]
    pairs = set(zip(overlap["mask"], overlap.category, strict=True))
    assert ("exploits", "hate") in pairs
    assert ("hate", "benign") in pairs
    assert ("benign", "safe") in pairs
    gini = frame[(frame.experiment == "concentration") & (frame.metric == "gini")]
    assert set(gini.category) == {*CATEGORIES, "benign", "safe"}
    assert gini.value.between(0, 1).all()


def test_the_causal_check_holds(frame):
    error = frame[(frame.experiment == "causal") & (frame.metric == "relative_error")]
    assert len(error) == 1
    assert error.value.iloc[0] < 0.02


def test_measured_effects_are_the_losses_of_the_model(tiny_dir, tiny_run, frame):
    """The stored headline effect on one category, recomputed from the stored mask by plain forward passes."""
    import torch

    from harmviz.data.encoding import encode
    from harmviz.data.splits import choose_rows, rows_for, split_prompts
    from harmviz.masks.apply import pruned

    run = open_run(tiny_run)
    loaded, data = load_model(str(tiny_dir)), load_prompts("builtin")
    mask = PruneMask.load(run.masks()["headline-plain"])
    rows = choose_rows(rows_for(data, split_prompts(data, 0), "hate", "report"), None, 0, per_prompt=1)
    samples = [encode(loaded.tokenizer, r, max_response_tokens=32) for r in rows]

    def losses() -> np.ndarray:
        means = []
        for s in samples:
            logits = loaded.model(torch.tensor([s.ids])).logits[0].log_softmax(-1)
            means.append(-np.mean([float(logits[t - 1, s.ids[t]]) for t in range(s.n_prompt, len(s.ids))]))
        return np.array(means)

    with torch.no_grad():
        before = losses()
        with pruned(loaded, mask):
            delta = losses() - before
    point = run.manifest["method"]["headline"]["none"]
    row = frame[
        (frame.experiment == "effect")
        & (frame.metric == "delta_nll")
        & frame.condition.isna()
        & (frame.control == "none")
        & (frame.category == "hate")
        & (frame["mask"] == "mean(all)")
        & (frame.contrast == "none")
        & (frame.q == point["q"])
        & (frame.p == point["p"])
        & (frame.skip_tokens == 0)
    ]
    assert row.n.iloc[0] == len(samples)
    assert row.value.iloc[0] == pytest.approx(delta.mean(), abs=2e-5)


def test_the_losses_of_all_samples_are_kept_and_average_to_the_rows(tiny_run, frame):
    run = open_run(tiny_run)
    kept = sample_losses(run)
    assert set(kept["split"]) == {"validation", "report", "controls"}
    report = kept[kept["split"] == "report"]
    intact = report[report["digest"].isna()].set_index("sample")
    rows = frame[(frame.metric == "delta_nll") & (frame.experiment == "effect") & frame.condition.isna()]
    checked = 0
    for name, skip, column in (("headline-plain", 0, "nll"), ("headline-contrastive", 8, "nll_skip8")):
        mask = PruneMask.load(run.masks()[name])
        pruned = report[report["digest"] == mask.digest].set_index("sample")
        assert list(pruned.index) == list(intact.index)
        delta = pruned[column] - intact[column]
        here = rows[(rows.control == "none") & (rows["mask"] == "mean(all)") & (rows.skip_tokens == skip)]
        here = here[(here.contrast == mask.point.contrast) & (here.q == mask.point.q) & (here.p == mask.point.p)]
        for category, values in delta.groupby(intact["category"]):
            (row,) = here[here.category == category].to_dict("records")
            assert row["value"] == pytest.approx(values.mean(), abs=1e-12)
            checked += 1
    assert checked >= 2 * (len(CATEGORIES) + 2)


def test_harm_minus_safe_is_also_measured_over_matched_answers_and_by_source(frame):
    rows = frame[(frame.experiment == "effect") & frame.condition.isna() & (frame.control == "none")]
    shown = rows[rows["mask"] == "mean(all)"]
    points = shown[shown.metric == "harm_specific"].groupby(["contrast", "q", "p", "skip_tokens"]).ngroups
    for metric in ("harm_specific_matched", "harm_specific_source"):
        assert len(shown[shown.metric == metric]) == points > 1
    assert set(shown[shown.metric == "harm_specific_source"].category) == {"built in"}
    assert set(frame[frame.metric == "matched_gap"].category) == {"length", "loss"}


def test_stored_masks_are_what_the_candidates_select(tiny_run):
    run = open_run(tiny_run)
    candidates = Candidates.load(run.candidates_path)
    for contrast, point in run.manifest["method"]["headline"].items():
        mask = PruneMask.load(run.masks()[point["mask"]])
        chosen = select(candidates, Selection(CATEGORIES, q=point["q"], p=point["p"], contrast=contrast))
        assert np.array_equal(mask.to_global(run.table), np.sort(chosen.global_index))
        assert mask.digest == run.manifest["digests"][f"mask.{point['mask']}"]
        assert mask.provenance["scoring_prompts"]


def test_a_seed_or_an_option_changes_the_run(tiny_dir):
    from harmviz.claims.mapping.measure import map_run_id

    loaded, data = load_model(str(tiny_dir)), load_prompts("builtin")
    specs = [
        SPEC,
        RunSpec(samples=10, q_max=0.05, max_response_tokens=32),
        RunSpec(samples=8, q_max=0.04, max_response_tokens=32),
        RunSpec(samples=8, q_max=0.05, max_response_tokens=33),
        RunSpec(samples=8, q_max=0.05, max_response_tokens=32, seed=1),
        RunSpec(samples=8, q_max=0.05, max_response_tokens=32, skip_tokens=8),
    ]
    assert len({map_run_id(loaded, data, s) for s in specs}) == len(specs)


def test_interrupted_at_any_stage_and_resumed_the_run_is_the_same(tiny_dir, tiny_run, tmp_path):
    """Stopped at the beginning of one stage of every kind and in the middle of others, each time in a fresh process."""
    loaded, data = load_model(str(tiny_dir)), load_prompts("builtin")
    before = (
        "score.utility",
        "score.hate.scoring_a",
        "candidates",
        "halves",
        "measure.intact.report",
        "comparison.snip_abs-wanda",
    )
    within = ("score.benign.scoring_b", "maps", "measure.intact.validation", "causal")
    stopped: set[str] = set()

    def listener(state: dict) -> None:
        stage, inside = state["stage"], state["done"] > 0
        if stage not in stopped and ((stage in before and not inside) or (stage in within and inside)):
            stopped.add(stage)
            raise Stop

    for _ in range(20):
        try:
            run = run_map(loaded, data, SPEC, root=tmp_path, resume=True, listener=listener)
            break
        except Stop:
            assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]  # no reader sees a run yet
    assert set(before) <= stopped
    assert result_digest(run) == result_digest(open_run(tiny_run))


def test_killed_processes_resume_to_the_same_run(tiny_dir, quick_run, tmp_path):
    """SIGKILL at the beginning of a stage, within one, and before the last: nothing can clean up, the next goes on."""
    command = ["run", "--model", str(tiny_dir), *QUICK_RUN, "--out", str(tmp_path), "--resume"]
    killed_at("score.hate.scoring_b", command, inside=True)
    killed_at("candidates", command)
    killed_at("results", command)
    assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert main(command) == 0
    (folder,) = [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert result_digest(open_run(folder)) == result_digest(open_run(quick_run))


def test_stopped_after_its_last_stage_a_run_is_resumed(tiny_dir, quick_run, tmp_path, monkeypatch):
    """Between the results and the manifest: what is left goes on, and measures nothing again."""
    loaded, data = load_model(str(tiny_dir)), load_prompts(str(TWO_TYPES))

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(PartialRun, "commit", stop)
        with pytest.raises(Stop):
            run_map(loaded, data, QUICK, root=tmp_path)
    begun: list[str] = []
    run = run_map(loaded, data, QUICK, root=tmp_path, resume=True, listener=lambda state: begun.append(state["stage"]))
    assert begun == []
    original = open_run(quick_run)
    assert result_digest(run) == result_digest(original)
    for key in ("method", "digests", "data"):
        assert run.manifest[key] == original.manifest[key]


def test_matrix_map_by_hand():
    matrix = WeightMatrix("m", 0, "up", 2, 3)
    entries = matrix_map(matrix, np.array([1, -2, 3, 0, 0.5, -0.25], np.float32))
    assert entries["positive_mass"] == 4.5
    assert entries["negative_mass"] == -2.25
    assert entries["n_positive"] == 3
    assert entries["histogram"].sum() == 3
    assert entries["histogram"][np.searchsorted(EDGES, 0.5, side="right")] == 1
    assert np.allclose(entries["out_mass"][:2], [4, 0.5])  # row sums of the positive part
    assert np.allclose(entries["in_mass"][:3], [1, 0.5, 3])
    assert np.isnan(entries["tile_max"][2:]).all()  # a 2 × 3 matrix fills 2 × 3 tiles: the rest is not measured
    assert np.allclose(entries["tile_mean"][:2, :3], [[1, -2, 3], [0, 0.5, -0.25]])


def test_a_transposed_matrix_is_shown_as_out_by_in():
    stored = np.arange(6, dtype=np.float32)  # d_in = 2 rows, d_out = 3 columns
    entries = matrix_map(WeightMatrix("m", 0, "c_fc", 2, 3, transposed=True), stored)
    assert np.allclose(entries["out_mass"][:3], [3, 5, 7])
    assert np.allclose(entries["in_mass"][:2], [3, 12])


@pytest.mark.parametrize("share", [0.1, 100.0])
def test_where_no_disk_holds_the_scores_the_run_is_the_same(tiny_dir, quick_run, tmp_path, monkeypatch, share):
    """Computed in several blocks, and in one."""
    loaded, data = load_model(str(tiny_dir)), load_prompts(str(TWO_TYPES))
    monkeypatch.setattr(stages.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(blocks, "free_on", lambda _: int(share * 16 * 8 * loaded.table.n_weights))
    seen = []
    run = run_map(loaded, data, QUICK, root=tmp_path, listener=lambda state: seen.append(state))
    assert result_digest(run) == result_digest(open_run(quick_run))
    assert not any(state["stage"].startswith("score.") for state in seen)
    assert all(0 <= a["fraction"] <= b["fraction"] <= 1 for a, b in pairwise(seen))

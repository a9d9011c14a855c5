"""The rows of the stable index, and that the samples' losses which a result keeps give them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.compression.sample_losses import FILE, resampled, sample_losses
from harmviz.claims.compression.settings import LIMITS
from harmviz.claims.compression.stable_rows import stable_rows
from harmviz.claims.compression.stored import read_result
from harmviz.claims.compression.swap_test import holm
from harmviz.claims.compression.under_limit import judged, sentence
from harmviz.errors import RunIncompatible
from harmviz.runs import Run, rows_to_frame, verify_run
from tests.worlds.compression import CATEGORIES, SPEC, aligned_effects, ladder, results, store
from tests.worlds.fabricated import make_run

CHECKPOINTS = ladder(stages=(("dpo", 40),))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six tuning seeds."""
    planted = results(
        aligned_effects(CHECKPOINTS, safety=0.5, other=0.1), CHECKPOINTS, splits=6, noise=0.03, benign=0.08
    )
    return store(tmp_path_factory.mktemp("six") / "runs", planted)


def of(run: Run, metric: str, contrast: str = "both") -> pd.DataFrame:
    rows = run.results()
    return rows[(rows["metric"] == metric) & (rows["contrast"] == contrast)]


@pytest.mark.parametrize("metric", ["stable_difference", "benign_difference", "ratio_to_benign_difference"])
def test_every_planned_difference_has_each_fixed_fraction_and_each_of_six_seeds(run: Run, metric: str) -> None:
    tests = [f"{t['a']} minus {t['b']}" for t in run.manifest["method"]["tests"]]
    for contrast, fractions in (("both", [2e-5, 5e-5]), ("none", [1e-5])):
        rows = of(run, metric, contrast)
        assert sorted(set(rows["q"])) == fractions
        assert set(rows["condition"]) == {*tests, *(f"{t}#{seed}" for t in tests for seed in range(6))}
        main = rows[rows["condition"].isin(tests)]
        if metric != "ratio_to_benign_difference":
            assert (main["ci_low"] <= main["value"]).all()
            assert (main["value"] <= main["ci_high"]).all()
            for (condition, q), group in main.groupby(["condition", "q"]):
                each = rows[rows["condition"].str.startswith(f"{condition}#") & (rows["q"] == q)]["value"]
                assert group["value"].item() == pytest.approx(each.mean())
        alone = rows[~rows["condition"].isin(tests)]
        assert alone["ci_low"].isna().all()


def test_differences_are_those_of_the_checkpoints_own_shifts(run: Run) -> None:
    for metric, own, category in (
        ("stable_difference", "harm_specific", "harm"),
        ("benign_difference", "delta_nll", "benign"),
    ):
        shifts = of(run, own)
        shifts = shifts[shifts["category"] == category].set_index(["condition", "q"])["value"]
        for row in of(run, metric).itertuples():
            a, rest = row.condition.split(" minus ")
            b, _, seed = rest.partition("#")
            ends = f"#{seed}" if seed else ""
            assert row.value == pytest.approx(shifts[f"{a}{ends}", row.q] - shifts[f"{b}{ends}", row.q])


def test_ratios_are_harm_specific_over_benign(run: Run) -> None:
    specific = of(run, "harm_specific").set_index(["condition", "q"])["value"]
    benign = of(run, "delta_nll")
    benign = benign[benign["category"] == "benign"].set_index(["condition", "q"])["value"]
    known = of(run, "ratio_to_benign").dropna(subset=["value"])
    assert {c.name for c in CHECKPOINTS} <= set(known["condition"])
    for row in known.itertuples():
        assert row.value == pytest.approx(specific[row.condition, row.q] / benign[row.condition, row.q])


def test_holm_corrects_over_all_tests_at_all_fixed_fractions(run: Run) -> None:
    raw, corrected = of(run, "stable_p_swap"), of(run, "stable_p_holm")
    assert len(raw) == 2 * len(run.manifest["method"]["tests"])
    assert corrected["value"].tolist() == pytest.approx(holm(raw["value"].tolist()))
    safety = corrected[corrected["condition"] == "safety-dpo-40 minus start"]
    assert (safety["value"] < 0.01).all()


def test_the_curve_over_the_limit_passes_through_the_limit_in_use(run: Run) -> None:
    for contrast, limit in run.manifest["parameters"]["benign_limit"].items():
        for metric in ("separability", "separability_difference"):
            in_use = of(run, metric, contrast).set_index("condition")
            curve = of(run, f"{metric}_at_{limit:g}", contrast).set_index("condition")
            pd.testing.assert_frame_equal(
                curve.loc[[c for c in curve.index if "#" not in c], ["value", "ci_low", "ci_high"]],
                in_use.loc[[c for c in in_use.index if "#" not in c], ["value", "ci_low", "ci_high"]],
            )
    for condition in (c.name for c in CHECKPOINTS):
        values = [of(run, f"separability_at_{limit:g}").set_index("condition")["value"][condition] for limit in LIMITS]
        assert values == sorted(values), "a looser limit never has less"


def test_the_samples_losses_are_kept_and_give_the_rows_again(run: Run) -> None:
    assert verify_run(run) == []
    kept = sample_losses(run)
    assert len(kept) == 6 * len(CHECKPOINTS) * (1 + len(SPEC.points)) * len(kept[kept["seed"] == 0]["sample"].unique())
    assert set(kept["category"]) == {*CATEGORIES, *(f"safe:{c}" for c in CATEGORIES), "benign"}
    world = resampled(run)
    again = rows_to_frame(stable_rows(world, CHECKPOINTS, range(6), "both", SPEC.seed))
    stored = run.results()
    stored = stored[stored["metric"].isin(set(again["metric"])) & (stored["contrast"] == "both")]
    pd.testing.assert_frame_equal(again.reset_index(drop=True), stored.reset_index(drop=True))


def test_a_result_without_them_says_so(tmp_path: Path, run: Run) -> None:
    old = make_run(tmp_path, rows=[], kind="experiment", weights=[], method=run.manifest["method"])
    with pytest.raises(RunIncompatible, match=rf"has no {FILE}; choose a run that computed it"):
        sample_losses(old)
    cut = store(tmp_path / "cut", results(aligned_effects(CHECKPOINTS), CHECKPOINTS, splits=1))
    method = {**cut.manifest["method"], "split_seeds": [0, 1]}
    with pytest.raises(RunIncompatible, match="does not hold every checkpoint of split 1"):
        resampled(Run(cut.path, {**cut.manifest, "method": method}))


def test_the_index_under_a_limit_keeps_its_words(run: Run) -> None:
    stored = read_result(run, run.results(), "both")
    assert sentence(stored).startswith("With benign ΔL at most +0.10, safety tuning makes harm more separable: +0.")
    assert sentence(stored).endswith(", and more than every control tuning")
    assert {judged(d) for d in stored.against_controls()} == {"more separable"}
    assert np.isfinite(stored.limit)

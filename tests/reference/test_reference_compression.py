"""The committed compression result: made from the ladders that ship, with their controls, and what the README says of
it.
"""

from __future__ import annotations

import pytest

from harmviz.claims.compression.finding import finding
from harmviz.claims.compression.fixed_difference import FixedResult
from harmviz.claims.compression.ladder_series import ladder_checkpoints
from harmviz.claims.compression.stored import read_result
from harmviz.claims.compression.under_limit import sentence
from harmviz.paths import shipped_runs_root
from harmviz.tuning.settings import ARMS, STAGES
from harmviz.tuning.stored import open_ladder

EXPERIMENT = "compression"


@pytest.fixture(scope="module")
def ladders(result):
    """The ladders it was made from, every adapter checked against its sha256."""
    return [open_ladder(shipped_runs_root() / source["ladder"]) for source in result.manifest["method"]["sources"]]


@pytest.fixture(scope="module")
def row(result):
    """(metric, condition, contrast) → its row."""
    frame = result.results()

    def one(metric, condition, contrast):
        (found,) = frame[
            (frame.metric == metric) & (frame.condition == condition) & (frame.contrast == contrast)
        ].itertuples()
        return found

    return one


def test_it_rests_on_three_tuning_seeds_of_all_arms_and_stages(result, ladders):
    assert (
        len({ladder.settings["seed"] for ladder in ladders})
        == len(ladders)
        == len(result.manifest["method"]["split_seeds"])
        == 3
    )
    for ladder in ladders:
        assert [c.as_dict() for c in ladder_checkpoints(ladder, "dpo-10,safety-sft-80")] == result.manifest["method"][
            "checkpoints"
        ]
        assert {(e["arm"], e["stage"]) for e in ladder.checkpoints} == {
            (arm, stage) for arm in ARMS for stage in STAGES
        }
        assert sum(p.stat().st_size for p in ladder.path.rglob("*") if p.is_file()) <= 25e6


def test_both_refusal_arms_decline_and_helpful_only_does_not(ladders):
    for ladder in ladders:
        declines = {
            e["arm"]: e["numbers"]["refusal/harmful"]["value"] for e in ladder.checkpoints if e["stage"] == "dpo"
        }
        assert min(declines["safety"], declines["refusal-style"]) > 0.5 > 0.1 > declines["helpful-only"]
        harmless = {
            e["arm"]: e["numbers"]["refusal/benign"]["value"] for e in ladder.checkpoints if e["stage"] == "dpo"
        }
        assert harmless["refusal-style"] > harmless["safety"] >= harmless["helpful-only"]


def test_under_a_limit_contrastive_separability_rises_under_every_tuning_seed_and_under_no_control(row):
    for seed in range(3):
        start = row("separability", f"start#{seed}", "both").value
        assert row("separability", f"safety-dpo-10#{seed}", "both").value > start + 0.04
        for control in ("helpful-only", "refusal-style"):
            assert abs(row("separability", f"{control}-dpo-10#{seed}", "both").value - start) < 0.02


def test_under_a_limit_swaps_tell_safety_tuning_from_start_and_controls_the_interval_does_not(result, row):
    for other in ("start", "helpful-only-dpo-10", "refusal-style-dpo-10"):
        assert row("p_holm", f"safety-dpo-10 minus {other}", "both").value < 0.01
    assert row("separability_difference", "safety-dpo-10 minus start", "both").ci_low < 0
    assert sentence(read_result(result, result.results(), "both")).startswith(
        "With benign ΔL at most +0.10, undecided: +0.05"
    )
    assert row("separability_difference", "safety-dpo-10 minus helpful-only-dpo-10", "both").ci_low > 0


def test_made_before_the_stable_index_it_shows_its_values_at_fixed_fractions(result, row):
    """Contrastive masks move everything further, benign answers too; as in the paper benign ΔL falls meanwhile."""
    assert finding(result).verdict == "made before the stable index"
    both, plain = (FixedResult(read_result(result, result.results(), c)) for c in ("both", "none"))
    assert [d.q for d in both.against_start()] == [2e-5, 5e-5]
    for d in (*both.against_start(), *both.against_controls(), *plain.against_start(), *plain.against_controls()):
        assert d.specific.value > 0
        assert d.above == d.n_splits == 3
        assert d.judged == "not tested"
    largest = both.against_start()[-1]
    assert largest.benign.value > 0.05
    assert abs(largest.ratio.value) < 0.1
    (in_paper,) = plain.against_start()
    assert in_paper.benign.value < 0 < in_paper.ratio.value

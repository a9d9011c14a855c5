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


def test_it_rests_on_six_tuning_seeds_of_all_arms_and_stages(result, ladders):
    assert (
        len({ladder.settings["seed"] for ladder in ladders})
        == len(ladders)
        == len(result.manifest["method"]["split_seeds"])
        == 6
    )
    for ladder in ladders:
        assert [c.as_dict() for c in ladder_checkpoints(ladder, "dpo-10")] == result.manifest["method"]["checkpoints"]
        assert {(e["arm"], e["stage"]) for e in ladder.checkpoints} == {
            (arm, stage) for arm in ARMS for stage in STAGES
        }
        assert sum(p.stat().st_size for p in ladder.path.rglob("*") if p.is_file()) <= 25e6


def test_both_refusal_arms_decline_and_helpful_only_does_not(ladders):
    def declined(ladder, numbers):
        return {e["arm"]: e["numbers"][numbers]["value"] for e in ladder.checkpoints if e["stage"] == "dpo"}

    for ladder in ladders:
        harmful, harmless = declined(ladder, "refusal/harmful"), declined(ladder, "refusal/benign")
        assert min(harmful["safety"], harmful["refusal-style"]) > 0.5 > 0.1 > harmful["helpful-only"]
        assert harmless["refusal-style"] >= harmless["safety"] >= harmless["helpful-only"]
    pooled = {arm: sum(declined(ladder, "refusal/benign")[arm] for ladder in ladders) for arm in ARMS}
    assert pooled["refusal-style"] > 1.5 * pooled["safety"] > 0 == pooled["helpful-only"]


def test_under_a_limit_nothing_is_decided(result, row):
    """Another limit is another figure, and no interval of the difference to the start is clear of 0."""
    assert row("separability_difference", "safety-dpo-10 minus start", "both").ci_low < 0
    assert sentence(read_result(result, result.results(), "both")).startswith(
        "With benign ΔL at most +0.10, no difference"
    )


def test_selected_as_in_the_paper_learning_to_decline_does_most_of_it(result):
    plain = FixedResult(read_result(result, result.results(), "none"))
    (start,), controls = plain.against_start(), plain.against_controls()
    assert start.judged == "larger"
    assert (start.above, start.n_splits) == (6, 6)
    assert start.benign.high < 0 < start.ratio.low
    beyond = {d.judged: d for d in controls}
    assert beyond["larger"].specific.low > 0
    assert beyond["undecided"].specific.low < 0 < beyond["undecided"].specific.high
    assert beyond["undecided"].specific.value < 0.5 * start.specific.value
    assert (
        "Selected as in the paper, safety tuning moves harm further, but not beyond every" in finding(result).sentence
    )


def test_selected_contrastive_harm_moves_beyond_every_control_and_its_ratio_to_benign_is_open(result):
    both = FixedResult(read_result(result, result.results(), "both"))
    start, controls = both.against_start(), both.against_controls()
    assert [d.q for d in start] == [2e-5, 5e-5]
    assert len(controls) == 4
    for d in (*start, *controls):
        assert d.judged == "larger"
        assert d.specific.low > 0
        assert d.above == d.n_splits == 6
    assert all(d.ratio.low < 0 < d.ratio.high and d.benign.low < 0 < d.benign.high for d in start)
    assert finding(result).sentence.startswith("Selected contrastive, undecided")

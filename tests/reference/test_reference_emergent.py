"""The committed result on narrow tuning: whole, complete, and what the README says of it."""

from __future__ import annotations

import json

import pytest

from harmviz.claims.emergent.data import load_domain, load_questions
from harmviz.claims.emergent.settings import ARMS
from harmviz.masks.mask import PruneMask

EXPERIMENT = "emergent"


@pytest.fixture(scope="module")
def value(result):
    frame = result.results()

    def one(metric, arm, category):
        own = {"random-held": "random", "benign-held": "benign_signed"}.get(arm, "none")
        (row,) = frame[
            (frame.metric == metric)
            & (frame.condition == arm)
            & (frame.category == category)
            & (frame.control == own)
            & (frame["mask"] != "general")
        ].itertuples()
        return row

    return one


def test_every_arm_is_there(result):
    assert set(result.manifest["method"]["arms"]) >= set(ARMS)
    assert len(result.manifest["parameters"]["seeds"]) == 3
    assert result.manifest["parameters"]["epochs"] == 1
    assert sum(result.manifest["timings"].values()) <= 90 * 60


def test_answers_are_to_the_questions_that_ship(result):
    prompts = {q.prompt for q in load_questions()}
    lines = [json.loads(line) for line in result.file("results/transcripts.jsonl").read_text().splitlines()]
    assert lines
    assert {line["prompt"] for line in lines} <= prompts
    assert not prompts & {r.prompt for r in load_domain("money")}


def test_narrow_tuning_takes_hold_and_spreads(value):
    inside, broad = (value("log_odds_shift", "narrow-bad", c) for c in ("in_domain", "broad"))
    assert inside.ci_low > 0
    assert broad.ci_low > 0
    assert broad.n == 102
    assert value("log_odds_shift", "narrow-good", "broad").ci_high < 0


def test_pruning_first_takes_off_a_little_and_controls_nothing(value, result):
    shift, part = (
        value("difference_from_bad", "pruned-held", "broad"),
        value("relative_reduction", "pruned-held", "broad"),
    )
    assert shift.ci_high < 0
    assert 0 < part.value < 0.2 > part.ci_high  # the README: a tenth of it, not most of it
    for arm in ("random-held", "benign-held"):
        control = value("difference_from_bad", arm, "broad")
        assert control.ci_low < 0 < control.ci_high
    frame = result.results()
    excess = frame[
        (frame.metric == "excess_over_control") & (frame.condition == "pruned-held") & (frame.category == "broad")
    ]
    assert set(excess.control) == {"random", "benign_signed"}
    assert (excess.ci_high < 0).all()


def test_bad_tuning_works_on_the_harm_weights_and_good_tuning_does_not(value):
    bad, good = (value("change_share_times_chance", arm, "weights") for arm in ("narrow-bad", "narrow-good"))
    assert bad.ci_low > 1.2
    assert good.ci_low < 1 < good.ci_high


def test_held_weights_were_zero_at_every_saved_step(value):
    for arm in ("pruned-held", "random-held", "benign-held"):
        row = value("held_nonzero", arm, "weights")
        assert row.value == 0
        assert row.n == 3 * 4  # seeds × saved steps


def test_controls_prune_as_many_weights(result):
    masks = {name: PruneMask.load(path) for name, path in result.masks().items()}
    for seed in result.manifest["parameters"]["seeds"]:
        harm, random = masks[f"harm-{seed}"], masks[f"random-{seed}"]
        assert {n: len(i) for n, i in harm.indices.items()} == {n: len(i) for n, i in random.indices.items()}
        assert masks[f"benign-{seed}"].n_weights == harm.n_weights
        assert (harm & random).n_weights == 0

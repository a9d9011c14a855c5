"""The committed result on narrow tuning: whole, complete, and what the README says of it."""

from __future__ import annotations

import json

import pytest

from harmviz.emergent.data import load_domain, load_questions
from harmviz.emergent.settings import ARMS
from harmviz.masks.mask import PruneMask
from harmviz.paths import PACKAGE
from harmviz.store import list_runs, shipped_runs, verify_run

ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def result():
    (found,) = [r for r in list_runs(ROOT / "cache" / "runs") if r.id in shipped_runs() and r.manifest["method"].get("experiment") == "emergent"]
    return found


@pytest.fixture(scope="module")
def value(result):
    frame = result.results()

    def one(metric, arm, category, control=None):
        rows = frame[(frame.metric == metric) & (frame.condition == arm) & (frame.category == category) & (frame["mask"] != "general")]
        rows = rows if control is None else rows[rows.control == control]
        assert len(rows) == 1 or control is None, (metric, arm, category)
        return rows.iloc[0]

    return one


def test_it_is_whole_small_and_was_made_on_the_committed_run(result):
    assert verify_run(result) == []
    assert sum(p.stat().st_size for p in result.path.rglob("*") if p.is_file()) <= 25e6
    (parent,) = result.manifest["parents"]
    assert (ROOT / "cache" / "runs" / parent / "manifest.json").is_file()
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

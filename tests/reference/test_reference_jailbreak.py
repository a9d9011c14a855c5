"""The committed jailbreak grid: mild, complete, and what the README says of it."""

from __future__ import annotations

import json

import pytest

from harmviz.claims.jailbreak.attacks import load_attacks
from harmviz.claims.jailbreak.finding import GIVES_WAY, PAYS, finding, grid_of
from harmviz.claims.jailbreak.measure import TRANSCRIPTS
from harmviz.data.prompts import read_builtin

EXPERIMENT = "jailbreak"


@pytest.fixture(scope="module")
def grid(result):
    return grid_of(result)


def test_every_attack_was_tried(result):
    assert [a["id"] for a in result.manifest["method"]["attacks"]] == [a.id for a in load_attacks()]


def test_every_stored_answer_is_to_a_request_that_ships_with_harmviz(result):
    asked = {r["prompt"] for name in ("harmful", "benign") for r in read_builtin(name)}
    lines = [json.loads(line) for line in result.file(TRANSCRIPTS).read_text().splitlines()]
    assert lines
    assert {line["request"] for line in lines} <= asked


def test_attacks_pass_the_guardrail(grid):
    assert grid.row("from_direct_refusal_rate", "intact", None)["ci_high"] < 0


def test_the_runs_own_masks_decline_more_of_everything(grid):
    for mask in ("plain", "contrastive"):
        for kind in ("harm", "benign"):
            assert grid.row("excess_refusal_rate", mask, None, kind)["ci_low"] > 0


def test_the_scenes_mask_is_no_defence_against_other_wrappers(grid):
    assert grid.row("excess_refusal_rate", "guarded", None)["ci_high"] < 0
    assert grid.row("excess_refusal_rate", "guarded", None, "benign")["ci_low"] < 0
    assert (
        grid.row("refusal_rate", "guarded", "split")["ci_high"] < grid.row("refusal_rate", "intact", "split")["value"]
    )


def test_behind_its_opener_it_declines_no_less_and_nothing_harmless(grid):
    intact, guarded = (grid.row("refusal_rate", mask, "prefill") for mask in ("intact", "guarded"))
    assert guarded["value"] > intact["value"]
    assert guarded["ci_low"] < intact["ci_high"], "within chance"
    assert grid.row("refusal_rate", "guarded", "prefill", "benign")["value"] == 0


def test_the_verdicts(result):
    stored = finding(result)
    assert stored.verdict == GIVES_WAY
    assert {mask: numbers["verdict"] for mask, numbers in stored.numbers["masks"].items()} == {
        "plain": PAYS,
        "contrastive": PAYS,
        "guarded": GIVES_WAY,
    }

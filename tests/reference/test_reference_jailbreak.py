"""The committed jailbreak grid: whole, mild, and what the README says of it."""

from __future__ import annotations

import json

import pytest

from harmviz.experiments.jailbreak.experiment import TRANSCRIPTS
from harmviz.prompts import read_builtin
from harmviz.store import shipped_runs, verify_run
from harmviz.ui.jailbreak import Grid, grid_rows


@pytest.fixture(scope="module")
def result(committed):
    return committed("jailbreak")


@pytest.fixture(scope="module")
def grid(result):
    return Grid(grid_rows(result.results()))


def test_it_is_whole_and_was_made_on_committed_runs(result):
    assert verify_run(result) == []
    assert set(result.manifest["parents"]) <= shipped_runs()
    assert len(result.manifest["method"]["attacks"]) == 12


def test_every_stored_answer_is_to_a_request_that_ships_with_harmviz(result):
    asked = {r["prompt"] for name in ("harmful", "benign") for r in read_builtin(name)}
    lines = [json.loads(line) for line in result.file(TRANSCRIPTS).read_text().splitlines()]
    assert lines
    assert {line["request"] for line in lines} <= asked


def test_attacks_pass_the_guardrail_and_the_guarded_mask_resists(grid):
    lost = grid.row("from_direct_refusal_rate", "intact", None)
    assert lost["ci_high"] < 0
    assert grid.row("excess_refusal_rate", "guarded", None)["ci_low"] > 0

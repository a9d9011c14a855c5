"""What a run found, on its card: of experiments the finding's own sentence, escaped; what no rule can read is said."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import pytest

from harmviz.claims import claim_of
from harmviz.claims.claim import Finding
from harmviz.claims.jailbreak import finding
from harmviz.paths import shipped_runs_root
from harmviz.runs import Run, list_runs, open_run
from harmviz.tuning.stored import is_ladder
from harmviz.ui.run_card import compact_card, run_card
from tests.worlds.fabricated import make_run
from tests.worlds.jailbreak import make_experiment

COMMITTED = [r for r in list_runs(shipped_runs_root()) if r.kind == "experiment" and not is_ladder(r)]


@pytest.fixture
def experiment(tmp_path: Path) -> Run:
    make_run(tmp_path)
    made = make_experiment(tmp_path)
    return made if isinstance(made, Run) else open_run(made)


def test_an_experiment_says_its_finding(experiment: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claim_of(experiment)
    assert claim is not None
    results = experiment.results()
    sentence = finding.finding(experiment, results).sentence
    for card in (compact_card(experiment, results), run_card(experiment, results)):
        assert sentence.split(",")[0] in card
        assert claim.title in card
        assert "no effect measured" not in card
    monkeypatch.setattr(finding, "finding", lambda *_: Finding("v", "<img src=x>"))
    assert "<img" not in compact_card(experiment, results)


@pytest.mark.parametrize("run", COMMITTED, ids=[run.id for run in COMMITTED])
def test_every_committed_experiment_says_its_finding(run: Run) -> None:
    claim = claim_of(run)
    assert claim is not None
    sentence = claim.face("finding").finding(run).sentence
    assert escape(sentence) in compact_card(run, run.results())


def test_a_finding_that_cannot_be_read_is_said(experiment: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Finding:
        return Finding("v", json.loads("{}")["arms"])

    monkeypatch.setattr(finding, "finding", broken)
    assert "its finding cannot be read (KeyError)" in compact_card(experiment, experiment.results())

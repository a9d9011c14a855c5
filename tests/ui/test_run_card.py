"""What a run found, on its card: of experiments the finding's own sentence, escaped; what no rule can read is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmviz.claims import claim_of
from harmviz.claims.claim import Finding
from harmviz.claims.jailbreak import finding
from harmviz.runs import Run, open_run
from harmviz.ui.run_card import compact_card, run_card
from tests.worlds.fabricated import make_run
from tests.worlds.jailbreak import make_experiment


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


def test_a_finding_that_cannot_be_read_is_said(experiment: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Finding:
        return Finding("v", json.loads("{}")["arms"])

    monkeypatch.setattr(finding, "finding", broken)
    assert "its finding cannot be read (KeyError)" in compact_card(experiment, experiment.results())

"""``judge evaluate``: stored quality without running anything, a judge against labels, one line for what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harmviz.cli import main
from harmviz.commands.judge import measured
from harmviz.judges.endpoint import MODEL, URL
from harmviz.judges.protocol import scored, unscored


def test_overview_shows_every_judge_with_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "evaluate", "--json"]) == 0
    listed = {j["name"]: j for j in json.loads(capsys.readouterr().out)["judges"]}
    assert listed["endpoint"]["quality"] is None
    measures = {(m["measure"], m["by"], m["on"]): m for m in listed["offline-harm"]["quality"]["measures"]}
    assert measures["auc", "judge", "human labels"]["n"] > 900
    assert ("auc", "judge", "built-in mild texts") in measures  # what it cannot do stands there, too
    assert main(["judge", "evaluate"]) == 0
    assert "keyword  (keyword, refusal, at hand)" in capsys.readouterr().out


def test_the_offline_judge_is_not_run_on_what_it_was_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "evaluate", "--judge", "offline-refusal", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == 0
    assert "had not seen" in err


def test_measured_by_hand() -> None:
    """Labels 1 0 1 0 against yes yes no no and one unscored: half right, half of the yes right, half of the 1 seen."""
    verdicts = [scored(0.9, True), scored(0.8, True), scored(0.1, False), scored(0.2, False), unscored("down")]
    measures = measured(verdicts, np.array([1.0, 0.0, 1.0, 0.0, 1.0]), np.arange(5), "refusal")
    assert {m.measure: (m.value, m.n) for m in measures} == {
        "accuracy": (0.5, 4),
        "precision": (0.5, 2),
        "recall": (0.5, 2),
        "auc": (0.5, 4),
    }
    perfect = measured(verdicts[:1], np.array([1.0]), np.arange(1), "refusal")
    assert perfect[0].ci_low is not None
    assert perfect[0].ci_low < 0.5  # one answer proves little
    assert measured([unscored("down")], np.array([1.0]), np.arange(1), "harm") == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "--judge", "nobody"], "judge must be one of"),
        (["evaluate", "--judge", "keyword", "--limit", "0"], "--limit must be at least 1"),
        (["evaluate", "--judge", "endpoint"], f"set {URL} and {MODEL}"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL, raising=False)
    monkeypatch.delenv(MODEL, raising=False)
    assert main(["judge", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_keyword_judge_on_the_fetched_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "evaluate", "--judge", "keyword", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    measures = {m["measure"]: m for m in document["measures"]}
    assert (document["n"], document["unscored"]) == (169, [])
    assert measures["recall"]["value"] == pytest.approx(57 / 109)
    assert measures["precision"]["ci_low"] == pytest.approx(0.937, abs=0.001)  # Wilson's, where all agree

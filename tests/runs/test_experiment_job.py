"""An experiment is a run like every other: one id for equal settings, resumable, complete or invisible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.errors import RunNotFound
from harmviz.runs import Row, open_run, verify_run
from harmviz.runs.experiment import Experiment, Plan, run_experiment
from tests.worlds.fabricated import manifest


def plan(**changes: Any) -> Plan:
    facts = manifest()
    return Plan(
        **{
            "name": "jailbreak",
            "version": 1,
            "model": facts["model"],
            "data": facts["data"],
            "units": 3.0,
            "parameters": {"tokens": 8},
            "seeds": {"run": 0},
            "notes": {"masks": ["a"]},
            **changes,
        }
    )


def work(calls: list[str], fail_at: str = "") -> Any:
    def do(experiment: Experiment) -> dict[str, Any]:
        def losses() -> np.ndarray:
            calls.append("losses")
            return np.array([[1.0, 2.0], [3.0, 4.5]])

        found = experiment.array("losses", 2.0, losses)

        def rows() -> Iterator[Row]:
            calls.append("rows")
            if fail_at == "rows":
                raise KeyboardInterrupt
            yield Row(experiment="jailbreak", metric="refusal_rate", value=float(found[1, 1]), n=2)

        experiment.rows("grid", rows, 1.0)
        return {"collapsed": []}

    return do


def test_it_is_stored_with_name_parents_and_rows(tmp_path: Path) -> None:
    states: list[dict[str, Any]] = []
    run = run_experiment(plan(parents=["p-1"]), work([]), root=tmp_path, listener=states.append)
    assert (run.kind, run.manifest["parents"], verify_run(run)) == ("experiment", ["p-1"], [])
    assert run.manifest["method"] == {"experiment": "jailbreak", "version": 1, "masks": ["a"], "collapsed": []}
    assert run.results().value.tolist() == [4.5]
    assert run.id.startswith("smollm2-135m-instruct-jailbreak-")
    assert states[0]["stage"] == "losses"
    assert not (run.path / "scratch").exists()


def test_an_interrupted_one_is_invisible_and_goes_on(tmp_path: Path) -> None:
    calls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_experiment(plan(), work(calls, fail_at="rows"), root=tmp_path)
    with pytest.raises(RunNotFound):
        open_run("latest", tmp_path)
    run = run_experiment(plan(), work(calls), root=tmp_path, resume=True)
    assert calls == ["losses", "rows", "rows"]  # the finished stage was not done again
    assert run.results().value.tolist() == [4.5]
    again: list[str] = []
    assert run_experiment(plan(), work(again), root=tmp_path) == run
    assert again == []


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"parameters": {"tokens": 9}},
        {"seeds": {"run": 1}},
        {"parents": ["x"]},
        {"determinants": {"m": "1"}},
    ],
)
def test_every_setting_changes_the_id(changes: dict[str, Any]) -> None:
    assert plan(**changes).run_id != plan().run_id


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of"):
        plan(name="magic")

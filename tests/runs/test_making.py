"""What is made is a run like every other: one id for equal settings, resumable, complete or invisible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.errors import RunNotFound
from harmviz.runs import Row, begin, open_run, verify_run
from harmviz.runs.making import Making, Plan, _manifest, make
from harmviz.runs.progress import Progress
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
    def do(making: Making) -> dict[str, Any]:
        def losses() -> np.ndarray:
            calls.append("losses")
            return np.array([[1.0, 2.0], [3.0, 4.5]])

        array = making.array("losses", 2.0, losses)

        def rows() -> Iterator[Row]:
            calls.append("rows")
            if fail_at == "rows":
                raise KeyboardInterrupt
            yield Row(experiment="jailbreak", metric="refusal_rate", value=float(array[1, 1]), n=2)

        making.rows("grid", rows, 1.0)
        return {"collapsed": []}

    return do


def test_it_is_stored_with_name_parents_and_rows(tmp_path: Path) -> None:
    states: list[dict[str, Any]] = []
    run = make(plan(parents=["p-1"]), work([]), root=tmp_path, listener=states.append)
    assert (run.kind, run.manifest["parents"], verify_run(run)) == ("experiment", ["p-1"], [])
    assert run.manifest["method"] == {"experiment": "jailbreak", "version": 1, "masks": ["a"], "collapsed": []}
    assert run.results().value.tolist() == [4.5]
    assert run.id.startswith("smollm2-135m-instruct-jailbreak-")
    assert states[0]["stage"] == "losses"
    assert not (run.path / "scratch").exists()


def test_an_interrupted_one_is_invisible_and_goes_on(tmp_path: Path) -> None:
    calls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        make(plan(), work(calls, fail_at="rows"), root=tmp_path)
    with pytest.raises(RunNotFound):
        open_run("latest", tmp_path)
    run = make(plan(), work(calls), root=tmp_path, resume=True)
    assert calls == ["losses", "rows", "rows"]  # the finished stage was not done again
    assert run.results().value.tolist() == [4.5]
    again: list[str] = []
    assert make(plan(), work(again), root=tmp_path) == run
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


def test_rows_of_an_experiment_that_the_plan_does_not_declare_are_refused(tmp_path: Path) -> None:
    def measured(making: Making) -> None:
        making.rows("grid", lambda: [Row(experiment="effect", metric="nll", value=1.0)])

    with pytest.raises(ValueError, match="declares no rows of experiment 'effect'"):
        make(plan(), measured, root=tmp_path)
    declared = plan(experiments=("effect", "overlap"), parameters={"tokens": 4})
    assert make(declared, measured, root=tmp_path).results()["experiment"].tolist() == ["effect"]


def test_arrays_by_name_are_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"plain": np.arange(6).reshape(2, 3).T, "half": np.array([0.5], dtype=np.float32)}

    def measured(making: Making) -> None:
        for _ in range(2):
            arrays = making.arrays("split0.checkpoint0", 1.0, compute)
            assert arrays["plain"].tolist() == [[0, 3], [1, 4], [2, 5]]
            assert arrays["half"].dtype == np.float32
        making.data["scoring_prompts"] = ["x"]
        making.digests["mask"] = "0" * 8

    run = make(plan(), measured, root=tmp_path)
    assert calls == [1]
    assert run.manifest["files"] == {}  # scratch does not go with the run
    assert run.manifest["data"]["scoring_prompts"] == ["x"]
    assert run.manifest["digests"] == {"mask": "0" * 8}


def test_a_map_says_what_it_is_made_of(tmp_path: Path) -> None:
    facts = plan(kind="map", given_id="tiny-0123456789", notes={"score": "signed SNIP"}, hardware={"threads": 2})
    manifest_of_map = _manifest(Making(facts, begin(facts.run_id, tmp_path), Progress(1.0, print)), {"headline": {}})
    assert facts.run_id == "tiny-0123456789"
    assert manifest_of_map["method"] == {"version": 1, "score": "signed SNIP", "headline": {}}
    assert manifest_of_map["hardware"]["threads"] == 2

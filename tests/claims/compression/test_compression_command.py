"""The command: what it prints, and what ends with one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmviz.cli import main
from harmviz.errors import HarmvizError, RunIncompatible
from harmviz.runs import shipped_runs
from harmviz.tuning.stored import Ladder
from tests.worlds.fabricated import make_run


def test_the_command_prints_tables_and_json(
    ladders: list[Ladder], tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [
        "experiment",
        "compression",
        "--ladder",
        str(ladders[0].path),
        "--model",
        str(tiny_dir),
        "--at",
        "safety-dpo-2",
        "--data",
        "builtin",
        "--samples",
        "4",
        "--held-out",
        "3",
        "--q",
        "5e-3",
        "--set-q",
        "0.02",
        "--max-response-tokens",
        "8",
        "--out",
        str(tmp_path),
    ]
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].startswith("Selected contrastive, "), "the finding comes first"
    assert "contrastive, at fixed fractions: no difference found" in printed, "too small a model: they are no weight"
    assert "plain, as in the paper, secondary: separability" in printed
    assert "benign ΔL at most" in printed
    assert "contrastive" in printed
    assert "safety-dpo-2 minus start" in printed
    assert "not reached" in printed
    assert main([*call, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["finding"]["sentence"] == printed.splitlines()[1]
    assert set(document["finding"]["numbers"]) == {"none", "both"}
    assert document["tests"] == [{"a": "safety-dpo-2", "b": "start", "kind": "start"}]
    assert {r["experiment"] for r in document["rows"]} == {"compression"}
    grid = {(r["contrast"], r["q"]) for r in document["rows"] if r["metric"] == "harm_specific"}
    assert grid == {("none", 1e-5), ("none", 5e-3), ("both", 2e-5), ("both", 5e-5), ("both", 5e-3)}, (
        "fractions asked for come beside the fixed ones"
    )


def test_an_earlier_result_is_found_where_this_one_goes_and_where_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))
    (shipped,) = [name for name in shipped_runs() if "-compression-" in name]
    call = [
        "experiment",
        "compression",
        "--ladder",
        "nowhere-at-all",
        "--data",
        "builtin",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*call, "--with", shipped]) == 2
    assert "no such ladder" in capsys.readouterr().err, "it was found among those that ship"
    make_run(tmp_path / "cache" / "runs", "here-compression-0000000000", kind="experiment")
    assert main([*call, "--with", "here-compression-0000000000"]) == 2
    assert "no run named" not in capsys.readouterr().err
    assert main([*call, "--with", "no-such-result"]) == 2
    assert "no run named 'no-such-result'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of"),
        (["a", "b", "--preset", "olmo3-7b"], "give one of"),
        (["only-one"], "at least 2"),
        (["x", "x"], "twice"),
        (["--preset", "gpt-5"], "preset must be one of"),
        (["a", "b", "--model", "m"], "--model names the start model"),
        (["a", "b", "--at", "all"], "--at names checkpoints of ladders"),
        (["a", "b", "--splits", "0"], "splits must be"),
        (["a", "b", "--q", "much"], "q must be fractions"),
        (["a", "b", "--samples", "1"], "samples must be"),
        (["--ladder", "nowhere-at-all", "--data", "builtin"], "no such ladder"),
        (["a", "b", "--data", "builtin"], "neither"),
    ],
)
def test_bad_arguments_end_with_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "compression", *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert issubclass(RunIncompatible, HarmvizError)

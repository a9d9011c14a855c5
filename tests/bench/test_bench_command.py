"""``bench`` as it is typed: tables with floors and references, one JSON document, one line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harmviz.bench import decode, machine, masks, ui
from harmviz.bench.figure import Figure
from harmviz.bench.shapes import SHAPES
from harmviz.cli import main
from tests.worlds.bench import FAST, TINY


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_measure", lambda device, dtype: FAST)
    monkeypatch.setattr(machine, "_measured", {})
    monkeypatch.setattr(decode, "TOKENS", 3)
    monkeypatch.setitem(SHAPES, "tiny", TINY)


def document(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["bench", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_shape_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    told = document(capsys, "--shape", "tiny", "--device", "cpu")
    assert told["machine"]["processor"]
    assert told["machine"]["gpu"] is None
    assert told["rates"] == [{"device": "cpu", "dtype": "bfloat16", "flops": FAST.flops, "bandwidth": FAST.bandwidth}]
    assert told["model"]["name"] == "tiny (random weights)"
    assert told["model"]["weight_bytes"] == 2 * told["model"]["n_parameters"]
    assert list(told["results"]) == ["scoring", "toggle", "decode"]
    figures = {(bench, f["what"]): f for bench, of_bench in told["results"].items() for f in of_bench}
    for key in (
        ("scoring", "signed"),
        ("scoring", "absolute"),
        ("toggle", "zero and restore"),
        ("decode", "4 variants"),
    ):
        figure = figures[key]
        assert 0 < figure["floor"] < figure["value"]
        assert figure["of_floor"] == figure["floor"] / figure["value"]
        assert figure["trials"] == 5
        assert figure["peak_bytes"] is None or figure["peak_bytes"] >= 0
    assert figures["scoring", "signed"]["reference"]["value"] == figures["scoring", "one sample at a time"]["value"]
    assert figures["decode", "1 variant"]["reference"]["value"] > 0
    assert figures["toggle", "zero and restore"]["reference"] is None  # random weights have no files
    assert figures["toggle", "weights"]["value"] == 1
    assert figures["decode", "4 variants / 1"]["floor"] is None


def test_a_model_of_ones_own(tiny_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = document(capsys, "toggle", "--model", str(tiny_dir), "--dtype", "bfloat16", "--device", "cpu")
    assert (told["model"]["name"], told["model"]["dtype"]) == ("tiny", "bfloat16")
    toggle = told["results"]["toggle"][0]
    assert toggle["reference"]["what"] == "the model's files read again"
    assert toggle["reference"]["value"] > toggle["value"]


def test_masks_of_the_stored_run(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parent.parent))
    asked: list[int] = []
    monkeypatch.setattr(masks, "_dense_seconds", lambda n, q, real=masks._dense_seconds: asked.append(n) or real(n, q))
    told = document(capsys, "masks")
    assert "model" not in told
    assert asked == [4608]
    median = next(f for f in told["results"]["masks"] if f["what"] == "new mask, median")
    assert 0 < median["floor"] < median["value"]
    assert median["reference"]["value"] > 0
    assert median["trials"] == 128


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["bench", "toggle", "--shape", "tiny", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "== toggle"  # told as it was measured, before what comes later
    assert lines[2].split("  ")[0] == "what"
    assert [w in lines[2] for w in ("value", "unit", "floor", "of floor", "reference", "peak memory")] == [True] * 6
    assert " %" in lines[3]
    assert lines[4].split() == ["weights", "1"]  # blank where there is none
    assert "cpu: products of bfloat16 matrices 1,000,000 GFLOP/s, copies 1,000,000.0 GB/s" in lines[-2]
    assert lines[-1].startswith("tiny (random weights), bfloat16 on cpu: weights 18 kB")
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["bench", "toggle", "--shape", "tiny", "--device", "cpu"]) == 0
    assert "of floor: 0" in capsys.readouterr().out


def test_shares_keep_their_digits() -> None:
    from harmviz.commands.bench import _percent

    assert [_percent(x) for x in (1.0, 0.42, 0.073, 0.0012)] == ["100 %", "42 %", "7.3 %", "0.12 %"]


def test_the_dashboard_has_no_floors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ui, "bench", lambda: [Figure("change of page", 0.2, "s")])
    assert main(["bench", "ui"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["change", "of", "page", "0.2", "s"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--model", "x", "--shape", "tiny"], "--model and --shape name two models"),
        (["masks", "--shape", "tiny"], "bench masks measures stored runs, no model: leave --shape out"),
        (["ui", "--device", "cpu"], "bench ui measures stored runs, no model: leave --device out"),
        (["decode", "--shape", "tiny", "--dtype", "int8"], "dtype must be auto"),
        (["--shape", "llama-4t"], "invalid choice: 'llama-4t'"),
    ],
)
def test_refused_in_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["bench", *argv])
    except SystemExit as e:  # argparse
        code = e.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1

"""Requests of a reader's own: parted into harmful and harmless, and held out wherever a claim needs requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harmviz.claims.jailbreak.command import requests_typed
from harmviz.claims.scene import command as scene_command
from harmviz.claims.scene.sets import make_sets
from harmviz.claims.scene.settings import SceneSpec
from harmviz.cli import main
from harmviz.data.own_requests import OWN, OwnRequests, own_requests
from harmviz.errors import BadSetting, DataInvalid
from harmviz.runs import Run, open_run
from harmviz.tuning.ladder import ladder_id, run_align
from harmviz.tuning.own_requests import with_own_requests
from tests.worlds.data_files import delimited, renamed, rows
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import SPEC, make_data


def requests_file(folder: Path, n: int = 26) -> Path:
    """Harmful and harmless requests with their types, as HarmBench names its columns."""
    found = [{**r, "category": "harmless" if r["category"] == "fib" else "Prank"} for r in rows(n)]
    return delimited(folder / "asked.csv", renamed(found, prompt="Behavior", category="SemanticCategory"))


def test_they_are_parted(tmp_path: Path) -> None:
    own = own_requests(str(requests_file(tmp_path)))
    assert (own.id, len(own.harmful), len(own.benign)) == ("asked", 26, 26)
    assert {kind for kind, _ in own.harmful} == {"Prank"}
    assert "number" not in repr(own)
    (tmp_path / "a.txt").write_text("Hide the spoon\nHide the kite\n")
    assert own_requests(str(tmp_path / "a.txt")).harmful == ((OWN, "Hide the spoon"), (OWN, "Hide the kite"))
    with pytest.raises(DataInvalid, match="all its requests are harmless"):
        own_requests(str(delimited(tmp_path / "b.csv", [{"category": "benign", "prompt": "Knit"}])))


# -- jailbreak --------------------------------------------------------------------------------------------------------
def test_sources_and_one_file(tmp_path: Path) -> None:
    assert requests_typed("builtin, report") == (("builtin", "report"), None)
    assert requests_typed("report,mine.csv") == (("report", OWN), "mine.csv")
    assert requests_typed("hub:a/b") == ((OWN,), "hub:a/b")
    (tmp_path / "a,b.txt").write_text("x")
    assert requests_typed(str(tmp_path / "a,b.txt")) == ((OWN,), str(tmp_path / "a,b.txt"))
    with pytest.raises(BadSetting, match="one file at most"):
        requests_typed("a.csv,b.csv")


def jailbroken(run: Path, file: Path, root: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Run:
    words = ["experiment", "jailbreak", str(run), "--requests", str(file), "--attacks", "direct", "--judge", "keyword"]
    sizes = ["--harmful", "6", "--benign", "4", "--max-new-tokens", "8", "--out", str(root)]
    assert main([*words, *sizes, *more]) == 0, capsys.readouterr().err
    capsys.readouterr()
    return max((open_run(str(p)) for p in root.iterdir() if not p.name.startswith(".")), key=lambda r: r.created)


def test_attacks_are_tried_on_them_and_no_text_is_kept(
    tiny_run: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = requests_file(tmp_path)
    more = ("--model", str(tiny_dir))
    run = jailbroken(tiny_run, file, tmp_path / "runs", capsys, *more)
    assert run.manifest["data"]["id"] == "asked"
    assert run.manifest["data"]["counts"] == {"Prank": {"asked": 6}, "benign": {"asked": 4}}
    assert "read as benign: the category 'harmless'" in run.manifest["data"]["notes"]
    assert run.manifest["method"]["requests"]["mild"] == 0
    everything = b"".join(p.read_bytes() for p in run.path.rglob("*") if p.is_file()).decode("latin-1")
    assert not any(text in everything for text in (r["prompt"] for r in rows()))
    delimited(file, renamed(rows(30, ("Prank",)), prompt="Behavior", category="SemanticCategory"))
    other = jailbroken(tiny_run, file, tmp_path / "runs2", capsys, *more)
    assert other.id != run.id  # what was asked is part of a run's identity


def test_what_is_no_request_is_refused_before_a_model_is_loaded(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = delimited(tmp_path / "x.csv", [{"a": "1", "b": "2"}])
    for words in (["jailbreak", str(tiny_run)], ["scene", str(tiny_run)]):
        for file, says in ((str(path), "no columns are recognised"), (str(tmp_path / "none.txt"), "does not exist")):
            assert main(["experiment", *words, "--requests", file]) == 2
            err = capsys.readouterr().err
            assert says in err
            assert "loading" not in err
    assert main(["align", "--requests", str(path)]) == 2
    assert "no columns are recognised" in capsys.readouterr().err


# -- scene ------------------------------------------------------------------------------------------------------------
def test_a_scene_takes_a_number_and_a_file() -> None:
    assert scene_command._requests([]) == (SceneSpec.requests, None)
    assert scene_command._requests(["12", "mine.txt"]) == (12, "mine.txt")
    for given in (["1", "2"], ["a.txt", "b.txt"]):
        with pytest.raises(BadSetting, match="one whole number and one file"):
            scene_command._requests(given)


def test_a_scene_asks_them_held_out(tiny_run: Path, tmp_path: Path) -> None:
    unlike = [
        " ".join(chr(97 + (7 * i + j) % 26) * (3 + i % 5) + chr(97 + i % 26) for j in range(4)) for i in range(26)
    ]
    (tmp_path / "own.txt").write_text("\n".join(unlike))
    own = own_requests(str(tmp_path / "own.txt"))
    manifest: dict[str, Any] = dict(open_run(str(tiny_run)).manifest)
    spec = SceneSpec(sources=(OWN, "mild"))
    sets = make_sets(manifest, spec.sources, choosing=8, reporting=12, seed=0, own=own)
    assert set(sets.reporting) == {OWN, "mild", "benign", "twin_harmful", "twin_harmless"}
    chosen, reported = ({r.prompt for r in role[OWN]} for role in (sets.choosing, sets.reporting))
    assert chosen
    assert reported
    assert not chosen & reported
    assert chosen | reported <= {prompt for _, prompt in own.harmful}
    with pytest.raises(DataInvalid, match="name their file with --requests FILE"):
        make_sets(manifest, spec.sources, choosing=8, reporting=12, seed=0)
    with pytest.raises(BadSetting, match="sources must be mild"):
        SceneSpec(sources=(OWN,))


# -- align ------------------------------------------------------------------------------------------------------------
def test_a_ladder_is_measured_on_those_unlike_tuned_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    asked = (*((OWN, f"Hide spoon {word} behind ladder") for word in "abcdefghij"), (OWN, "bad thing 3"))
    data, notes = with_own_requests(make_data(), OwnRequests("asked", asked, (), ("a note",)))
    assert len(data.held_out[OWN]) == 10
    assert notes == ["a note", "1 of 11 requests of asked are like tuned ones and left out"]
    model = tiny_model()
    assert ladder_id(model, data, SPEC, ("safety",), None) != ladder_id(model, make_data(), SPEC, ("safety",), None)
    ladder = run_align(model, data, SPEC, ("safety",), root=tmp_path / "runs")
    for entry in (ladder.start, *ladder.checkpoints):
        assert entry["numbers"]["refusal/own"]["n"] == 10
    from harmviz.commands.align import print_ladder

    print_ladder(ladder)
    assert "your requests" in capsys.readouterr().out
    stored = json.dumps(dict(ladder.run.manifest))
    assert "spoon" not in stored
    with pytest.raises(DataInvalid, match="1 of 2 requests of few are unlike"):
        with_own_requests(make_data(), OwnRequests("few", asked[-2:], (), ()))

"""A whole ladder of the tiny model: its folder, resuming, damage, and the command's errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmviz.cli import main
from harmviz.commands.align import COLUMNS, print_ladder
from harmviz.errors import RunIncompatible
from harmviz.models.adapters import load_adapter
from harmviz.paths import shipped_runs_root
from harmviz.runs import begin, list_partials, list_runs, result_digest, verify_run
from harmviz.tuning import ladder as ladder_module
from harmviz.tuning.evaluate import ALONG, JUDGED
from harmviz.tuning.ladder import run_align
from harmviz.tuning.settings import ARMS, AlignSpec
from harmviz.tuning.stored import Ladder, is_ladder, ladders, open_ladder
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import SPEC, make_data


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(arms: tuple[str, ...] = ("safety",), spec: AlignSpec = SPEC, **options: Any) -> Ladder:
    return run_align(tiny_model(), make_data(), spec, arms, **options)


def adapter_bytes(ladder: Ladder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (ladder.path / "adapters").iterdir()}


def test_a_ladder_holds_measured_checkpoints_and_its_whole_history(cache: Path) -> None:
    states: list[dict[str, Any]] = []
    ladder = made(ARMS, listener=states.append)
    manifest = ladder.run.manifest
    assert ladder.path.parent == cache / "runs"
    assert verify_run(ladder.run) == []
    assert (ladder.run.kind, manifest["method"]["experiment"]) == ("experiment", "align")
    assert re.fullmatch(r"tiny-llama-align-[0-9a-f]{10}", ladder.id)
    assert [e["name"] for e in ladder.checkpoints] == [
        f"{arm}-{stage}-{step}" for arm in ARMS for stage, steps in (("sft", (1, 4)), ("dpo", (2,))) for step in steps
    ]
    assert manifest["model"]["weight_hash"] == tiny_model().weight_hash
    assert manifest["data"]["counts"]["harmful"] == {"rows": 12}
    assert {"torch", "trl"} <= manifest["software"].keys()
    for entry in (ladder.start, *ladder.checkpoints):
        is_judged = entry.get("stage", "dpo") == "dpo"  # the start, and what each arm comes to
        assert {f"judged/{name}" in entry["numbers"] for name in JUDGED} == {is_judged}
        for key in [key for key, _ in COLUMNS if is_judged or not key.startswith("judged/")]:
            numbers = entry["numbers"][key]
            assert numbers["n"] == 3
            assert numbers["ci_low"] <= numbers["value"] <= numbers["ci_high"]
    assert ladder.start["numbers"]["loss/written"]["value"] == 0
    assert ladder.checkpoints[-1]["numbers"]["loss/written"]["value"] != 0
    adapter = load_adapter(ladder.adapter_path("safety-dpo-2"))
    assert (adapter.arm, adapter.stage, adapter.step) == ("safety", "dpo", 2)
    assert states[-1]["fraction"] <= 1
    assert not [p for p in ladder.path.rglob("*") if "answers" in p.name]  # model text stays out of the ladder
    assert [p.name for p in (cache / "runs").iterdir()] == [ladder.id]  # and is gone with the scratch work
    document = ladder.document()
    assert document["id"] == document["run_id"] == ladder.id
    assert document["checkpoints"][0]["sha256"] == manifest["files"]["adapters/safety-sft-1.safetensors"]
    assert made(ARMS).run.manifest == manifest  # there already


def test_an_interrupted_ladder_resumes_to_the_same_files(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = made(root=tmp_path / "whole")
    real, calls = ladder_module.train_stage, []

    def dies_in_dpo(*args: Any, **kwargs: Any) -> None:
        calls.append(kwargs["stage"])
        if kwargs["stage"] == "dpo":

            def never(adapter: Any) -> None:
                raise KeyboardInterrupt

            kwargs["keep"] = never
        real(*args, **kwargs)

    monkeypatch.setattr(ladder_module, "train_stage", dies_in_dpo)
    root = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        made(root=root)
    assert not list_runs(root)
    (partial,) = list_partials(root)
    assert partial.stages[-1] == "train.safety.sft"
    monkeypatch.setattr(ladder_module, "train_stage", lambda *a, **k: (calls.append(k["stage"]), real(*a, **k))[1])
    again = made(root=root, resume=True)
    assert calls == ["sft", "dpo", "dpo"]  # SFT was finished and is not repeated
    assert adapter_bytes(again) == adapter_bytes(whole)
    assert again.checkpoints == whole.checkpoints
    assert result_digest(again.run) == result_digest(whole.run)


def test_a_brief_ladder_trains_the_same_and_keeps_and_measures_less(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, brief = made(), made(spec=replace(SPEC, brief=True))
    assert [e["name"] for e in brief.checkpoints] == ["safety-sft-4", "safety-dpo-2"]
    assert adapter_bytes(brief) == {name: data for name, data in adapter_bytes(whole).items() if "sft-1." not in name}
    for entry in (brief.start, *brief.checkpoints):
        assert entry["depth"] == "along"
        assert not any(key.startswith("judged/") for key in entry["numbers"])
    most = [max(ladder.run.manifest["method"]["evaluation"]["requests"].values()) for ladder in (brief, whole)]
    assert most[0] == ALONG < most[1]
    assert brief.settings["brief"]
    print_ladder(brief)
    assert "judged" not in capsys.readouterr().out


def test_without_resume_earlier_work_is_done_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, trained = ladder_module.train_stage, []

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ladder_module, "measure", stop)
        with pytest.raises(KeyboardInterrupt):
            made()
    monkeypatch.setattr(ladder_module, "train_stage", lambda *a, **k: (trained.append(k["stage"]), real(*a, **k))[1])
    made()
    assert trained == ["sft", "dpo"]


def test_other_arms_are_another_ladder(cache: Path) -> None:
    alone, both = made(("safety",)), made(("safety", "helpful-only"))
    assert alone.id != both.id
    assert both.run.manifest["method"]["arms"] == ["safety", "helpful-only"]
    name = "safety-dpo-2.safetensors"
    assert adapter_bytes(alone)[name] == adapter_bytes(both)[name]


def test_two_processes_do_not_make_one_ladder(cache: Path, tmp_path: Path) -> None:
    ladder = made(root=tmp_path / "elsewhere")
    with begin(ladder.id), pytest.raises(RunIncompatible, match="another process"):
        made()


def test_damage_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RunIncompatible, match="no complete ladder"):
        open_ladder(tmp_path)
    ladder = made()
    with pytest.raises(RunIncompatible, match="has no checkpoint 'other'"):
        ladder.adapter_path("other")
    file = ladder.adapter_path("safety-sft-4")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    with pytest.raises(RunIncompatible, match=r"safety-sft-4\.safetensors was changed"):
        made()
    file.unlink()
    with pytest.raises(RunIncompatible, match=r"safety-sft-4\.safetensors is missing"):
        open_ladder(ladder.path)
    file.write_bytes(whole)
    (ladder.path / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(RunIncompatible, match="schema 99 cannot be read"):
        open_ladder(ladder.path)


def test_a_run_that_is_no_ladder_is_not_opened_as_one(tiny_run: Path) -> None:
    with pytest.raises(RunIncompatible, match="is no ladder"):
        open_ladder(tiny_run)


def test_a_ladder_is_listed_shown_verified_and_exported_like_every_run(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder = made()
    for command in (["runs"], ["show", ladder.id], ["verify", ladder.id]):
        assert main(command) == 0
        assert ladder.id in capsys.readouterr().out
    assert main(["show", ladder.id]) == 0
    assert "refuses: AdvBench" in " ".join(capsys.readouterr().out.split())
    assert main(["runs", "export", ladder.id, "--out", str(tmp_path / "l.zip")]) == 0
    assert main(["runs", "delete", ladder.id, "--yes"]) == 0
    assert ladders().keys() == {run.id for run in list_runs(shipped_runs_root()) if is_ladder(run)}
    assert main(["runs", "import", str(tmp_path / "l.zip")]) == 0
    assert open_ladder(ladders()[ladder.id]) == ladder


def test_the_table_shows_n_and_interval_of_every_number(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_ladder(made())
    lines = capsys.readouterr().out.splitlines()[1:-2]
    assert [line.split()[0] for line in lines] == ["start", "safety-sft-1", "safety-sft-4", "safety-dpo-2"]
    not_judged = len(COLUMNS) - len(JUDGED)
    assert [line.count("n=3") for line in lines] == [len(COLUMNS), not_judged, not_judged, len(COLUMNS)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--arms", "kind"], "arms must be among"),
        (["--steps", "1"], "steps must lie"),
        (["--seed", "-1"], "seed must be"),
        (["--arms", "safety,safety"], "once"),
    ],
)
def test_bad_arguments_end_with_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_out_must_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f").write_text("")
    assert main(["align", "--out", str(tmp_path / "f")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_the_command_line_s_help_needs_no_trainer() -> None:
    loaded = "{m.partition('.')[0] for m in sys.modules} & {'torch', 'peft', 'trl'}"
    code = f"import sys; import harmviz.commands.align; print(*{loaded})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.strip() == ""

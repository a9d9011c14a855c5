"""A whole ladder of the tiny model: its folder, resuming, damage, and the command's errors."""

from __future__ import annotations

import json
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
from harmviz.runs.lock import try_lock
from harmviz.tuning import ladder as ladder_module
from harmviz.tuning.evaluate import ALONG, JUDGED
from harmviz.tuning.ladder import Ladder, open_ladder, run_align
from harmviz.tuning.settings import ARMS, AlignSpec
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
    found = made(ARMS, listener=states.append)
    manifest = found.manifest
    assert found.path.parent == cache / "ladders"
    assert [e["name"] for e in manifest["checkpoints"]] == [
        f"{arm}-{stage}-{step}" for arm in ARMS for stage, steps in (("sft", (1, 4)), ("dpo", (2,))) for step in steps
    ]
    assert manifest["model"]["weight_hash"] == tiny_model().weight_hash
    assert manifest["data"]["counts"]["harmful"] == 12
    assert {"torch", "peft", "trl"} <= manifest["software"].keys()
    for entry in (manifest["start"], *manifest["checkpoints"]):
        is_judged = entry.get("stage", "dpo") == "dpo"  # the start, and what each arm comes to
        assert {f"judged/{name}" in entry["numbers"] for name in JUDGED} == {is_judged}
        for key in [key for key, _ in COLUMNS if is_judged or not key.startswith("judged/")]:
            numbers = entry["numbers"][key]
            assert numbers["n"] == 3
            assert numbers["ci_low"] <= numbers["value"] <= numbers["ci_high"]
    assert manifest["start"]["numbers"]["loss/written"]["value"] == 0
    assert manifest["checkpoints"][-1]["numbers"]["loss/written"]["value"] != 0
    adapter = load_adapter(found.adapter_path("safety-dpo-2"))
    assert (adapter.arm, adapter.stage, adapter.step) == ("safety", "dpo", 2)
    assert states[-1]["fraction"] <= 1
    assert not [p for p in found.path.rglob("*") if "answers" in p.name]  # model text stays out of the ladder
    assert made(ARMS).manifest == manifest  # there already


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
    assert not root.exists() or not list(root.iterdir())
    monkeypatch.setattr(ladder_module, "train_stage", lambda *a, **k: (calls.append(k["stage"]), real(*a, **k))[1])
    again = made(root=root, resume=True)
    assert calls == ["sft", "dpo", "dpo"]  # SFT was finished and is not repeated
    assert adapter_bytes(again) == adapter_bytes(whole)
    assert again.manifest["checkpoints"] == whole.manifest["checkpoints"]


def test_a_brief_ladder_trains_the_same_and_keeps_and_measures_less(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, brief = made(), made(spec=replace(SPEC, brief=True))
    assert [e["name"] for e in brief.manifest["checkpoints"]] == ["safety-sft-4", "safety-dpo-2"]
    assert adapter_bytes(brief) == {name: data for name, data in adapter_bytes(whole).items() if "sft-1." not in name}
    for entry in (brief.manifest["start"], *brief.manifest["checkpoints"]):
        assert entry["depth"] == "along"
        assert not any(key.startswith("judged/") for key in entry["numbers"])
    assert (
        max(brief.manifest["evaluation"]["requests"].values())
        == ALONG
        < max(whole.manifest["evaluation"]["requests"].values())
    )
    assert brief.manifest["settings"]["brief"]
    print_ladder(brief.manifest)
    assert "judged" not in capsys.readouterr().out


def test_an_arm_added_later_finds_the_others_done(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(("safety",))
    real, trained = ladder_module.train_stage, []
    monkeypatch.setattr(ladder_module, "train_stage", lambda *a, **k: (trained.append(k["arm"]), real(*a, **k))[1])
    found = made(("safety", "helpful-only"), resume=True)
    assert set(trained) == {"helpful-only"}
    assert found.manifest["arms"] == ["safety", "helpful-only"]


def test_without_resume_earlier_work_is_done_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(("safety",))
    real, trained = ladder_module.train_stage, []
    monkeypatch.setattr(ladder_module, "train_stage", lambda *a, **k: (trained.append(k["arm"]), real(*a, **k))[1])
    made(("safety", "helpful-only"))
    assert set(trained) == {"safety", "helpful-only"}


def test_two_processes_do_not_make_one_ladder(cache: Path) -> None:
    made()
    (folder,) = [p for p in (cache / "scratch" / "align").iterdir() if p.is_dir()]
    lock = try_lock(folder.with_suffix(".lock"))
    assert lock is not None
    with lock, pytest.raises(RunIncompatible, match="another process"):
        made(("helpful-only",))


def test_damage_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RunIncompatible, match="no complete ladder"):
        open_ladder(tmp_path)
    found = made()
    with pytest.raises(RunIncompatible, match="has no checkpoint 'other'"):
        found.adapter_path("other")
    file = found.adapter_path("safety-sft-4")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(RunIncompatible, match=r"safety-sft-4\.safetensors is missing or damaged"):
        made()
    (found.path / "ladder.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(RunIncompatible, match="not of schema"):
        open_ladder(found.path)


def test_the_table_shows_n_and_interval_of_every_number(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_ladder(made().manifest)
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
    code = "import sys; import harmviz.commands.align; print(*{m.partition('.')[0] for m in sys.modules} & {'torch', 'peft', 'trl'})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.strip() == ""

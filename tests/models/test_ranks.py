"""Several processes with a copy of the model each: the numbers of one, faults named, nobody left waiting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from harmviz.cli import main
from harmviz.errors import BadSetting, HarmvizError
from harmviz.models.rank_channel import job
from harmviz.models.ranks import own_devices
from harmviz.runs import Run, list_partials, list_runs, open_run, verify_run
from tests.conftest import QUICK_RUN
from tests.worlds.kills import ROOT
from tests.worlds.ranks import of_rank, started, torchrun
from tests.worlds.tiny import tiny_model

PROGRAM = Path(__file__).parents[1] / "worlds" / "rank_program.py"
#: The command line; something happens to rank 1 when it is to do its share under a third mask.
STRUCK = """
import os, signal, sys, time
from datetime import timedelta
from harmviz.models import ranks
from harmviz.models.rank_following import _Follower

call, load, masked = _Follower._call, ranks.Ranks.load, []

def loaded(*args):
    model = load(*args)
    ranks.PATIENCE = timedelta(seconds=5)
    return model


def struck(self, message):
    masked.extend(message.changes or ())
    if len(masked) == 3:
        {what}
    return call(self, message)

_Follower._call, ranks.Ranks.load = struck, loaded
from harmviz.cli import main
ranks.leave(main(sys.argv[1:]))
"""


def spoken(err: str) -> list[str]:
    """Errors of harmviz among the lines on stderr."""
    return [line for line in err.splitlines() if line.startswith("harmviz: ")]


def assert_same_results(run: Run, one: Run) -> None:
    """The same weights selected, and every row to 1e-4 of one process's."""
    assert verify_run(run) == []
    assert run.id == one.id
    mine, theirs = (load_file(r.path / "candidates.safetensors") for r in (run, one))
    assert mine.keys() == theirs.keys()
    for name in mine:
        if name.startswith("score/"):
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-7)
        else:
            np.testing.assert_array_equal(mine[name], theirs[name], name)
    assert_same_rows(run, one)


def assert_same_rows(run: Run, one: Run) -> None:
    """The same rows of results, every number to 1e-4."""
    rows, wanted = run.results(), one.results()
    assert len(rows) == len(wanted)
    for column in wanted:
        if wanted[column].dtype.kind == "f":
            np.testing.assert_allclose(rows[column], wanted[column], rtol=1e-4, atol=1e-4, err_msg=column)
        else:
            assert rows[column].astype(str).tolist() == wanted[column].astype(str).tolist(), column


@pytest.fixture(scope="module")
def found(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What three ranks found together (``tests.worlds.rank_program``)."""
    result = tmp_path_factory.mktemp("ranks") / "found.json"
    ended = torchrun([str(PROGRAM), str(tiny_dir), str(result)], n=3)
    assert ended.code == 0, ended.err[-3000:]
    findings: dict[str, Any] = json.loads(result.read_text())
    return findings


@pytest.mark.parametrize("state", ["intact", "one mask", "two masks", "intact again", "after failures"])
def test_scores_losses_and_answers_are_those_of_one_process(found: dict[str, Any], state: str) -> None:
    differences = found[state]
    assert all(differences.pop(same) for same in ("answers", "no answers", "told")), found[state]
    assert len(differences) == 6
    assert max(differences.values()) < 1e-5, differences


def test_each_rank_does_its_share_under_the_masks_of_rank_0(found: dict[str, Any]) -> None:
    assert found["masks change losses"]
    for name, masks in (("who", 0), ("who, two masks", 2)):
        items, pids, in_force, forked = zip(*found[name], strict=True)
        assert items == (7, 8, 9)
        assert pids[0] == pids[2] == found["here"] != pids[1]
        assert in_force == (masks,) * 3
        assert forked == (1, 1, 1), "a fork would copy the connections"


def test_a_mask_that_must_not_leave_the_process_does_not(found: dict[str, Any]) -> None:
    assert found["leaves"] is False
    assert found["measured where it is"] < 1e-5, "rank 0 alone finds what all find under a mask that may leave"


def test_what_fails_on_another_rank_is_raised_on_the_first_and_names_it(found: dict[str, Any]) -> None:
    ours, fault = found["failures"]
    assert ours == "HarmvizError: rank 1 (cpu): no such thing"
    assert fault.startswith("RuntimeError: rank 1 (cpu) failed:\n")
    assert "ZeroDivisionError" in fault


def test_a_run_on_two_ranks_is_the_run_of_one(tiny_dir: Path, quick_run: Path, tmp_path: Path) -> None:
    arguments = ["run", "--model", str(tiny_dir), *QUICK_RUN, "--out", str(tmp_path), "--json"]
    ended = torchrun(["-m", "harmviz", *arguments])
    assert ended.code == 0, ended.err[-3000:]
    (run,) = list_runs(tmp_path)
    assert json.loads(ended.out)["run_id"] == run.id, "one document, whatever the other rank does"
    assert ended.err.count("done in ") == ended.err.count("] causal (") == 1
    assert_same_results(run, open_run(quick_run))
    hardware = run.manifest["hardware"]
    assert (hardware["ranks"], hardware["devices"]) == (2, ["cpu", "cpu"])
    assert "ranks" not in open_run(quick_run).manifest["hardware"]


@pytest.mark.parametrize("what", ["os.kill(os.getpid(), signal.SIGKILL)", "time.sleep(600)"])
def test_a_rank_that_is_gone_ends_all_with_one_line_and_one_process_goes_on(
    what: str, tiny_dir: Path, quick_run: Path, tmp_path: Path
) -> None:
    script, root = tmp_path / "struck.py", tmp_path / "runs"
    script.write_text(STRUCK.format(what=what))
    arguments = ["run", "--model", str(tiny_dir), *QUICK_RUN, "--out", str(root)]
    ended = torchrun([str(script), *arguments])
    assert ended.code != 0
    (line,) = spoken(ended.err)
    assert "rank 1 ended before the work did, or does not answer" in line
    assert "--resume" in line
    assert f'File "{ROOT / "harmviz"}' not in ended.err, "the launcher's traceback is its own"
    assert list_runs(root) == []
    (partial,) = list_partials(root)
    assert "score.utility" in partial.stages
    assert main([*arguments, "--resume"]) == 0
    (run,) = list_runs(root)
    assert_same_results(run, open_run(quick_run))


def test_ranks_with_other_weights_do_not_work_together(tiny_dir: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    shutil.copytree(tiny_dir, folders[0] / "model")
    other = tiny_model("llama", seed=1)
    other.model.save_pretrained(folders[1] / "model")
    other.tokenizer.save_pretrained(folders[1] / "model")
    root = tmp_path / "runs"
    first, second = started(["-m", "harmviz", "run", "--model", "./model", *QUICK_RUN, "--out", str(root)], folders)
    assert first.code == 2
    (line,) = spoken(first.err)
    assert "rank 1 found other weights under the name ./model" in line
    assert (second.code, second.out, second.err) == (0, "", ""), "it leaves without a word"
    assert list_runs(root) == list_partials(root) == []


# -- without a job ----------------------------------------------------------------------------------------------------
def place(monkeypatch: pytest.MonkeyPatch, rank: int, n: int, **more: str) -> None:
    for name, value in {**of_rank(rank, n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", **more}.items():
        monkeypatch.setenv(name, value)


def test_of_a_command_that_shares_nothing_one_process_does_all(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(monkeypatch, 1, 2)
    assert main(["runs"]) == 0
    assert capsys.readouterr() == ("", "")
    place(monkeypatch, 0, 2)
    assert main(["runs"]) == 0
    said = capsys.readouterr()
    assert "does not share its work: one process does it, the other 1 leave" in said.err
    assert said.out


@pytest.mark.parametrize(("rank", "lines"), [(0, 1), (1, 0)])
def test_a_typing_mistake_is_told_once(
    rank: int, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(monkeypatch, rank, 2)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--nonsense"])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_a_job_is_what_a_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in of_rank(0, 1):
        monkeypatch.delenv(name, raising=False)
    assert job() is None
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert job() is None, "other launchers set these two for work of their own"
    place(monkeypatch, 0, 1)
    assert job() is None
    place(monkeypatch, 3, 4)
    assert (here := job()) is not None
    assert (here.rank, here.n) == (3, 4)
    place(monkeypatch, 3, 4, LOCAL_WORLD_SIZE="2")
    with pytest.raises(HarmvizError, match="4 ranks were started, 2 of them on this machine"):
        job()


def test_a_job_on_several_machines_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(monkeypatch, 0, 4, LOCAL_WORLD_SIZE="2")
    assert main(["runs"]) == 2
    assert capsys.readouterr().err.startswith("harmviz: 4 ranks were started, 2 of them on this machine")


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_devices("cpu", 3) == ("cpu", "cpu", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_devices("auto", 2) == own_devices("cuda", 2) == ("cuda:0", "cuda:1")
    assert own_devices("cpu", 3) == ("cpu", "cpu", "cpu")
    with pytest.raises(BadSetting, match="3 ranks were started, and 2 CUDA devices are visible"):
        own_devices("auto", 3)
    with pytest.raises(BadSetting, match="device cuda:1 is one GPU, and 2 ranks were started"):
        own_devices("cuda:1", 2)

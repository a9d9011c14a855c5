"""Runs that are killed at random moments, over and over: whole and verified, or taken up again to the same digests; and
two processes that want to make the same run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harmviz.cli import main
from harmviz.runs import list_partials, list_runs, open_run, result_digest, verify_run
from tests.conftest import QUICK_RUN
from tests.worlds.kills import ROOT, killed_at_random
from tests.worlds.serving_kills import killed_while_serving

#: ``HARMVIZ_KILLS=20 pytest -m soak tests/runs/test_kills.py`` for a part of it.
KILLS = int(os.environ.get("HARMVIZ_KILLS", "100"))

#: Runs the command line; once it scores, says so, and goes on when somebody writes a line.
HELD = """
import sys
from harmviz.runs.progress import Progress
tell, told = Progress._tell, []

def held(self, done, total, force=False):
    tell(self, done, total, force=force)
    if not told:
        told.append(1)
        print("at work", flush=True)
        sys.stdin.readline()

Progress._tell = held
from harmviz.cli import main
sys.exit(main(sys.argv[1:]))
"""


def command(model: Path, root: Path, *more: str) -> Sequence[str]:
    return ["run", "--model", str(model), *QUICK_RUN, "--out", str(root), *more]


@pytest.mark.soak
def test_kills_at_random_moments_lose_nothing(tiny_dir: Path, quick_run: Path, tmp_path: Path) -> None:
    straight, root = open_run(quick_run), tmp_path / "runs"
    seen = killed_at_random(KILLS, command(tiny_dir, root, "--resume"), root, expected=result_digest(straight))
    print(seen)
    assert seen["wrong"] == []
    assert seen["left"] == []
    assert seen["kills"] == KILLS
    assert seen["runs"] >= 1
    assert len(seen["stages"]) >= min(6, KILLS // 3), "the moments are spread over the stages"


@pytest.mark.slow
def test_of_two_processes_that_make_the_same_run_one_does(
    tiny_dir: Path, quick_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    first = subprocess.Popen(
        [sys.executable, "-c", HELD, *command(tiny_dir, root)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "at work\n"
        (partial,) = list_partials(root)
        for more in ((), ("--resume",)):  # neither begins anew nor goes on with what another one is at
            capsys.readouterr()
            assert main(command(tiny_dir, root, *more)) == 2
            last = capsys.readouterr().err.strip().splitlines()[-1]
            assert f"run {partial.run_id} is being computed by another process (pid {first.pid})" in last
        first.stdin.write("\n")
        first.stdin.close()
        assert first.wait(timeout=300) == 0, first.stderr and first.stderr.read()
    (run,) = list_runs(root)
    assert verify_run(run) == []
    assert result_digest(run) == result_digest(open_run(quick_run))
    assert list_partials(root) == []


@pytest.mark.soak
def test_kills_while_serving_leave_every_run_and_file_whole(tiny_dir: Path, quick_run: Path, tmp_path: Path) -> None:
    model = {p.name: p.read_bytes() for p in tiny_dir.iterdir()}
    kills = max(10, KILLS // 2)
    seen = killed_while_serving(kills, tiny_dir, quick_run, tmp_path / "place")
    print(seen)
    assert seen["wrong"] == []
    assert seen["left"] == []
    assert seen["kills"] == kills
    assert seen["rounds"] >= 1
    assert len(seen["steps"]) >= 3, "the moments are spread over what it does"
    assert {p.name: p.read_bytes() for p in tiny_dir.iterdir()} == model

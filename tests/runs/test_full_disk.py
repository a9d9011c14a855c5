"""A disk that is full in the middle of a run: one line, and what was finished stays and is taken up again."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from harmviz.cli import main
from harmviz.runs import list_partials, list_runs, open_run, result_digest
from tests.conftest import QUICK_RUN

ROOT = Path(__file__).resolve().parents[2]
#: The score files of the tiny model are smaller, its candidates larger.
LIMIT = 60_000


def test_a_full_disk_loses_no_finished_stage(tiny_dir: Path, quick_run: Path, tmp_path: Path) -> None:
    command = ["run", "--model", str(tiny_dir), *QUICK_RUN, "--out", str(tmp_path), "--resume"]

    def no_large_file() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

    stages: list[tuple[str, ...]] = []
    for _ in range(2):  # the second one finds the disk as full, and the stages where they were
        done = subprocess.run(
            [sys.executable, "-m", "harmviz", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            preexec_fn=no_large_file,
            timeout=300,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "ulimit -f" in done.stderr.strip().splitlines()[-1]
        (partial,) = list_partials(tmp_path)
        assert partial.pid is None
        stages.append(partial.stages)
        assert list_runs(tmp_path) == []
    assert stages[0] == stages[1]
    assert "score.utility" in stages[0]
    assert main(command) == 0
    (run,) = list_runs(tmp_path)
    assert result_digest(run) == result_digest(open_run(quick_run))
    assert list_partials(tmp_path) == []

"""A disk that is full at any write, or read-only: one clear line, nothing half-written, and everything goes on from
there once it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds.fabricated import make_run
from tests.worlds.small_disk import in_namespace

#: Makes a run of three stages on a disk of every size, from none to enough; then on a larger one.
FULL = """
import sys
import numpy as np
from harmviz.errors import HarmvizError, OutOfMemory
from harmviz.runs import Row, list_partials, list_runs, result_digest, verify_run
from harmviz.runs.archive import export_run, import_run
from harmviz.runs.making import make
from tests.runs.test_making import plan

PAGE, DISK = 4096, Path(sys.argv[1]) / "disk"

def work(making):
    scores = making.array("scores", 1.0, lambda: np.arange(2500, dtype=np.float64))
    making.stage("map", 1.0, lambda: making._keep("maps.json", b"[" + b"1," * 6000 + b"1]"))
    making.rows("grid", lambda: [Row(experiment="jailbreak", metric="m", value=float(s)) for s in scores[:300]], 1.0)
    return {}

def attempt(root, do):
    try:
        return do(), None
    except HarmvizError as e:
        return None, e

straight = make(plan(), work, root=Path(sys.argv[1]) / "straight")
archive = Path(sys.argv[1]) / "run.zip"
export_run(straight, archive)
seen = {"made": {}, "imported": {}}
for kind in seen:
    for pages in range(1, 60):
        mounted(DISK, pages * PAGE)
        do = (lambda: make(plan(), work, root=DISK / "runs", resume=True)) if kind == "made" else (
            lambda: import_run(archive, DISK / "runs"))
        run, error = attempt(DISK, do)
        if run is None:
            assert isinstance(error, OutOfMemory), repr(error)
            assert "disk full: need" in str(error) and "free some space" in str(error), str(error)
            assert list_runs(DISK / "runs") == []
            assert [p for p in DISK.rglob(".tmp-*")] == [], list(DISK.rglob("*"))
            assert all(p.pid is None for p in list_partials(DISK / "runs"))
            done = tuple(s for p in list_partials(DISK / "runs") for s in p.stages)
            grown(DISK, 100 * PAGE)
            run = do()
        else:
            done = ("whole",)
        assert verify_run(run) == [] and result_digest(run) == result_digest(straight)
        assert list_partials(DISK / "runs") == []
        assert [p.name for p in (DISK / "runs").iterdir() if p.name not in (run.id, ".imported")] == []
        unmounted(DISK)
        seen[kind][pages] = done
        if done == ("whole",):
            break
print(json.dumps(seen))
"""


def test_a_disk_that_is_full_at_any_write_loses_no_finished_stage(tmp_path: Path) -> None:
    seen = in_namespace(FULL, str(tmp_path))
    for kind, at_least in (("made", 10), ("imported", 5)):
        assert len(seen[kind]) >= at_least
        assert [done for done in seen[kind].values() if done == ["whole"]] == [["whole"]], f"{kind}: never whole"
    stages = {tuple(done) for done in seen["made"].values()}
    assert {(), ("scores",), ("scores", "map"), ("whole",)} <= stages


#: Reads and writes on a read-only disk, by the command line; then a disk that turns read-only within a stage.
READ_ONLY = """
import contextlib, errno, io, shutil, sys
import numpy as np
from harmviz import jobs
from harmviz.cli import main
from harmviz.errors import HarmvizError
from harmviz.runs import list_runs, result_digest, verify_run
from harmviz.runs.archive import export_run
from harmviz.runs.making import make
from tests.runs.test_making import plan, work

base = Path(sys.argv[1])
disk, seen = base / "disk", {}
mounted(disk, 1 << 22)
shutil.copytree(base / "runs", disk / "runs")
os.environ["HARMVIZ_CACHE"] = str(disk)
(run,) = list_runs()
export_run(run, base / "run.zip")
other = make(plan(), work([]), root=base / "elsewhere")
export_run(other, base / "other.zip")
locked(disk)
before = sorted(str(p) for p in disk.rglob("*"))

def said(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as e:
            code = e.code
    return code, err.getvalue()

reads = ["runs"], ["show", "latest"], ["verify", "latest"]
writes = ["runs", "import", str(base / "other.zip")], ["runs", "delete", run.id, "--yes"]
for where, kind, more in ((base, "read", reads), (disk, "write", writes)):
    for words in (*more, ["runs", "export", run.id, "--out", str(where / "out.zip")]):
        seen[f"{kind} {' '.join(words)}"] = said(*words)
start, begin = lambda: jobs.start(["runs"]), lambda: make(plan(), work([]), root=disk / "runs")
for name, do in (("write job", start), ("write run", begin)):
    try:
        do()
        seen[name] = (0, "")
    except HarmvizError as e:
        seen[name] = (e.exit_code, str(e) + "\\n")
assert sorted(str(p) for p in disk.rglob("*")) == before

grown(disk, 1 << 22)
replace = os.replace
def refused(*_):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # as a file system does that met an error of its disk
def turning(making):
    making.array("losses", 2.0, lambda: np.array([[1.0, 2.0], [3.0, 4.5]]))
    os.replace = refused
    return work([])(making)
try:
    make(plan(), turning, root=disk / "runs")
except OSError as e:
    seen["turned"] = e.strerror
os.replace = replace
again = make(plan(), work(calls := []), root=disk / "runs", resume=True)
assert verify_run(again) == [] and result_digest(again) == result_digest(other)
seen["again"] = calls
print(json.dumps(seen))
"""


def test_a_read_only_cache_is_read_and_says_that_it_is_not_written(tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    seen = in_namespace(READ_ONLY, str(tmp_path))
    turned, again = seen.pop("turned"), seen.pop("again")
    for name, (code, error) in seen.items():
        if name.startswith("read"):
            assert code == 0, f"{name}: {error}"
        else:
            assert code in (1, 2), name
            assert error.count("\n") == 1, f"{name}: {error}"
            assert "Read-only file system" in error, f"{name}: {error}"
    assert {name.split()[0] for name in seen} == {"read", "write"}
    assert len(seen) == 9
    assert turned == "Read-only file system"
    assert again == ["rows"], "the stage that was finished before is not done again"


def test_the_program_in_the_namespace_fails_aloud(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it went wrong"):
        in_namespace("raise SystemExit('it went wrong')")

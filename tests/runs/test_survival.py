"""Runs survive what happens around them: a power cut, somebody who tidies up, a clock that is set, an older schema."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz import runs as store
from harmviz.cli import main
from harmviz.errors import RunIncompatible
from harmviz.runs import begin, list_partials, list_runs, open_run, result_digest, verify_run
from harmviz.runs.archive import export_run, import_run
from harmviz.runs.hashes import FileHashes
from harmviz.runs.making import Making, make
from harmviz.runs.manifest import MANIFEST
from harmviz.runs.manifest_check import manifest_problems
from harmviz.runs.progress import Progress
from tests.conftest import QUICK_RUN
from tests.runs.test_archive import stored
from tests.runs.test_making import plan
from tests.runs.test_store import ID, make_run, manifest
from tests.worlds.power import Disk, watched

COMMITTED = Path(__file__).resolve().parents[2] / "cache" / "runs"


# -- a power cut ------------------------------------------------------------------------------------------------------
def test_what_a_marker_or_a_manifest_vouches_for_has_reached_the_disk_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    seen: list[str] = []

    def vouched(disk: Disk, source: Path, target: Path) -> None:
        partial = root / f".partial-{ID}"
        if target.parent == partial / "stages" or target == partial / "run" / MANIFEST:
            seen.append(target.name)
            temporary = str(source.resolve())
            lost = [what for what in disk.unsafe(partial) if Path(temporary).name not in what]
            assert lost == [], f"{target.name} was written before this was on the disk"
        if target == root / ID:
            seen.append("run")
            assert disk.unsafe(source) == [], "the run was shown before it was on the disk"

    with watched(tmp_path, monkeypatch, vouched) as disk, begin(ID, root) as p:
        for stage in ("score", "select"):
            p.path(f"scratch/deep/{stage}").write_bytes(stage.encode())
            p.path(f"results/{stage}").write_bytes(stage.encode())
            p.finish(stage)
        run = p.commit(manifest())
        assert disk.unsafe(run.path) == []
    assert seen == ["score.json", "select.json", MANIFEST, "run"]


def test_an_import_is_shown_only_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stored(tmp_path / "there")
    archive = tmp_path / "run.zip"
    export_run(run, archive)
    root = tmp_path / "here"
    root.mkdir()
    shown = []

    def vouched(disk: Disk, source: Path, target: Path) -> None:
        if target == root / run.id:
            shown.append(target)
            assert disk.unsafe(source) == []

    with watched(tmp_path, monkeypatch, vouched):
        import_run(archive, root)
    assert shown == [root / run.id]


# -- somebody tidies up -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "tidy",
    [
        lambda folder: (folder / "scratch" / "first.npy").unlink(),
        lambda folder: (folder / "scratch" / "first.npy").write_bytes(b""),
        lambda folder: (folder / "stages" / "first.json").unlink(),
        shutil.rmtree,
    ],
    ids=["a file", "a file emptied", "a marker", "all"],
)
@pytest.mark.parametrize("when", ["within a stage", "before the end"])
def test_what_was_deleted_while_a_run_is_made_is_one_clear_line_and_done_again(
    tidy: Callable[[Path], Any], when: str, tmp_path: Path
) -> None:
    import numpy as np

    done: list[str] = []

    def work(making: Making, *, tidied: bool) -> dict[str, Any]:
        def first() -> np.ndarray:
            done.append("first")
            return np.arange(5)

        def second() -> np.ndarray:
            if tidied and when == "within a stage":
                tidy(making.partial.folder)
            return np.load(making.partial.path("scratch/first.npy")) * 2

        making.array("first", 10.0, first)
        making.array("second", 10.0, second)
        if tidied and when == "before the end":
            tidy(making.partial.folder)
        return {}

    with pytest.raises(RunIncompatible, match=r"stage 'first' .* deleted or changed .*--resume"):
        make(plan(), lambda making: work(making, tidied=True), root=tmp_path, resume=True)
    assert list_runs(tmp_path) == []
    run = make(plan(), lambda making: work(making, tidied=False), root=tmp_path, resume=True)
    assert verify_run(run) == []
    assert done == ["first", "first"]
    assert list_partials(tmp_path) == []


def test_the_model_and_the_data_may_go_while_a_run_is_made(
    tiny_dir: Path, quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run reads it has read, or holds open: it ends with the same result."""
    model, data = tmp_path / "tiny", tmp_path / "two_types.jsonl"
    shutil.copytree(tiny_dir, model)
    shutil.copy(QUICK_RUN[1], data)
    tell, gone = Progress._tell, []

    def told(self: Progress, done: int, total: int, force: bool = False) -> None:
        tell(self, done, total, force=force)
        if self.stage.startswith("score.") and not gone:
            gone.append(self.stage)
            shutil.rmtree(model)
            data.unlink()

    monkeypatch.setattr(Progress, "_tell", told)
    options = [str(data) if option == QUICK_RUN[1] else option for option in QUICK_RUN]
    assert main(["run", "--model", str(model), *options, "--out", str(tmp_path / "runs")]) == 0
    assert gone
    (run,) = list_runs(tmp_path / "runs")
    assert result_digest(run) == result_digest(open_run(quick_run))


# -- a clock that is set ----------------------------------------------------------------------------------------------
def test_a_file_written_again_at_the_same_time_is_another(tmp_path: Path) -> None:
    """The clock is set back between two writes, to the nanosecond of the first."""
    hashes, path = FileHashes(), tmp_path / "f"
    path.write_bytes(b"one")
    before = path.stat().st_mtime_ns
    first = hashes.of(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before, before))
    assert hashes.of(path) not in (None, first)
    path.unlink()
    assert hashes.of(path) is None


@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_jumps_while_a_run_is_made_changes_nothing_but_its_date(
    years: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime, timedelta

    from harmviz.runs import partial

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=365 * years)

    straight = make_run(tmp_path / "straight")
    root = tmp_path / "jumped"
    with begin(straight.id, root) as p:
        for name in straight.manifest["files"]:
            p.write(name, (straight.path / name).read_bytes())
        p.finish("first")
        then = datetime.now(UTC).timestamp() + 365 * 86400 * years
        for path in root.rglob("*"):
            os.utime(path, (then, then))  # written when the clock was wrong
    with begin(straight.id, root) as p:
        assert p.stages() == ["first"]
        monkeypatch.setattr(partial, "datetime", Jumped)
        run = p.commit({name: value for name, value in manifest().items() if name != "created"})
    assert run.created != straight.created
    assert (verify_run(run), result_digest(run)) == ([], result_digest(straight))
    assert all(seconds >= 0 for seconds in run.manifest["timings"].values())
    assert [r.id for r in list_runs(root)] == [run.id]


# -- an older schema --------------------------------------------------------------------------------------------------
def _without(said: dict[str, Any], *paths: str) -> dict[str, Any]:
    said = json.loads(json.dumps(said))
    for path in paths:
        *above, last = path.split(".")
        place = said
        for key in above:
            place = place.get(key, {})
        place.pop(last, None)
    return said


#: What manifests of schema 1 did not say at first, in the order in which it came.
LATER = ("model.notes", "model.config_hash", "model.tokenizer_hash", "data.dropped", "manifest_hash")


@pytest.mark.parametrize("folder", sorted(COMMITTED.iterdir()), ids=lambda folder: folder.name)
def test_a_run_of_every_committed_schema_is_read_verified_and_taken_elsewhere(folder: Path, tmp_path: Path) -> None:
    run = open_run(folder)
    assert run.manifest["schema_version"] in range(1, store.SCHEMA_VERSION + 1)
    assert verify_run(run) == []
    for n in range(len(LATER) + 1):
        older = _without(dict(run.manifest), *LATER[n:], "manifest_hash")
        assert manifest_problems(older) == []
    export_run(run, tmp_path / "run.zip")
    came = import_run(tmp_path / "run.zip", tmp_path / "runs")
    assert result_digest(came) == result_digest(run)

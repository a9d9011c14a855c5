"""Stored runs are input: each kind of damage is named, hides nothing else, changes nothing, and can be put away."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import tracemalloc
from pathlib import Path

import pytest

from harmviz import runs as store
from harmviz.cli import main
from harmviz.errors import RunIncompatible, RunNotFound
from harmviz.paths import shipped_runs_root
from harmviz.runs import imports
from harmviz.runs.rows import rows_problem
from tests.worlds.damage import DAMAGES, bomb, damaged_run, packed, rewritten, state_of
from tests.worlds.fabricated import make_run

OLD, NEW, FUTURE = "2020-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"


# -- damage -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_hides_nothing_changes_nothing_and_can_be_deleted(tmp_path: Path, name: str) -> None:
    good, bad = make_run(tmp_path, "good-0000000000"), damaged_run(tmp_path, name)
    before = state_of(tmp_path)
    assert store.list_runs(tmp_path) == [good]
    (broken,) = store.broken_runs(tmp_path)
    assert DAMAGES[name][1] in broken.reason
    assert str(bad) in broken.reason
    assert len(broken.reason) < 600
    assert broken.reason.isprintable()
    for ask in (lambda: store.open_run(bad.name, tmp_path), lambda: store.find_run(bad.name, tmp_path)):
        with pytest.raises((RunIncompatible, RunNotFound)) as e:
            ask()
        assert str(e.value).isprintable()
    assert store.open_run("latest", tmp_path) == store.default_run(tmp_path) == good
    assert state_of(tmp_path) == before
    store.delete_run(broken.name, tmp_path)
    assert not os.path.lexists(bad)
    assert store.broken_runs(tmp_path) == []
    assert store.list_runs(tmp_path) == [good]


@pytest.mark.parametrize("name", [b"no text \xff", b"line\nbreak", b"x" * 250, "a\u202eb".encode(), b"latest"])
def test_names_on_disk_may_be_anything(tmp_path: Path, name: bytes) -> None:
    good = make_run(tmp_path, "good-0000000000")
    os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    (broken,) = store.broken_runs(tmp_path)
    assert broken.name.isprintable()
    assert broken.reason.isprintable()
    assert broken.name.encode()
    assert store.list_runs(tmp_path) == [good]
    store.delete_run(broken.name, tmp_path)
    assert store.broken_runs(tmp_path) == []


def test_a_link_to_a_run_elsewhere_is_a_run_and_deleting_takes_the_link_only(tmp_path: Path) -> None:
    run = make_run(tmp_path / "elsewhere")
    root = tmp_path / "runs"
    root.mkdir()
    (root / run.id).symlink_to(run.path)
    assert [r.id for r in store.list_runs(root)] == [run.id]
    store.delete_run(run.id, root)
    assert list(root.glob("[!.]*")) == []
    assert store.verify_run(run) == []


def test_the_command_lists_the_damaged_beside_the_others(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(runs, "good-0000000000")
    for name in ("deep", "nan", "cut-results", "dangling"):
        damaged_run(runs, name)
    assert main(["runs"]) == 0
    out, err = capsys.readouterr()
    assert "good-0000000000" in out
    lines = [line for line in err.splitlines() if line.startswith("damaged: ")]
    assert len(lines) == 4
    for name in ("deep", "nan", "cut-results", "dangling"):
        assert any(f"{name}-0000000000" in line and DAMAGES[name][1] in line for line in lines)


def test_a_bomb_is_not_written_out_in_memory(tmp_path: Path) -> None:
    """Three million bytes a row in a file of some kB: refused by looking at the dictionary."""
    bomb(tmp_path / "x.parquet", 50, category="x" * 3_000_000)
    assert (tmp_path / "x.parquet").stat().st_size < 400_000
    tracemalloc.start()
    assert "3,000,000 bytes" in (rows_problem(tmp_path / "x.parquet") or "")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


# -- the manifest's own hash ------------------------------------------------------------------------------------------
def test_a_new_run_covers_its_manifest_and_an_older_one_says_that_it_does_not(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = make_run(runs, "new-0000000000")
    assert store.is_covered(new.manifest)
    assert main(["verify", new.id]) == 0
    assert "not covered" not in "".join(capsys.readouterr())
    old = runs / "old-0000000000"
    new.path.rename(old)
    rewritten(old, run_id=old.name)
    text = (old / "manifest.json").read_text()
    (old / "manifest.json").write_text(json.dumps({k: v for k, v in json.loads(text).items() if k != "manifest_hash"}))
    assert main(["verify", old.name]) == 0
    assert "manifest not covered" in capsys.readouterr().out
    assert main(["verify", old.name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest_covered"] is False


def test_shipped_runs_open_and_verify_though_no_hash_covers_older_ones() -> None:
    shipped = store.list_runs(shipped_runs_root())
    assert all(store.verify_run(run) == [] for run in shipped)
    assert not all(store.is_covered(run.manifest) for run in shipped), "older ones carry no hash of their manifest"
    assert store.broken_runs(shipped_runs_root()) == []


# -- imports ----------------------------------------------------------------------------------------------------------
def test_an_import_is_neither_latest_nor_default_by_its_date_or_name(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    only = store.import_run(packed(elsewhere, "smollm2-135m-instruct-pyrit-aaaaaaaaaa", created=FUTURE), root)
    assert only.taken_in is not None
    assert store.open_run("latest", root) == store.default_run(root) == only  # nothing else is there
    here = make_run(root, "mine-0000000000", created=OLD)
    assert here.taken_in is None
    ancient = store.import_run(packed(elsewhere, "smollm2-135m-instruct-pyrit-0000000000", created=OLD), root)
    for run in (store.open_run("latest", root), store.default_run(root), store.list_runs(root)[0]):
        assert run == here
    assert [r.id for r in store.list_runs(root)] == [here.id, ancient.id, only.id]  # as they came in, the last first
    assert store.open_run(ancient.id, root) == ancient
    assert store.verify_run(ancient) == []


def test_an_experiment_made_here_is_latest_before_an_imported_map(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    store.import_run(packed(tmp_path / "elsewhere", "theirs-0000000000", created=FUTURE), root)
    mine = make_run(root, "mine-0000000000", kind="experiment", created=OLD)
    assert store.open_run("latest", root) == mine


def test_a_deleted_import_is_forgotten_and_a_run_made_here_is_none(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    run = store.import_run(packed(tmp_path / "elsewhere", "theirs-0000000000"), root)
    store.delete_run(run.id, root)
    assert imports.taken_in(root / run.id) is None
    imports.mark(root, run.id)  # as a crash between mark and move leaves it
    assert make_run(root, run.id).taken_in is None


def test_the_order_of_imports_is_that_of_coming_in(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    for name, date in (("c", OLD), ("a", FUTURE), ("b", NEW)):
        store.import_run(packed(elsewhere, f"{name}-0000000000", created=date), root)
        time.sleep(0.01)
    assert [r.id[0] for r in store.list_runs(root)] == ["b", "a", "c"]


def test_an_import_takes_no_shipped_id(tmp_path: Path) -> None:
    (shipped,) = [r for r in store.list_runs(shipped_runs_root()) if "-compression-" in r.id]
    root = tmp_path / "runs"
    with pytest.raises(RunIncompatible, match="ships with harmviz"):
        store.import_run(packed(tmp_path / "elsewhere", shipped.id), root)
    assert store.list_runs(root) == []
    edited = tmp_path / "edited" / shipped.id
    shutil.copytree(shipped.path, edited)
    rewritten(edited, created=FUTURE)  # the same results, another manifest
    archive = io.BytesIO()
    store.export_run(store.read_run(edited), archive)
    with pytest.raises(RunIncompatible, match="ships with harmviz"):
        store.import_run(archive, root)
    archive = io.BytesIO()
    store.export_run(shipped, archive)
    assert store.import_run(archive, root).id == shipped.id  # the very run, in a cache of one's own

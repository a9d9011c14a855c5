"""Runs as archives: what goes out comes back the same, and nothing that breaks a rule leaves a trace."""

from __future__ import annotations

import io
import json
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from harmviz import runs as store
from harmviz.cli import main
from harmviz.errors import HarmvizError, OutOfMemory, RunIncompatible, RunNotFound
from harmviz.masks.mask import FORMAT
from harmviz.runs import Run, begin, rows, unpacking
from harmviz.runs.manifest import manifest_hash
from tests.worlds.fabricated import make_run, manifest

ROOT = Path(__file__).resolve().parents[2]
MASK = save({"x": np.arange(3, dtype=np.uint32)}, metadata={"harmviz": json.dumps({"format": FORMAT, "kind": "harm"})})


def stored(root: Path, run_id: str = "small-0123456789", mask: bytes = MASK, value: float = 1.0) -> Run:
    """A run with one mask and a few result rows."""
    rows = make_run(root.parent / "other", "rows-0000000000", scale=value).path / "results" / "effect.parquet"
    with begin(run_id, root) as partial:
        partial.write("results/effect.parquet", rows.read_bytes())
        partial.write("masks/headline-plain.random.safetensors", mask)
        partial.write("results/texts.jsonl", b'{"a": 1}\n' * 1000)
        partial.finish("all")
        run = partial.commit(manifest())
    shutil.rmtree(root.parent / "other")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return stored(tmp_path / "runs")


@pytest.fixture
def archive(run: Run, tmp_path: Path) -> Path:
    target = tmp_path / "run.zip"
    store.export_run(run, target)
    return target


def nothing_left(root: Path) -> bool:
    return not root.exists() or not list(root.iterdir())


def rewritten(archive: Path, change: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> Path:
    """The archive made again by ``change``, which gets the new zip and the old one's contents by name."""
    target = archive.with_name("evil.zip")
    with zipfile.ZipFile(archive) as old:
        contents = {n: old.read(n) for n in old.namelist()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        change(new, contents)
    return target


def with_manifest(new: zipfile.ZipFile, contents: dict[str, bytes], **changes: Any) -> None:
    """Writes ``contents`` with changed keys in the manifest, everything else as it was."""
    for name, content in contents.items():
        if name.endswith("/manifest.json"):
            changed = json.loads(content) | changes
            content = json.dumps(changed | {"manifest_hash": manifest_hash(changed)}).encode()
        new.writestr(name, content)


# -- there and back ---------------------------------------------------------------------------------------------------
def test_an_exported_run_comes_back_byte_for_byte(run, archive, tmp_path):
    back = store.import_run(archive, tmp_path / "elsewhere")
    assert back.path == tmp_path / "elsewhere" / run.id
    assert store.verify_run(back) == []
    assert back.manifest == run.manifest
    assert [p.name for p in (tmp_path / "elsewhere").iterdir() if not p.name.startswith(".")] == [run.id]


def test_equal_runs_are_equal_archives(run, archive, tmp_path):
    for file in run.path.rglob("*"):
        if file.is_file():
            file.touch()
    again = io.BytesIO()
    store.export_run(run, again)
    assert again.getvalue() == archive.read_bytes()
    assert zipfile.ZipFile(archive).namelist() == sorted(zipfile.ZipFile(archive).namelist())


def test_an_open_file_is_taken_as_well(archive, tmp_path):
    with archive.open("rb") as f:
        assert store.import_run(f, tmp_path / "elsewhere").id == "small-0123456789"


def test_a_run_that_is_here_already_is_returned(run, archive):
    before = run.path.stat().st_ino
    assert store.import_run(archive, run.path.parent).path == run.path
    assert run.path.stat().st_ino == before


def test_another_result_of_the_same_id_is_refused(run, archive, tmp_path):
    stored(tmp_path / "theirs", value=2.0)
    with pytest.raises(RunIncompatible, match="other results"):
        store.import_run(archive, tmp_path / "theirs")


def test_a_damaged_run_is_not_exported(run, tmp_path):
    (run.path / "results" / "texts.jsonl").write_text("changed")
    with pytest.raises(RunIncompatible, match="not exported"):
        store.export_run(run, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_place_that_cannot_be_written_is_named(run, tmp_path):
    with pytest.raises(HarmvizError, match="no/such"):
        store.export_run(run, tmp_path / "no" / "such" / "x.zip")


# -- what is refused --------------------------------------------------------------------------------------------------
TOP = "small-0123456789"


def _add(name: str, content: bytes = b"x", mode: int = stat.S_IFREG | 0o644) -> Callable[..., None]:
    def change(new: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
        with_manifest(new, contents)
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        new.writestr(info, content)

    return change


def _renamed_top(new: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        new.writestr("other-0000000000/" + name.partition("/")[2], content)


def _without(name: str) -> Callable[..., None]:
    return lambda new, contents: with_manifest(new, {k: v for k, v in contents.items() if not k.endswith(name)})


def _changed(new: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
    with_manifest(new, {k: v.replace(b'"a": 1', b'"a": 2') if k.endswith("jsonl") else v for k, v in contents.items()})


EVIL = {
    "parent": (_add(f"{TOP}/../../evil.json"), "no plain name"),
    "absolute": (_add("/etc/evil.json"), "no plain name"),
    "drive": (_add("C:/evil.json"), "no plain name"),
    "backslash": (_add(f"{TOP}\\..\\evil.json"), "no plain name"),
    "hidden": (_add(f"{TOP}/.evil.json"), "no plain name"),
    "empty part": (_add(f"{TOP}//evil.json"), "no plain name"),
    "link": (_add(f"{TOP}/evil.json", b"/etc/passwd", stat.S_IFLNK | 0o777), "link or a special file"),
    "pipe": (_add(f"{TOP}/evil.json", b"", stat.S_IFIFO | 0o644), "link or a special file"),
    "unlisted": (_add(f"{TOP}/evil.json"), "not listed"),
    "other folder": (_add("other/evil.json"), "holds 2"),
    "at the top": (_add("evil.json"), "outside the run's folder"),
    "other case": (_add(f"{TOP}/Manifest.json"), "in it twice"),
    "renamed": (_renamed_top, "says 'small-0123456789'"),
    "lacking": (_without("texts.jsonl"), "missing"),
    "no manifest": (_without("manifest.json"), "no manifest.json"),
    "changed": (_changed, "changed after"),
    "schema": (lambda new, c: with_manifest(new, c, schema_version=99), "schema 99"),
    "no schema": (lambda new, c: with_manifest(new, c, model=3), "model must be"),
    "pickle": (
        lambda new, c: with_manifest(
            new,
            {**c, f"{TOP}/evil.pkl": b"x"},
            files=json.loads(c[f"{TOP}/manifest.json"])["files"] | {"evil.pkl": "0" * 64},
        ),
        "none of .safetensors",
    ),
    "nested json": (
        lambda new, c: [new.writestr(k, b"[" * 200_000 if k.endswith("manifest.json") else v) for k, v in c.items()],
        "nested deeper",
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_an_archive_that_breaks_a_rule_is_refused_and_leaves_nothing(name, archive, tmp_path):
    change, said = EVIL[name]
    evil = rewritten(archive, change)
    with pytest.raises(RunIncompatible, match="not imported") as e:
        store.import_run(evil, tmp_path / "here")
    assert said in str(e.value)
    assert "\n" not in str(e.value)
    assert nothing_left(tmp_path / "here")
    assert not (tmp_path / "evil.json").exists()


def test_a_second_copy_of_a_name_is_refused(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr(f"{TOP}/results/texts.jsonl", b"x")
    with pytest.raises(RunIncompatible, match="in it twice"):
        store.import_run(archive, tmp_path / "here")


def test_too_many_files_are_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)
    with pytest.raises(RunIncompatible, match="at most 3"):
        store.import_run(archive, tmp_path / "here")


def test_more_bytes_than_the_limit_are_refused_before_unpacking(archive, tmp_path):
    with pytest.raises(OutOfMemory, match=r"imports may take 0\.005 MB more"):
        store.import_run(archive, tmp_path / "here", max_bytes=5000)
    assert nothing_left(tmp_path / "here")


def test_a_member_larger_than_it_declares_is_refused(archive, tmp_path):
    """A compression bomb lies about its size: 9,000 declared bytes become 900."""
    evil = rewritten(archive, with_manifest)
    content = bytearray(evil.read_bytes())
    real, lie = (9000).to_bytes(4, "little"), (900).to_bytes(4, "little")
    assert content.count(real) == 2  # the member's own header and the directory
    evil.write_bytes(content.replace(real, lie))
    with pytest.raises(RunIncompatible, match="not imported"):
        store.import_run(evil, tmp_path / "here")
    assert nothing_left(tmp_path / "here")


def test_a_truncated_archive_and_another_file_are_refused(archive, tmp_path):
    for content in (archive.read_bytes()[:-100], b"no zip at all", b""):
        bad = tmp_path / "bad.zip"
        bad.write_bytes(content)
        with pytest.raises(RunIncompatible, match="damaged or no zip file"):
            store.import_run(bad, tmp_path / "here")
    with pytest.raises(RunNotFound, match="no file"):
        store.import_run(tmp_path / "absent.zip", tmp_path / "here")


@pytest.mark.parametrize(
    ("header", "said"),
    [({"format": FORMAT, "kind": "measurement"}, "measurement-only"), ({}, "no mask")],
    ids=["measurement", "none"],
)
def test_only_masks_that_may_leave_come_in(tmp_path, header, said):
    run = stored(
        tmp_path / "runs", mask=save({"x": np.arange(3, dtype=np.uint32)}, metadata={"harmviz": json.dumps(header)})
    )
    packed = io.BytesIO()
    store.export_run(run, packed)
    with pytest.raises(RunIncompatible, match=said):
        store.import_run(packed, tmp_path / "here")
    assert nothing_left(tmp_path / "here")


def test_files_that_are_not_what_their_names_say_are_refused(tmp_path):
    run = stored(tmp_path / "runs", mask=b"no safetensors")
    packed = io.BytesIO()
    store.export_run(run, packed)
    with pytest.raises(RunIncompatible, match="no readable safetensors file"):
        store.import_run(packed, tmp_path / "here")


def test_a_results_file_of_too_many_rows_is_refused(archive, run, tmp_path, monkeypatch):
    n = pq.read_metadata(run.path / "results" / "effect.parquet").num_rows
    monkeypatch.setattr(rows, "MAX_ROWS", n - 1)
    with pytest.raises(RunIncompatible, match=f"claims {n} rows"):
        store.import_run(archive, tmp_path / "here")


# -- delete -----------------------------------------------------------------------------------------------------------
def test_a_deleted_run_is_gone_and_others_stay(run, tmp_path):
    other = stored(tmp_path / "runs", "other-0000000000")
    store.delete_run(run.id, tmp_path / "runs")
    assert [r.id for r in store.list_runs(tmp_path / "runs")] == [other.id]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [other.id]


def test_damaged_folders_and_unfinished_work_can_be_deleted(run, tmp_path):
    (run.path / "manifest.json").unlink()
    odd = run.path.with_name("odd name")
    odd.mkdir()
    with begin("half-0000000000", tmp_path / "runs") as partial:
        partial.write("x.json", b"{}")
        partial.finish("one")
    for name in (run.id, "odd name", "half-0000000000"):
        store.delete_run(name, tmp_path / "runs")
    assert nothing_left(tmp_path / "runs")


def test_a_run_that_is_being_computed_is_not_deleted(run, tmp_path):
    with begin(run.id, tmp_path / "runs"), pytest.raises(RunIncompatible, match="being computed"):
        store.delete_run(run.id, tmp_path / "runs")
    assert store.verify_run(run) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../runs", ".partial-x", "a/b", "absent"])
def test_names_that_are_no_run_are_refused(name, run):
    with pytest.raises(RunNotFound):
        store.delete_run(name, run.path.parent)
    assert store.verify_run(run) == []


def test_a_shipped_run_is_never_deleted(tmp_path):
    (name, *_) = sorted(store.shipped_runs())
    run = make_run(tmp_path / "runs", name)
    with pytest.raises(RunIncompatible, match="ships with harmviz"):
        store.delete_run(name, tmp_path / "runs")
    assert store.verify_run(run) == []


def test_the_shipped_runs_are_those_in_git():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "cache/runs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {Path(n).parts[2] for n in listed} == store.shipped_runs()


# -- the command line -------------------------------------------------------------------------------------------------
def test_the_command_line_exports_imports_and_deletes(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    target = tmp_path / "out.zip"
    assert main(["runs", "export", "small", "--out", str(target), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"run_id": run.id, "path": str(target), "bytes": target.stat().st_size}
    assert main(["runs", "delete", run.id]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run.path.exists()
    assert main(["runs", "delete", run.id, "--yes"]) == 0
    assert not run.path.exists()
    capsys.readouterr()
    assert main(["runs", "import", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run_id": run.id, "path": str(run.path)}
    assert main(["runs", "--json"]) == 0
    assert [r["run_id"] for r in json.loads(capsys.readouterr().out)] == [run.id]
    assert main(["runs", "delete", "smal", "--yes"]) == 2  # a beginning is not enough to delete
    assert "no run 'smal'" in capsys.readouterr().err


def test_a_small_archive_never_fills_the_disk(run: Run, archive: Path, tmp_path: Path) -> None:
    """820 kB of zeros, packed, once stored 525 MB."""

    def bomb(new: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
        with_manifest(new, contents)
        new.writestr(f"{run.id}/results/zeros.json", bytes(unpacking.RATIO_SLACK * 2))

    evil = rewritten(archive, bomb)
    assert evil.stat().st_size < 1 << 20
    with pytest.raises(RunIncompatible, match=r"it would unpack to more than \d+ MB"):
        store.import_run(evil, tmp_path / "others")
    assert nothing_left(tmp_path / "others")

"""The store: nothing half-written is ever seen, equal results are equal bytes, damage is named."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz import files
from harmviz import runs as store
from harmviz.errors import HarmvizError, OutOfMemory, RunIncompatible, RunNotFound
from harmviz.runs import Row, begin, partial, run_id
from tests.worlds.fabricated import TABLE, die, effect_rows, make_run, manifest

ID = "toy-0123456789"


def in_child(work: Callable[[], object]) -> int:
    """Exit status of ``work`` in a forked child; the child never returns into the test."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever happens, the child must not return into the test
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- atomic files -----------------------------------------------------------------------------------------------------
def test_write_atomic_replaces_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.bin"
    files.write_atomic(target, b"one")
    files.write_atomic(target, b"three")
    assert target.read_bytes() == b"three"
    assert os.listdir(target.parent) == ["x.bin"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_is_named_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    target = tmp_path / "x.bin"
    files.write_atomic(target, b"old")

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as m:
        m.setattr(files.os, call, full)
        with pytest.raises(OutOfMemory, match=rf"disk full: need 1,234 bytes at {target}"):
            files.write_atomic(target, b"x" * 1234)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_other_disk_errors_pass_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        files.write_atomic(tmp_path / "file" / "x", b"")


# -- run ids ----------------------------------------------------------------------------------------------------------
def test_run_id_reads_well_and_depends_on_every_determinant() -> None:
    base = {"model": "ab", "q_max": 1e-4, "seeds": {"a": 1, "b": 2}}
    name = run_id(["SmolLM2-135M-Instruct", "pyrit"], base)
    assert name.startswith("smollm2-135m-instruct-pyrit-")
    assert len(name.rpartition("-")[2]) == 10
    assert name == run_id(
        ["SmolLM2-135M-Instruct", "pyrit"], {"seeds": {"b": 2, "a": 1}, "q_max": 0.0001, "model": "ab"}
    )
    assert name != run_id(["SmolLM2-135M-Instruct", "pyrit"], {**base, "q_max": 2e-4})
    assert run_id(["org/Model.v1@main", "x"], {}).startswith("org-model.v1-main-x-")


@given(st.lists(st.text(max_size=200), min_size=1, max_size=4))
def test_every_run_id_is_a_safe_folder_name(parts: list[str]) -> None:
    try:
        name = run_id(parts, {})
    except ValueError:
        assert not any(c.isascii() and c.isalnum() for c in "".join(parts).lower())
    else:
        store.manifest.check_run_id(name)


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": float("inf")}])
def test_run_id_refuses_numbers_without_a_json_text(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="JSON"):
        run_id(["a"], bad)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "a\0"])
def test_begin_refuses_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="run id"):
        begin(name, tmp_path)


# -- rows -------------------------------------------------------------------------------------------------------------
def test_rows_survive_the_disk_and_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    rows = [*effect_rows(), Row(experiment="compression", metric="q_to_0.1", value=None)]
    for name in ("a", "b"):
        store.write_rows(tmp_path / f"{name}.parquet", rows)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    frame = store.read_rows([tmp_path / "a.parquet"])
    assert tuple(frame.columns) == store.ROW_COLUMNS
    assert frame.equals(store.rows_to_frame(rows))
    records = store.frame_to_records(frame)
    assert records[0]["value"] == 0.31
    assert records[0]["n"] == 24
    assert records[-1] == dict.fromkeys(store.ROW_COLUMNS) | {
        "experiment": "compression",
        "metric": "q_to_0.1",
        "control": "none",
    }
    json.dumps(records, allow_nan=False)


def test_frames_have_the_same_types_whatever_is_missing() -> None:
    empty, bare = store.rows_to_frame([]), store.rows_to_frame([Row(experiment="effect", metric="nll", value=None)])
    full = store.rows_to_frame(effect_rows())
    assert empty.dtypes.equals(full.dtypes)
    assert bare.dtypes.equals(full.dtypes)


def test_numpy_scalars_are_welcome() -> None:
    row = Row(experiment="effect", metric="nll", value=np.float32(0.5), n=np.int64(3), q=np.float64(0.25))  # type: ignore[arg-type]
    assert store.frame_to_records(store.rows_to_frame([row]))[0]["value"] == 0.5


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("experiment", "Effect 1", "lower-case"),
        ("control", "rand", "none, random"),
        ("scope", "layer", "global, matrix"),
        ("value", float("nan"), "None"),
        ("ci_high", float("inf"), "None"),
        ("q", 1.5, r"\[0, 1\]"),
        ("n", -1, "whole number"),
        ("ci_low", 9.0, "above"),
    ],
)
def test_bad_rows_are_refused(field: str, value: object, says: str) -> None:
    good = {"experiment": "effect", "metric": "delta_nll", "value": 0.1, "ci_low": 0.0, "ci_high": 0.2}
    with pytest.raises(ValueError, match=rf"{field}.*{says}"):
        Row(**(good | {field: value}))  # type: ignore[arg-type]


# -- a run, whole -----------------------------------------------------------------------------------------------------
def test_a_run_holds_what_was_put_in(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert store.verify_run(run) == []
    assert run.table == TABLE
    assert (run.kind, run.model_name) == ("map", "smollm2-135m-instruct")
    assert run.candidates_path.is_file()
    assert list(run.masks()) == ["mean"]
    assert run.results().equals(store.rows_to_frame(effect_rows()))
    assert set(run.manifest["timings"]) == {"score", "effect"}
    assert sorted(os.listdir(tmp_path)) == [run.id]
    assert sorted(os.listdir(run.path)) == ["candidates.safetensors", "manifest.json", "masks", "results"]
    with pytest.raises(RunIncompatible, match="no maps"):
        _ = run.maps_path


def test_date_and_machine_do_not_change_the_digest(tmp_path: Path) -> None:
    one, other = (
        make_run(tmp_path / "a"),
        make_run(tmp_path / "b", created="2027-01-01T00:00:00+00:00", hardware={"device": "x"}),
    )
    assert store.result_digest(one) == store.result_digest(other)
    assert store.result_digest(one) != store.result_digest(make_run(tmp_path / "c", scale=1.1))


def test_an_equal_run_is_returned_not_overwritten(tmp_path: Path) -> None:
    first = make_run(tmp_path, created="2026-01-01T00:00:00+00:00")
    again = make_run(tmp_path, created="2026-06-01T00:00:00+00:00")
    assert again.created == first.created == store.open_run(first.id, tmp_path).created
    assert sorted(os.listdir(tmp_path)) == [first.id]


def test_a_manifest_that_breaks_the_schema_is_not_committed(tmp_path: Path) -> None:
    with begin(ID, tmp_path) as p:
        p.write("x", b"x")
        p.finish("a")
        with pytest.raises(ValueError, match=r"seeds is missing.*"):
            p.commit({k: v for k, v in manifest().items() if k != "seeds"})
        assert store.list_runs(tmp_path) == []
        assert p.commit(manifest()).id == ID  # and nothing was lost


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 2}, "update harmviz"),
        ({"schema_version": "1"}, "need 1"),
        ({"kind": "maps"}, "kind must be one of map, experiment"),
        ({"seeds": {"a": True}}, "seeds.a"),
        ({"timings": None}, "timings must be dict"),
        ({"model": {"name": "x"}}, "model.revision is missing"),
        ({"weights": []}, "weights is empty"),
        ({"weights": [{"nome": 1}]}, "no weight table"),
        ({"weights": TABLE.to_json()[:1]}, "hold 331776 weights"),
        ({"files": {"../x": "0" * 64}}, "outside the run"),
        ({"files": {"x": "0"}}, "not a sha256"),
        ({"data": {**manifest()["data"], "counts": {"hate": 3}}}, "data.counts.hate"),
        ({"data": {**manifest()["data"], "left_out": {"hate": 3}}}, "data.left_out.hate"),
    ],
)
def test_every_breach_of_the_schema_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    run = make_run(tmp_path)
    problems = store.manifest_problems({**run.manifest, **change})
    assert any(says in p for p in problems), problems


def test_nonsense_is_no_manifest() -> None:
    for nonsense in (None, [], "x", {}, {"schema_version": 1}):
        assert store.manifest_problems(nonsense)


def test_a_model_is_loaded_by_name_and_revision(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for facts, says in (
        ({"name": "a/b", "revision": "c"}, "a/b@c"),
        ({"name": "a/b", "revision": None}, "a/b"),
        ({"name": "x"}, "x"),
    ):
        assert store.Run(run.path, {**run.manifest, "model": facts}).model_id == says


# -- finding runs -----------------------------------------------------------------------------------------------------
def test_runs_are_listed_newest_first_and_found_by_what_is_unique(tmp_path: Path) -> None:
    old = make_run(tmp_path, "alpha-0000000001", created="2026-01-01T00:00:00+00:00")
    new = make_run(tmp_path, "alpha-0000000002", created="2026-02-01T00:00:00+00:00", kind="experiment")
    assert [r.id for r in store.list_runs(tmp_path)] == [new.id, old.id]
    for name in (old.id, "alpha-0000000001", old.path, str(old.path)):
        assert store.open_run(name, tmp_path) == old
    assert store.open_run("latest", tmp_path) == old  # the newest map, though an experiment is newer
    assert store.default_run(tmp_path) == old  # a map before an experiment
    with pytest.raises(RunNotFound, match=r"could be any of alpha-0000000002, alpha-0000000001"):
        store.open_run("alpha", tmp_path)
    with pytest.raises(RunNotFound, match=rf"there is: {new.id}, {old.id}"):
        store.open_run("beta", tmp_path)
    reference = make_run(tmp_path, created="2025-01-01T00:00:00+00:00")
    make_run(tmp_path, "smollm2-135m-instruct-pyrit-ffffffffff")
    assert store.default_run(tmp_path) == reference


def test_no_runs_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "nothing"))
    assert store.list_runs() == []
    assert store.broken_runs() == []
    assert store.list_partials() == []
    for ask in (
        lambda: store.open_run("x"),
        lambda: store.open_run("latest"),
        lambda: store.open_run(""),
        store.default_run,
    ):
        with pytest.raises(RunNotFound, match="python -m harmviz run"):
            ask()
    assert not (tmp_path / "nothing").exists()


def test_damage_is_named_and_hides_nothing_else(tmp_path: Path) -> None:
    good = make_run(tmp_path, "good-0000000000")
    for name, harm in {
        "truncated": lambda f: (f / "manifest.json").write_text('{"schema_version": 1,'),
        "empty": lambda f: (f / "manifest.json").unlink(),
        "missing": lambda f: (f / "results" / "effect.parquet").unlink(),
        "renamed": lambda f: f.rename(f.with_name("copy")),
    }.items():
        harm(make_run(tmp_path, f"{name}-0000000000").path)
    assert store.list_runs(tmp_path) == [good]
    reasons = {b.path.name: b.reason for b in store.broken_runs(tmp_path)}
    assert set(reasons) == {"truncated-0000000000", "empty-0000000000", "missing-0000000000", "copy"}
    assert "cannot be read" in reasons["truncated-0000000000"]
    assert "no complete run" in reasons["empty-0000000000"]
    assert "results/effect.parquet is missing" in reasons["missing-0000000000"]
    assert "holds run renamed-0000000000" in reasons["copy"]
    with pytest.raises(RunIncompatible, match="cannot be read"):
        store.open_run("truncated-0000000000", tmp_path)


def test_verify_names_every_file_that_differs(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run.path / "candidates.safetensors").write_bytes(b"changed")
    (run.path / "masks" / "mean.safetensors").unlink()
    (run.path / "extra.txt").write_text("x")
    assert store.verify_run(run) == [
        "masks/mean.safetensors is missing",
        "extra.txt is not part of the run",
        "candidates.safetensors was changed after the run was written",
    ]
    with pytest.raises(RunIncompatible, match="missing"):
        store.find_run(run.id, tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_results_that_are_no_rows_are_named(tmp_path: Path, content: bytes | None) -> None:
    with begin(ID, tmp_path) as p:
        if content is None:
            store.rows_to_frame(effect_rows()).drop(columns="unit").to_parquet(p.path("results/x.parquet"))
        else:
            p.write("results/x.parquet", content)
        run = p.commit(manifest())
    (problem,) = store.verify_run(run)
    assert problem.startswith("results/x.parquet: ")
    with pytest.raises(RunIncompatible, match=r"x\.parquet"):
        run.results()


# -- partial work -----------------------------------------------------------------------------------------------------
def test_a_partial_run_is_no_run_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with begin(ID, tmp_path) as p:
        assert not p.done("score:hate")
        p.write("scratch/hate.bin", b"sum")
        p.write("candidates.safetensors", b"c")
        p.finish("score:hate", {"samples": 3})
        p.write("results/half.parquet", b"interrupted")
        (info,) = store.list_partials(tmp_path)
        assert (info.run_id, info.stages, info.pid) == (ID, ("score:hate",), os.getpid())
    assert store.list_runs(tmp_path) == []
    assert store.broken_runs(tmp_path) == []
    assert store.list_partials(tmp_path)[0].pid is None
    with begin(ID, tmp_path) as p:
        assert p.done("score:hate")
        assert p.info("score:hate") == {"samples": 3}
        assert p.path("scratch/hate.bin").read_bytes() == b"sum"
        assert not p.path("results/half.parquet").exists()
        run = p.commit(manifest())
    assert set(run.manifest["files"]) == {"candidates.safetensors"}
    assert store.list_partials(tmp_path) == []
    assert os.listdir(tmp_path) == [ID]


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_bytes(b"other")])
def test_a_stage_whose_files_changed_is_undone_with_all_after_it(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    with begin(ID, tmp_path) as p:
        for stage in "abc":
            p.write(stage, stage.encode())
            p.finish(stage)
        target = p.path("b")
    damage(target)
    with begin(ID, tmp_path) as p:
        assert [p.done(s) for s in "abc"] == [True, False, False]
        assert not p.path("c").exists()
        p.write("b", b"b")
        p.finish("b")
        assert p.stages() == ["a", "b"]


def test_a_file_that_changes_behind_a_stage_stops_the_commit(tmp_path: Path) -> None:
    with begin(ID, tmp_path) as p:
        p.write("a", b"1")
        p.finish("a")
        p.write("a", b"2")
        with pytest.raises(RunIncompatible, match="changed after the stage 'a'"):
            p.commit(manifest())


def test_finishing_twice_is_refused(tmp_path: Path) -> None:
    with begin(ID, tmp_path) as p:
        p.finish("a")
        with pytest.raises(ValueError, match="done already"):
            p.finish("a")


def test_release_frees_scratch_and_keeps_the_stage(tmp_path: Path) -> None:
    with begin(ID, tmp_path) as p:
        p.write("scratch/sum", b"x" * 100)
        p.write("kept", b"k")
        p.finish("a")
        p.finish("b")
        p.release("a")
        assert not p.path("scratch/sum").exists()
    with begin(ID, tmp_path) as p:
        assert p.stages() == ["a", "b"]
        with pytest.raises(KeyError):
            p.release("c")


def test_begin_afresh_forgets(tmp_path: Path) -> None:
    with begin(ID, tmp_path) as p:
        p.finish("a")
    with begin(ID, tmp_path, resume=False) as p:
        assert not p.done("a")


@pytest.mark.parametrize("name", ["", "/x", "../x", "a/../../x", "manifest.json"])
def test_no_file_leaves_the_run(tmp_path: Path, name: str) -> None:
    with begin(ID, tmp_path) as p, pytest.raises(ValueError, match="inside the run"):
        p.path(name)


def test_stages_add_up_their_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(partial.time, "monotonic", lambda: now[0])
    with begin(ID, tmp_path) as p:
        now[0] = 150.0
        p.start("a")  # its clock starts here, not at begin
        now[0] = 152.0
        assert not p.done("a")  # whoever asks changes no timing
        now[0] = 152.5
        p.finish("a")
        now[0] = 153.5
        assert not p.done("b")
        assert p.done("a")
        p.finish("b")  # never started: since the end of the stage before it
        assert p.timings() == {"a": 2.5, "b": 1.0}


def test_two_writers_exclude_each_other(tmp_path: Path) -> None:
    with begin(ID, tmp_path), pytest.raises(RunIncompatible, match=rf"another process \(pid {os.getpid()}\)"):
        begin(ID, tmp_path)
    begin(ID, tmp_path).close()
    with begin(ID, tmp_path):
        assert in_child(lambda: begin(ID, tmp_path)) == 1  # refused in another process too


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarmvizError, match=r"cannot be written to .*file \(.*HARMVIZ_CACHE"):
        begin(ID, tmp_path / "file")


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    assert in_child(lambda: (begin(ID, tmp_path).finish("a"), die())) == 9
    assert (tmp_path / f".partial-{ID}.lock").exists()
    assert store.list_partials(tmp_path)[0].pid is None
    with begin(ID, tmp_path) as p:
        assert p.done("a")


def test_leftovers_of_a_complete_run_are_cleared_by_the_next_one(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with begin(run.id, tmp_path) as p:
        p.write("scratch/large", b"x")
        p.finish("a")
    assert store.list_partials(tmp_path) == []
    begin(ID, tmp_path).discard()
    assert os.listdir(tmp_path) == [run.id]


def test_killed_at_any_step_what_is_left_is_resumable_or_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies at the k-th operation on the disk, for every k there is. The next attempt must end with the same run."""

    def work(root: Path) -> None:
        with begin(ID, root) as p:
            for stage in ("score", "select"):
                if not p.done(stage):
                    p.write(f"scratch/{stage}", stage.encode())
                    p.write(f"results/{stage}", stage.encode())
                    p.finish(stage)
            p.release("score")
            p.commit(manifest())

    whole = tmp_path / "whole"
    work(whole)
    digest = store.result_digest(store.open_run(ID, whole))
    operations = [(os, n) for n in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir", "open")]

    def killed_after(steps: int, root: Path) -> None:
        left = [steps]
        for module, name in operations:
            real = getattr(module, name)

            def counted(*a: object, real: Callable[..., object] = real, **k: object) -> object:
                if left[0] == 0:
                    die()
                left[0] -= 1
                return real(*a, **k)

            setattr(module, name, counted)  # in the child only: fork gave it its own copy
        work(root)

    root = tmp_path / "killed"
    for k in range(400):
        status = in_child(lambda: killed_after(k, root))  # noqa: B023 - run at once
        assert status in (0, 9)
        assert store.broken_runs(root) == []
        runs = store.list_runs(root)
        assert [store.verify_run(r) for r in runs] in ([], [[]])
        if not runs:
            work(root)
        (run,) = store.list_runs(root)
        assert store.result_digest(run) == digest
        assert store.list_partials(root) == []
        shutil.rmtree(root)
        if status == 0:
            break
    else:
        pytest.fail("the work never ended")
    assert k > 20


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["write", "finish", "reopen", "release"]), max_size=12))
def test_whatever_the_order_finished_stages_stay_done(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    root = tmp_path_factory.mktemp("p")
    p = begin(ID, root)
    done: list[str] = []
    for i, step in enumerate(steps):
        if step == "write":
            p.write(f"scratch/{i}", str(i).encode())
        elif step == "finish":
            p.finish(f"s{i}")
            done.append(f"s{i}")
        elif step == "release" and done:
            p.release(done[-1])
        elif step == "reopen":
            p.close()
            p = begin(ID, root)
        assert p.stages() == done
    p.discard()
    assert os.listdir(root) == []

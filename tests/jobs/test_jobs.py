"""Jobs: a run in a process of its own that survives whoever started it, one at a time, stopped and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harmviz import jobs
from harmviz import runs as store
from harmviz.errors import DataInvalid, HarmvizError, RunIncompatible
from harmviz.jobs.record import CHILD, RESULT
from tests.conftest import QUICK_RUN, TWO_TYPES

ROOT = Path(__file__).resolve().parents[2]
BAD = ("run", "--model=/no/such/folder", "--data=builtin")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    yield tmp_path
    for job in jobs.list_jobs():
        if (pid := job.pid) is not None:
            os.killpg(pid, signal.SIGKILL)


def run_of(tiny_dir: Path) -> tuple[str, ...]:
    return ("run", f"--model={tiny_dir}", *QUICK_RUN)


def wait(until: Callable[[], object], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, [j.log(5) for j in jobs.list_jobs()]
        time.sleep(0.1)


def ended(job: jobs.Job) -> str:
    wait(lambda: job.state != "running" and job.pid is None)
    return job.state


def test_a_job_makes_its_run_and_tells_how_far_it_is(tiny_dir, quick_run):
    job = jobs.start(run_of(tiny_dir))
    assert job.state == "running"
    assert jobs.running_job() == job
    wait(lambda: job.progress.fraction)
    seen = job.progress
    assert 0 < seen.fraction <= 1
    assert seen.stage
    assert seen.elapsed_s > 0
    assert job.run_id == quick_run.name
    with pytest.raises(RunIncompatible, match=f"one heavy job at a time: `python -m harmviz run .*{tiny_dir.name}"):
        jobs.start(run_of(tiny_dir))
    with pytest.raises(RunIncompatible, match="is running"):
        jobs.forget(job)
    assert len(jobs.list_jobs()) == 1  # a refused start leaves nothing
    assert ended(job) == "done"
    assert job.error is None
    (made,) = store.list_runs()
    assert (job.run_id, store.result_digest(made)) == (made.id, store.result_digest(store.open_run(quick_run)))
    took = job.elapsed_s
    time.sleep(0.05)
    assert job.elapsed_s == took  # the clock stops when the job does
    with pytest.raises(HarmvizError, match="is done"):
        jobs.resume(job)
    jobs.forget(job)
    assert jobs.list_jobs() == []
    assert [r.id for r in store.list_runs()] == [made.id]


def test_a_cancelled_job_is_resumed_to_the_same_run(tiny_dir, quick_run):
    job = jobs.start(run_of(tiny_dir))
    wait(lambda: job.progress.fraction)
    jobs.cancel(job)
    assert job.stopping or job.state == "cancelled"
    assert ended(job) == "cancelled"
    assert not job.stopping
    assert json.loads((job.folder / RESULT).read_text())["code"] == 130
    (partial,) = store.list_partials()
    assert (partial.run_id, partial.pid, job.run_id) == (quick_run.name, None, quick_run.name)
    assert store.list_runs() == []
    jobs.cancel(job)  # nothing to stop any more, and no error
    again = jobs.resume(job)
    assert again.id == job.id
    assert "--resume" in again.arguments
    assert ended(again) == "done"
    (made,) = store.list_runs()
    assert store.result_digest(made) == store.result_digest(store.open_run(quick_run))


def test_bad_input_is_the_jobs_error(cache):
    job = jobs.start(BAD)
    assert ended(job) == "failed"
    assert job.error == (
        "model '/no/such/folder' is neither 'smollm2-135m-instruct', an existing folder or .gguf file, "
        "nor a hub id like 'org/name@revision'"
    )
    assert job.log(1)[0].startswith("harmviz: ")


def test_a_job_outlives_the_process_that_started_it(tiny_dir):
    code = f"from harmviz import jobs; print(jobs.start({run_of(tiny_dir)!r}).id)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    (job,) = jobs.list_jobs()
    assert job.id == done.stdout.strip()
    assert job.state == "running"
    wait(lambda: job.progress.fraction)
    jobs.cancel(job)
    assert ended(job) == "cancelled"


def test_a_killed_job_is_not_taken_for_a_running_one(tiny_dir):
    job = jobs.start(run_of(tiny_dir))
    wait(lambda: (job.folder / CHILD).exists())
    os.kill(job.pid, signal.SIGKILL)  # the supervisor alone: the command goes on, and the job with it
    time.sleep(0.3)
    assert job.state == "running"
    child = json.loads((job.folder / CHILD).read_text())["pid"]
    os.kill(child, signal.SIGKILL)
    assert ended(job) == "died"
    assert "ended from outside" in job.error


def test_a_command_that_does_not_stop_in_time_is_killed(tiny_dir, monkeypatch):
    monkeypatch.setenv("HARMVIZ_JOB_GRACE", "0.001")
    job = jobs.start(run_of(tiny_dir))
    wait(lambda: (job.folder / CHILD).exists())
    jobs.cancel(job)
    assert ended(job) == "cancelled"


def test_cancelled_before_the_command_began(tiny_dir):
    job = jobs.start(run_of(tiny_dir))
    jobs.cancel(job)
    assert ended(job) == "cancelled"
    assert store.list_runs() == []


def test_two_tabs_start_one_job():
    made, refused = [], []

    def press() -> None:
        try:
            made.append(jobs.start(BAD))
        except RunIncompatible as e:
            refused.append(str(e))

    tabs = [threading.Thread(target=press) for _ in range(4)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert len(made) == 1
    assert len(refused) == 3
    ended(made[0])


def test_a_run_computed_in_a_terminal_counts_as_well(cache):
    with store.begin("elsewhere-0000000000") as partial:
        partial.write("x.json", b"{}")
        with pytest.raises(RunIncompatible, match="elsewhere-0000000000 is being computed"):
            jobs.start(BAD)
    assert jobs.list_jobs() == []


def test_newest_job_comes_first_and_damaged_records_are_left_out(cache):
    first = jobs.start(BAD)
    ended(first)
    second = jobs.start(BAD)
    ended(second)
    for name, text in {
        "a": "{",
        "b": "{}",
        "c": '{"arguments": [1], "created": "x", "started": "x"}',
        "d": '{"arguments": ["run"], "created": "x", "started": "x"}',
        "e": "[]",
    }.items():
        (cache / "jobs" / name).mkdir()
        (cache / "jobs" / name / "job.json").write_text(text)
    assert [j.id for j in jobs.list_jobs()] == [second.id, first.id]


def test_no_folder_to_write_to_is_named(cache):
    (cache / "jobs").write_text("in the way")
    with pytest.raises(HarmvizError, match="jobs cannot be written"):
        jobs.start(BAD)


# -- uploads ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def prompts() -> bytes:
    return TWO_TYPES.read_bytes()


def test_an_upload_is_read_checked_and_kept_with_its_job(tiny_dir, prompts):
    upload, data = jobs.check_upload("../My prompts (v2).JSONL", prompts)
    assert upload.name == "My-prompts-v2.jsonl"
    assert "hate" in data.categories
    job = jobs.start(("run", f"--model={tiny_dir}", *QUICK_RUN[2:]), upload)
    assert (job.folder / upload.name).read_bytes() == prompts
    assert ended(job) == "done"
    assert store.list_runs()[0].manifest["data"]["id"] == "My-prompts-v2"
    jobs.forget(job)
    assert not job.folder.exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", b"", "of no kind that is read here"),
        ("x", b"", "of no kind that is read here"),
        ("x.csv", b"a,b\n1,2\n", "x.csv: no columns are recognised as prompt and response"),
        ("x.jsonl", b"{", "x.jsonl, row 1: not JSON"),
        ("x.jsonl", b"\xff", "x.jsonl: not UTF-8"),
        ("x.jsonl", b"", "x.jsonl: no rows"),
    ],
)
def test_a_bad_upload_is_one_clear_line_about_the_file(name, content, said, cache):
    with pytest.raises(DataInvalid) as e:
        jobs.check_upload(name, content)
    assert said in str(e.value)
    assert "/tmp" not in str(e.value)
    assert not (cache / "jobs").exists()


def test_an_upload_beyond_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr("harmviz.jobs.control.MAX_UPLOAD", 10)
    with pytest.raises(DataInvalid, match="at most 10"):
        jobs.check_upload("x.csv", b"x" * 11)


def test_jobs_load_no_torch():
    heavy = "{'torch', 'transformers', 'streamlit'}"
    code = f"import sys, harmviz.jobs, harmviz.jobs.__main__; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""The Runs page without a browser: runs listed, opened, deleted, imported; a run started from it, and what stands
against one.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from harmviz import jobs
from harmviz import runs as store
from harmviz.claims import experiments
from harmviz.claims.mapping.finding import finding
from harmviz.cli import parser
from harmviz.jobs import control
from harmviz.preflight import machine
from harmviz.runs import begin
from harmviz.runs.slimming import slim
from tests.conftest import QUICK_RUN
from tests.worlds.charts import markup, open_page
from tests.worlds.damage import DAMAGES, damaged_run, packed
from tests.worlds.fabricated import make_ladder, make_run, manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    yield tmp_path
    for job in jobs.list_jobs():
        if (pid := job.pid) is not None:
            os.killpg(pid, signal.SIGKILL)


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> Callable[[jobs.Job], None]:
    """Jobs stand still from their start until they are let go: what a page says of a running one hangs on no race."""
    launch = control._launch

    def held(job: jobs.Job) -> jobs.Job:
        launched = launch(job)
        assert launched.pid is not None
        os.killpg(launched.pid, signal.SIGSTOP)
        return launched

    def goes_on(job: jobs.Job) -> None:
        assert job.pid is not None
        os.killpg(job.pid, signal.SIGCONT)

    monkeypatch.setattr(control, "_launch", held)
    return goes_on


opened = partial(open_page, "runs")


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception
    return app


def errors(app: AppTest) -> list[str]:
    return [e.proto.body for e in app.get("html") if 'class="hv hv-error"' in e.proto.body]


def choose(app: AppTest, **values: object) -> AppTest:
    """Sets widgets of the form by key (without the page's prefix)."""
    for name, value in values.items():
        key = f"runs_{name}"
        kind = next(
            k for k in ("button_group", "number_input", "selectbox", "text_input", "toggle") if _has(app, k, key)
        )
        getattr(app, kind)(key=key).set_value(value)
        ran(app)
    return app


def _has(app: AppTest, kind: str, key: str) -> bool:
    return any(w.key == key for w in getattr(app, kind))


def command(app: AppTest) -> str:
    return next(c.value for c in app.code if c.value.startswith("python -m harmviz run"))


def experiment_command(app: AppTest) -> str:
    return next((c.value for c in app.code if c.value.startswith("python -m harmviz experiment")), "")


def table(app: AppTest) -> str:
    return next(e.proto.body for e in app.get("html") if "hv-preflight" in e.proto.body)


# -- stored runs ------------------------------------------------------------------------------------------------------
def test_runs_are_listed_newest_first_with_effect_interval_and_n(cache):
    make_run(cache / "runs", "b-0000000000", created="2026-01-01T00:00:00+00:00")
    make_run(cache / "runs", "a-0000000000", created="2026-02-01T00:00:00+00:00")
    app = opened()
    listed = app.dataframe[0].value
    assert list(listed.run) == ["a-0000000000", "b-0000000000"]
    assert [str(day) for day in listed.made] == ["2026-02-01", "2026-01-01"]
    assert list(listed.open) == ["/?run=a-0000000000", "/?run=b-0000000000"]
    assert list(listed.found) == [finding(store.open_run(name)).sentence for name in listed.run]
    page = markup(app)
    assert "a-0000000000</code>" in page
    assert "b-0000000000</code>" not in page  # the newest is chosen
    for part in (
        "+0.04 nats",
        "−0.01 … +0.10",
        "n = 24",
        "0.001 % · 1,061 weights",
        "as in the paper",
        "106,168,320 scored weights",
    ):
        assert part in page


def test_an_empty_disk_says_how_to_begin(cache):
    app = opened()
    assert "No runs here yet" in markup(app)
    assert not app.button(key="runs_start").disabled


def test_look_inside_shows_the_whole_card_and_the_manifest(cache):
    run = make_run(cache / "runs")
    app = opened()
    assert 'class="hv hv-card"' not in markup(app)
    app.toggle(key=f"runs_inside_{run.id}").set_value(True)
    page = markup(ran(app))
    for part in (
        "79 % of all 134,515,008 parameters",
        "sexual: 21 harmful rows, 24 are needed",
        "+0.47 … +0.58",
        "random mask",
    ):
        assert part in page
    assert any('"schema_version": 1' in c.value and '"210 matrices"' in c.value for c in app.code)


def test_a_run_without_effects_says_so(cache):
    with begin("bare-0000000000", cache / "runs") as partial:
        partial.commit(manifest())
    assert "no effect measured" in markup(opened())


def test_open_shows_the_run_on_the_overview(cache):
    make_run(cache / "runs", "a-0000000000", created="2026-02-01T00:00:00+00:00")
    make_run(cache / "runs", "b-0000000000", created="2026-01-01T00:00:00+00:00")
    app = opened()
    choose(app, chosen="b-0000000000")
    app.button(key="runs_open_b-0000000000").click()
    ran(app)
    assert app.selectbox(key="run-choice").value == "b-0000000000"


def test_deleting_needs_the_end_of_the_name(cache):
    run, other = make_run(cache / "runs"), make_run(cache / "runs", "other-0000000000")
    app = choose(opened(), chosen=run.id)
    really = f"runs_really_{run.id}"
    assert app.button(key=really).disabled
    app.text_input(key=f"runs_confirm_{run.id}").set_value("wrong")
    assert ran(app).button(key=really).disabled
    app.text_input(key=f"runs_confirm_{run.id}").set_value(run.id[-10:])
    assert not ran(app).button(key=really).disabled
    app.button(key=really).click()
    ran(app)
    assert [r.id for r in store.list_runs()] == [other.id]
    assert f"{run.id} is deleted." in markup(app)
    assert not _has(app, "button", really)


def test_the_run_in_the_link_can_be_deleted_without_an_error(cache):
    make_run(cache / "runs", "other-0000000000")
    run = make_run(cache / "runs", "a-1111111111")
    app = choose(opened(run=run.id), chosen=run.id)
    app.text_input(key=f"runs_confirm_{run.id}").set_value(run.id[-10:])
    ran(app).button(key=f"runs_really_{run.id}").click()
    assert errors(ran(app)) == []
    assert [r.id for r in store.list_runs()] == ["other-0000000000"]


def test_a_job_that_failed_stays_listed_however_many_others_are_done(cache, let_go):
    failed = jobs.start(("run", "--model=/no/such/folder"))
    let_go(failed)
    while failed.state == "running":
        time.sleep(0.1)
    for _ in range(6):
        more = jobs.start(("run", "--model=/no/other/folder"))
        let_go(more)
        while more.state == "running":
            time.sleep(0.1)
    app = opened()
    assert _has(app, "button", f"runs_forget_{failed.id}")


def test_a_shipped_run_has_no_way_to_be_deleted(cache):
    (name, *_) = sorted(store.shipped_runs())
    make_run(cache / "runs", name)
    app = opened()
    assert next(p for p in app.get("popover") if p.proto.popover.label == "Delete").proto.popover.disabled
    app.text_input(key=f"runs_confirm_{name}").set_value(name[-10:])
    ran(app).button(key=f"runs_really_{name}").click()
    ran(app)
    assert any("ships with harmviz" in e for e in errors(app))
    assert store.verify_run(store.open_run(name)) == []


def test_damaged_and_unfinished_work_is_named_hides_nothing_and_can_be_put_away(cache):
    make_run(cache / "runs", "good-0000000000")
    bad = make_run(cache / "runs", "bad-0000000000")
    (bad.path / "results" / "effect.parquet").write_bytes(b"damaged")
    (make_run(cache / "runs", "gone-0000000000").path / "manifest.json").unlink()
    with begin("half-0000000000", cache / "runs") as partial:
        partial.finish("score:hate")
    app = opened()
    assert not errors(app)
    page = markup(app)
    for part in (
        "half-0000000000",
        "1 stage done, last: score:hate",
        "gone-0000000000",
        "Unfinished",
        "Damaged",
        "no readable Parquet file",
    ):
        assert part in page, part
    for name in ("half-0000000000", "gone-0000000000", "bad-0000000000"):
        app.text_input(key=f"runs_confirm_{name}").set_value(name[-10:])
        ran(app).button(key=f"runs_really_{name}").click()
        ran(app)
    assert "Unfinished" not in markup(app)
    assert "Damaged" not in markup(app)
    assert sorted(p.name for p in (cache / "runs").iterdir()) == ["good-0000000000"]


def test_a_quick_run_is_offered_with_its_own_defaults_and_costs_less(cache):
    app = opened()
    whole = table(app)
    app.toggle(key="runs_quick").set_value(True)
    ran(app)
    assert command(app) == "python -m harmviz run --quick"
    assert table(app) != whole
    app.number_input(key="runs_prompt_tokens").set_value(1024)
    assert command(ran(app)) == "python -m harmviz run --quick --max-prompt-tokens=1024"


def test_every_kind_of_damage_is_listed_with_its_reason_and_hides_no_page(cache):
    make_run(cache / "runs", "good-0000000000")
    for name in DAMAGES:
        damaged_run(cache / "runs", name)
    app = opened()
    page = markup(app)
    assert app.selectbox(key="run-choice").value == "good-0000000000"
    for name, (_, said) in DAMAGES.items():
        assert f"{name}-0000000000" in page
        assert escape(said) in page, name
    name = "dangling-0000000000"
    app.text_input(key=f"runs_confirm_{name}").set_value(name[-10:])
    ran(app).button(key=f"runs_really_{name}").click()
    assert f"{name} is deleted." in markup(ran(app))


def test_text_from_files_is_never_markup(cache):
    evil = "<img src=x onerror=alert(1)>"
    base = manifest()
    data = {**base["data"], "id": evil, "counts": {evil: {"scoring": 1}}, "left_out": {evil: evil}}
    run = make_run(
        cache / "runs",
        "evil-0000000000",
        model={**base["model"], "name": evil, "dtype": evil},
        data=data,
        parents=[evil],
    )
    app = opened()
    app.toggle(key=f"runs_inside_{run.id}").set_value(True)
    page = markup(ran(app))
    assert "<img" not in page
    assert "&lt;img" in page


# -- import -----------------------------------------------------------------------------------------------------------
def uploaded(app: AppTest, content: bytes) -> AppTest:
    app.file_uploader(key="runs_import_0").set_value(("run.zip", content, "application/zip"))
    ran(app).button(key="runs_import_now").click()
    return ran(app)


def test_an_archive_is_imported(cache, tmp_path):
    make_run(cache / "runs", "mine-0000000000", created="2020-01-01T00:00:00+00:00")
    archive = packed(tmp_path / "elsewhere", created="2099-01-01T00:00:00+00:00")
    app = uploaded(opened(), archive.getvalue())
    name = "smollm2-135m-instruct-pyrit-0123456789"
    assert f"{name} is imported." in markup(app)
    assert [r.id for r in store.list_runs()] == ["mine-0000000000", name]
    assert app.selectbox(key="run-choice").value == "mine-0000000000"  # neither its date nor its name opens it
    assert list(app.dataframe[0].value.result) == ["Harm map", "Harm map · imported"]
    assert '<span class="hv-tag">imported</span>' in markup(choose(app, chosen=name))
    assert errors(app) == []


def test_an_evil_archive_is_one_clear_error_and_leaves_nothing(cache):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        z.writestr("x/../../evil.json", "{}")
    app = uploaded(opened(), packed.getvalue())
    (error,) = errors(app)
    assert "is no plain name inside the run" in error
    assert list((cache / "runs").iterdir()) == []


# -- start ------------------------------------------------------------------------------------------------------------
def test_every_choice_is_in_the_command(cache):
    app = opened()
    assert command(app) == "python -m harmviz run"
    choose(app, data="builtin", samples=32, tokens=48, seed=3, dtype="bfloat16", device="cpu", skip=8, q_max=1e-5)
    assert command(app) == (
        "python -m harmviz run --data=builtin --samples=32 --seed=3 --max-response-tokens=48 --skip-tokens=8 "
        "--q-max=1e-05 --dtype=bfloat16 --device=cpu"
    )


def test_choices_change_what_the_run_needs(cache):
    app = opened()
    seen = {table(choose(app, data="builtin"))}
    for name, value in (("samples", 8), ("tokens", 16), ("q_max", 1e-3), ("dtype", "bfloat16")):
        seen.add(table(choose(app, **{name: value})))
    assert len(seen) == 5
    assert "8.1 GB of it while it runs" in table(app)


def test_a_run_that_cannot_fit_cannot_be_started(cache, monkeypatch):
    monkeypatch.setattr("harmviz.preflight.machine.free_disk", lambda path: 10**6)
    app = choose(opened(), data="builtin")
    assert app.button(key="runs_start").disabled
    (error,) = errors(app)
    assert "It cannot start: disk: 9.1 GB needed, 1.0 MB free; free some space" in error
    # No room for score files, room for what is kept: it may start, and what that means is said.
    monkeypatch.setattr("harmviz.preflight.machine.free_disk", lambda path: 5 * 10**9)
    assert not ran(app).button(key="runs_start").disabled
    assert "scores are computed in blocks" in table(app)
    monkeypatch.setattr("harmviz.preflight.machine.free_disk", lambda path: 10 * 10**9)
    assert not ran(app).button(key="runs_start").disabled
    assert "! tight" in table(app)


def test_a_hub_model_is_not_asked_for_by_itself(cache, tiny_dir, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    app = choose(opened(), source="hub")
    assert app.button(key="runs_start").disabled
    choose(app, hub_id="some-org/some-model@main")
    assert command(app) == "python -m harmviz run --model=some-org/some-model@main"
    assert "size not known" in table(app)
    for path in ("../../etc", "/etc", str(tiny_dir), "harmviz/../harmviz"):
        choose(app, hub_id=path)
        (error,) = errors(app)
        assert "is no hub id" in error
        assert app.button(key="runs_start").disabled


def test_an_uploaded_file_is_checked_before_anything_starts(cache):
    app = choose(opened(), data="upload")
    assert app.button(key="runs_start").disabled
    app.file_uploader(key="runs_upload").set_value(("mine.csv", b"a,b\n1,2\n", "text/csv"))
    (error,) = errors(ran(app))
    assert "mine.csv: no columns are recognised as prompt and response" in error
    assert app.button(key="runs_start").disabled
    good = (ROOT / "harmviz" / "data" / "builtin" / "harmful.jsonl").read_bytes()
    app.file_uploader(key="runs_upload").set_value(("mine.jsonl", good, "application/json"))
    assert errors(ran(app)) == []
    assert command(app) == "python -m harmviz run --data=mine.jsonl"
    assert not app.button(key="runs_start").disabled
    assert "<td>hate</td><td>24</td><td>24</td>" in markup(app)
    assert "the file has no benign rows: builtin ones are used" in markup(app)


def test_how_an_uploaded_file_is_read_can_be_said(cache):
    rows = [f"question {i},answer {i}" for i in range(26)] + ["question,"]
    content = "\n".join(["what,said", *rows]).encode()
    app = choose(opened(), data="upload")
    app.file_uploader(key="runs_upload").set_value(("mine.csv", content, "text/csv"))
    (error,) = errors(ran(app))
    assert "--columns prompt=what,response=said --category NAME" in error
    app.text_input(key="runs_columns").set_value("prompt=what,response=said")
    app.text_input(key="runs_category").set_value("a/b")
    (error,) = errors(ran(app))
    assert "row 28: column &#x27;said&#x27; is empty or not text" in error
    assert app.button(key="runs_start").disabled
    app.checkbox(key="runs_drop_bad").check()
    assert errors(ran(app)) == []
    assert "<td>a/b</td><td>26</td><td>26</td>" in markup(app)
    assert command(app).endswith("--data=mine.csv --columns=prompt=what,response=said --category=a/b --drop-bad")
    assert not app.button(key="runs_start").disabled


def test_a_run_is_started_watched_and_appears(cache, tiny_dir, monkeypatch, let_go):
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tiny_dir.parent))
    app = choose(opened(), source="local", data="builtin", quick=True, samples_quick=4, q_max=5e-2)
    assert command(app).startswith(f"python -m harmviz run --quick --model={tiny_dir.resolve()} --data=builtin")
    assert "--samples=4 " in command(app)
    app.button(key="runs_start").click()
    ran(app)
    (job,) = jobs.list_jobs()
    assert job.state == "running"
    assert app.button(key="runs_start").disabled
    assert "keeps running when this page is closed" in markup(app)
    let_go(job)
    deadline = time.monotonic() + 600
    while job.state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    page = markup(ran(app))
    (run,) = store.list_runs()
    assert f"run {run.id} is stored" in page
    assert app.selectbox(key="run-choice").value == run.id
    assert not app.button(key="runs_start").disabled
    app.button(key=f"runs_forget_{job.id}").click()
    assert "is stored" not in markup(ran(app))
    assert jobs.list_jobs() == []


def test_a_failed_job_says_why_and_can_be_cancelled_and_resumed(cache, tiny_dir, let_go):
    job = jobs.start(("run", f"--model={tiny_dir}", *QUICK_RUN))
    app = opened()
    app.button(key=f"runs_cancel_{job.id}").click()
    ran(app)
    let_go(job)
    while job.state == "running":
        time.sleep(0.1)
    page = markup(ran(app))
    assert "Cancelled" in page
    app.button(key=f"runs_resume_{job.id}").click()
    ran(app)
    assert jobs.running_job() is not None
    jobs.cancel(job)
    let_go(job)
    while job.state == "running":
        time.sleep(0.1)
    jobs.forget(job)
    failed = jobs.start(("run", "--model=/no/such/<b>folder</b>"))
    let_go(failed)
    while failed.state == "running":
        time.sleep(0.1)
    page = markup(ran(app))
    assert "is neither &#x27;smollm2-135m-instruct&#x27;" in page
    assert "<b>folder" not in page


def test_the_page_loads_no_torch(cache):
    make_run(cache / "runs")
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\napp.switch_page('pages/runs.py').run()\n"
        "assert not app.exception and app.get('html')\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


# -- experiments -------------------------------------------------------------------------------------------------------
def test_each_experiment_shows_its_command_and_what_it_needs(cache):
    run = make_run(cache / "runs")
    app = opened()
    assert experiment_command(app).startswith(
        "python -m harmviz experiment compression smollm2-135m-instruct smollm2-135m-aligned"
    )
    for name in ("dissociation", "jailbreak", "scene"):
        choose(app, experiment=name)
        assert experiment_command(app) == f"python -m harmviz experiment {name} {run.id}"
    choose(app, experiment="emergent", domain="car", repetitions=1)
    assert experiment_command(app) == f"python -m harmviz experiment emergent {run.id} --domain=car --seeds=1"
    choose(app, experiment_map=None)
    assert experiment_command(app) == "python -m harmviz experiment emergent --domain=car --seeds=1"
    assert "memory: " in markup(app)
    assert "Time: not known, no such result is here yet." in markup(app)


def test_an_experiment_starts_as_the_command_that_is_shown(cache, monkeypatch):
    run = make_run(cache / "runs")
    started = []
    monkeypatch.setattr(jobs, "start", lambda words, upload=None: started.append(tuple(words)))
    app = choose(opened(), experiment="jailbreak")
    app.button(key="runs_experiment_start").click()
    ran(app)
    assert started == [("experiment", "jailbreak", run.id)]


def test_without_a_map_run_only_what_needs_none_can_start(cache):
    app = choose(opened(), experiment="scene")
    assert "start one first" in markup(app)
    assert app.button(key="runs_experiment_start").disabled
    assert not app.button(key="runs_start").disabled
    choose(app, experiment="emergent")
    assert not app.button(key="runs_experiment_start").disabled


def test_a_map_without_candidates_is_no_map_to_select_from(cache):
    slim(make_run(cache / "runs").id)
    app = choose(opened(), experiment="scene")
    assert "start one first" in markup(app)
    assert app.button(key="runs_experiment_start").disabled


def test_a_ladder_without_its_weights_is_none_to_measure(cache):
    ladder = make_ladder(cache / "runs", "tiny-align-0123456789")
    app = choose(opened(), series="ladders")
    assert app.multiselect(key="runs_ladders").options == [ladder.id]
    slim(ladder.id)
    assert ran(app).segmented_control(key="runs_series").options == ["Models here", "Published series"]


def test_rankings_are_compared_on_a_model_and_data_alone(cache):
    app = choose(opened(), experiment="rankings")
    assert experiment_command(app) == "python -m harmviz experiment rankings"
    choose(app, rankings_data="scored")
    assert experiment_command(app) == "python -m harmviz experiment rankings --data=scored"
    assert not app.button(key="runs_experiment_start").disabled


def test_published_series_are_offered_and_one_checkpoint_is_none(cache):
    app = choose(opened(), series="published", preset="qwen2.5-14b")
    assert experiment_command(app) == "python -m harmviz experiment compression --preset=qwen2.5-14b"
    app = opened()
    app.multiselect(key="runs_checkpoints").set_value(["smollm2-135m-instruct"])
    ran(app)
    assert app.button(key="runs_experiment_start").disabled
    assert "Choose what it is to work on" in markup(app)


def test_the_form_offers_every_experiment_of_the_command_line_and_each_can_be_shown():
    (names,) = [
        a.choices["experiment"]._subparsers._group_actions[0].choices
        for a in parser()._actions
        if getattr(a, "choices", None)
    ]
    offered = {name for name, claim in experiments().items() if claim.offer is not None}
    assert set(names) == set(experiments()) == offered
    for name, claim in experiments().items():
        assert callable(claim.face("command").print_result), name
        assert not claim.offer.own_form or callable(claim.face("page").settings)


def test_a_local_model_is_named_by_its_folder_and_one_that_is_gone_is_one_clear_line(
    cache, tiny_dir, tiny_run, monkeypatch
):
    (cache / "runs").mkdir()
    (cache / "runs" / tiny_run.name).symlink_to(tiny_run)
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tiny_dir.parent))
    app = choose(opened(), experiment="dissociation")
    assert (
        experiment_command(app)
        == f"python -m harmviz experiment dissociation {tiny_run.name} --model={tiny_dir.resolve()}"
    )
    choose(app, experiment="emergent", experiment_map=tiny_run.name)
    assert (
        experiment_command(app) == f"python -m harmviz experiment emergent {tiny_run.name} --model={tiny_dir.resolve()}"
    )
    assert not app.button(key="runs_experiment_start").disabled
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(cache / "nowhere"))
    ran(app)
    assert any("is not on this machine" in e for e in errors(app))
    assert app.button(key="runs_experiment_start").disabled


def test_a_model_larger_than_the_memory_cannot_be_started(cache, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1 << 20)
    app = choose(opened(), experiment="emergent")
    assert any("memory is too small for SmolLM2-135M-Instruct" in e for e in errors(app))
    assert app.button(key="runs_experiment_start").disabled

"""A visitor who tries each of the owner's actions is refused where it happens, and finds no control for it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from harmviz import jobs
from harmviz import runs as store
from harmviz.errors import BadSetting, OutOfMemory
from harmviz.runs import quota
from harmviz.ui import actions
from tests.worlds.charts import markup, open_page
from tests.worlds.damage import packed
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "the-token-of-this-test-0123456789"


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was really done, instead of doing it."""
    done: list[str] = []
    for module, names in ((jobs, ("start", "resume", "cancel", "forget")), (store, ("import_run", "delete_run"))):
        for name in names:
            monkeypatch.setattr(module, name, lambda *_, name=name, **__: done.append(name))
    monkeypatch.setattr(store, "export_run", lambda *_: done.append("export_run"))
    return done


def each_action() -> None:
    """A page that tries all of them, and says what came of it."""
    import io
    from pathlib import Path

    import streamlit as st

    from harmviz.errors import NotAllowed
    from harmviz.jobs import Job, Upload
    from harmviz.runs import Run
    from harmviz.ui import actions

    job = Job(Path("/nowhere"), ("run",), "", "")
    run = Run(Path("/nowhere"), {"run_id": "x"})
    tries = {
        "start": lambda: actions.start(("run",)),
        "start with an upload": lambda: actions.start(("run",), Upload("a.csv", b"")),
        "resume": lambda: actions.resume(job),
        "cancel": lambda: actions.cancel(job),
        "forget": lambda: actions.forget(job),
        "import": lambda: actions.take_in(io.BytesIO()),
        "delete": lambda: actions.delete("x"),
        "export": lambda: actions.archive_of(run)(),
    }
    for name, attempt in tries.items():
        try:
            attempt()
        except NotAllowed:
            st.text(f"{name}: NotAllowed")
        else:
            st.text(f"{name}: done")


def outcomes(app: AppTest) -> set[str]:
    app.run()
    assert not app.exception, app.exception
    return {t.value.rpartition(": ")[2] for t in app.text}


@pytest.mark.parametrize(
    "setting",
    [{"HARMVIZ_READONLY": "1"}, {"HARMVIZ_ADMIN_TOKEN": TOKEN}, {"STREAMLIT_SERVER_ADDRESS": "0.0.0.0"}],
    ids=str,
)
def test_a_visitor_is_refused_each_of_them(
    setting: dict[str, str], touched: list[str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    if "STREAMLIT_SERVER_ADDRESS" in setting:
        monkeypatch.setattr("streamlit.get_option", lambda name: [] if "ed" in name else "0.0.0.0")
    app = AppTest.from_function(each_action, default_timeout=30)
    assert outcomes(app) == {"NotAllowed"}
    assert touched == []


def test_the_owner_does_each_of_them(touched: list[str], runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_ADMIN_TOKEN", TOKEN)
    app = AppTest.from_function(each_action, default_timeout=30)
    app.session_state["_owner_token"] = TOKEN
    assert outcomes(app) == {"done"}
    assert set(touched) == {"start", "resume", "cancel", "forget", "import_run", "delete_run", "export_run"}
    monkeypatch.setenv("HARMVIZ_ADMIN_TOKEN", TOKEN[::-1])  # the token changes: nobody stays the owner
    assert outcomes(app) == {"NotAllowed"}


def test_pages_act_through_the_checked_functions_alone() -> None:
    acting = {"start", "resume", "cancel", "forget", "import_run", "delete_run", "export_run"}
    places = [*(ROOT / "pages").glob("*.py"), *(ROOT / "harmviz").rglob("*.py")]
    drawing = [p for p in places if {"ui", "page", "pages", "playground", "learn"} & {*p.parts, p.stem}]
    assert len(drawing) > 40
    for path in drawing:
        if path.name == "actions.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in acting and isinstance(node.value, ast.Name):
                assert node.value.id not in ("jobs", "store", "runs", "archive", "control"), f"{path}: {node.lineno}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("harmviz.jobs", "harmviz.runs")):
                assert not acting & {a.name for a in node.names}, path


def test_a_visitor_sees_runs_and_no_controls_and_the_token_makes_the_owner(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(runs)
    monkeypatch.setenv("HARMVIZ_ADMIN_TOKEN", TOKEN)
    app = open_page("runs")
    keys = lambda: {w.key for w in app.button}  # noqa: E731
    assert run.id in markup(app)
    assert [t.label for t in app.tabs] == ["Stored runs"]
    assert not {f"runs_really_{run.id}", "runs_start", "runs_experiment_start", "runs_import_now"} & keys()
    assert not app.get("file_uploader")
    assert [d.proto.label for d in app.get("download_button")] == ["Report"]

    def typed(token: str) -> None:
        app.text_input(key="visitor_token").set_value(token)
        next(b for b in app.button if b.label == "Become the owner").click()
        app.run()
        assert not app.exception

    typed("a-guess-of-the-token-0123456789")
    assert "that is not the token" in markup(app)
    assert "runs_start" not in keys()
    typed(TOKEN)
    assert {f"runs_really_{run.id}", "runs_start", "runs_experiment_start", "runs_import_now"} <= keys()
    assert "Export" in [d.proto.label for d in app.get("download_button")]
    app.button(key="visitor_sign_out").click()
    app.run()
    assert "runs_start" not in keys()


def test_the_word_that_confirms_does_not_stand_there(runs: Path) -> None:
    run = make_run(runs)
    app = open_page("runs")
    assert not app.text_input(key=f"runs_confirm_{run.id}").placeholder
    app.button(key=f"runs_really_{run.id}")._value = True  # as a browser can, whatever is drawn as disabled
    app.run()
    assert [r.id for r in store.list_runs()] == [run.id]


def test_imports_and_the_cache_have_their_limits(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "elsewhere")
    monkeypatch.setattr("harmviz.ui.visitor.role", lambda: "owner")
    taken = actions.take_in(archive)
    assert quota.imported_bytes() == quota.bytes_below(taken.path) > 0
    monkeypatch.setenv("HARMVIZ_IMPORT_LIMIT", str((quota.imported_bytes() + 1000) / 1e9))
    with pytest.raises(OutOfMemory, match="delete some, or raise HARMVIZ_IMPORT_LIMIT"):
        actions.take_in(packed(tmp_path / "second", "smollm2-135m-instruct-pyrit-9876543210"))
    monkeypatch.setenv("HARMVIZ_IMPORT_LIMIT", "0")
    with pytest.raises(OutOfMemory, match="at most 0 GB may be imported"):
        actions.take_in(archive)
    monkeypatch.setenv("HARMVIZ_CACHE_LIMIT", "0")
    with pytest.raises(OutOfMemory, match="of runs and jobs, at most 0 GB may be stored"):
        actions.start(("run",), None)
    monkeypatch.setenv("HARMVIZ_CACHE_LIMIT", "much")
    with pytest.raises(BadSetting, match="'much' is no number of gigabytes"):
        actions.start(("run",), None)

"""The dashboard's frame: every page opens in it, over no run, one run and damaged ones, and none loads torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from harmviz.ui import menu
from tests.worlds.charts import markup
from tests.worlds.fabricated import make_run, manifest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "pages").glob("*.py"))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    return tmp_path / "runs"


def opened(page: str = "pages/overview.py") -> AppTest:
    """The dashboard on this page. The first run registers the pages, as the first visit of a server does."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    if page != "pages/overview.py":
        app.switch_page(page).run()
    assert not app.exception, app.exception
    return app


def test_the_navigation_lists_every_page_script() -> None:
    assert sorted(f"pages/{entry.file}.py" for entry in menu.entries()) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_with_a_question_and_without_any_run(page: str, runs: Path) -> None:
    app = opened(page)
    said = " ".join([*(t.value for t in app.title), markup(app)])
    assert "No runs here yet" in said or [t.value for t in app.title if t.value.endswith("?")]


@pytest.mark.usefixtures("fresh_worker")
@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_over_a_run_that_lacks_most_files(page: str, runs: Path) -> None:
    run = make_run(runs)
    app = opened(page)
    (title,) = app.title
    assert title.value.endswith("?")
    assert app.selectbox(key="run-choice").value == run.id
    assert "No live model" in markup(app)


@pytest.mark.parametrize("page", PAGES)
def test_no_results_page_loads_torch(page: str, runs: Path) -> None:
    make_run(runs)
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        f"app.switch_page({page!r}).run()\nassert not app.exception and app.get('html')\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


def test_a_page_that_streamlit_starts_by_itself_gets_its_frame(runs: Path) -> None:
    """As on the first visit of a fresh server by a link into a page: ``PagesManager`` starts anew for every run here,
    and until ``st.navigation`` is called it runs scripts of ``pages/`` without app.py."""
    run = make_run(runs)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/learn.py").run()
    assert PagesManager.uses_pages_directory is False, "app.py was run around the page"
    assert not app.exception
    assert app.selectbox(key="run-choice").value == run.id
    assert len(app.title) == 1


def test_presenter_size_scales_figures_and_text(runs: Path) -> None:
    make_run(runs)
    app = opened()
    assert "html:root { font-size" not in markup(app)
    app.toggle(key="presenter").set_value(True).run()
    assert "html:root { font-size: 20.8px; }" in markup(app)


def test_text_from_files_is_never_markup(runs: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    base = manifest()
    data = {**base["data"], "id": evil, "counts": {evil: {"scoring": 1}}, "left_out": {evil: evil}}
    make_run(runs, "evil-0000000000", model={**base["model"], "name": evil, "dtype": evil}, data=data, parents=[evil])
    for page in PAGES:
        assert "<img" not in markup(opened(page)), page

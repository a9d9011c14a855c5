"""The dashboard's frame and its first page, run without a browser over a small stored run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fabricated import make_run, manifest
from streamlit.testing.v1 import AppTest

from harmviz.store import begin

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    return tmp_path / "runs"


def opened() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
    assert not app.exception
    return app


def markup(app: AppTest) -> str:
    """All HTML of the page's body."""
    return "\n".join(element.proto.body for element in app.get("html"))


def test_an_empty_disk_says_what_to_run(runs: Path) -> None:
    app = opened()
    assert [c.value for c in app.code] == ["python -m harmviz run"]
    assert "No runs here yet" in markup(app)
    assert str(runs) in markup(app)


def test_a_run_shows_model_data_size_date_and_effects_with_interval_n_and_control(runs: Path) -> None:
    run = make_run(runs)
    page = markup(opened())
    for part in (
        run.id, "smollm2-135m-instruct", "pyrit", "106,168,320", "79 % of all 134,515,008 parameters",
        "2 January 2026, 03:04 UTC", "exploits", "sexual: 21 harmful rows, 24 are needed", "0.001 % · 1,061 weights",
        "1 % protected", "as in the paper", "+0.52", "+0.47 … +0.58", "benign, own answers", "random mask",
    ):  # fmt: skip
        assert part in page, part
    assert page.count('class="dot hv-harm"') == 4
    assert page.count('class="dot hv-benign"') == 3
    assert page.count('class="ring"') == 7


def test_newest_run_comes_first(runs: Path) -> None:
    make_run(runs, "b-0000000000", created="2026-01-01T00:00:00+00:00")
    make_run(runs, "a-0000000000", created="2026-02-01T00:00:00+00:00")
    page = markup(opened())
    assert page.index("a-0000000000") < page.index("b-0000000000")


def test_a_run_without_effects_says_so(runs: Path) -> None:
    with begin("bare-0000000000", runs) as partial:
        partial.commit(manifest())
    assert "No effect has been measured" in markup(opened())


def test_damaged_and_unfinished_work_is_named_and_hides_nothing(runs: Path) -> None:
    make_run(runs, "good-0000000000")
    bad = make_run(runs, "bad-0000000000")
    (bad.path / "results" / "effect.parquet").write_bytes(b"damaged")
    (make_run(runs, "gone-0000000000").path / "manifest.json").unlink()
    with begin("half-0000000000", runs) as partial:
        partial.finish("score:hate")
    app = opened()
    (error,) = app.error
    assert "bad-0000000000" in error.value
    assert "no readable Parquet file" in error.value
    page = markup(app)
    assert "good-0000000000" in page
    assert "half-0000000000" in page
    assert "1 stage done, last: score:hate" in page
    assert "gone-0000000000" in page
    assert [s.value for s in app.subheader] == ["Unfinished", "Cannot be read"]


def test_text_from_files_is_never_markup(runs: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    base = manifest()
    data = {**base["data"], "id": evil, "counts": {evil: {"scoring": 1}}, "left_out": {evil: evil}}
    make_run(runs, "evil-0000000000", model={**base["model"], "name": evil, "dtype": evil}, data=data, parents=[evil])
    page = markup(opened())
    assert "<img" not in page
    assert "&lt;img" in page


def test_pages_over_stored_runs_load_neither_torch_nor_transformers(runs: Path) -> None:
    make_run(runs)
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "assert not app.exception and app.get('html')\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"

"""Compare runs over real small runs: what is drawn, what a control changes, and what is said where nothing compares."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from harmviz.masks.candidates import Candidates
from harmviz.runs import read_run
from tests.conftest import QUICK_RUN
from tests.worlds.charts import figures, markup, numbers, open_page, trace
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cache(quick_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of equal shapes on equal data, of models with other weights."""
    from harmviz.cli import main
    from tests.worlds.tiny import tiny_model

    folder = tmp_path_factory.mktemp("compare")
    other = folder / "aligned"
    loaded = tiny_model("llama", seed=1)
    loaded.model.save_pretrained(other)
    loaded.tokenizer.save_pretrained(other)
    shutil.copytree(quick_run, folder / "runs" / quick_run.name)
    assert main(["run", "--model", str(other), *QUICK_RUN, "--out", str(folder / "runs")]) == 0
    return folder


@pytest.fixture
def two(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the two runs, the newest first."""
    monkeypatch.setenv("HARMVIZ_CACHE", str(cache))
    runs = sorted(
        (read_run(p) for p in (cache / "runs").iterdir() if not p.name.startswith(".")),
        key=lambda r: r.created,
        reverse=True,
    )
    return [r.id for r in runs]


opened = partial(open_page, "compare")


def curve(app: AppTest, run: str, kind: str = "harm, mean of all types") -> np.ndarray:
    return numbers(trace(figures(app)[1], f"{run}, {kind}")["y"])


def test_the_two_runs_stand_side_by_side_as_stored(two: list[str], cache: Path) -> None:
    app = opened()
    assert app.multiselect(key="compare_runs").value == two
    chosen, _, maps = figures(app)
    rows = read_run(cache / "runs" / two[0]).results()
    p = float(app.segmented_control(key="compare_p").value)
    stored = rows[
        (rows["condition"] == "validation")
        & (rows["metric"] == "delta_nll")
        & (rows["category"] == "harm")
        & (rows["contrast"] == "both")
        & (rows["p"] == p)
    ].sort_values("q")
    assert curve(app, "aligned") == pytest.approx(stored["value"].to_numpy())
    assert not np.allclose(curve(app, "aligned"), curve(app, "tiny"))
    assert "aligned:" in chosen["layout"]["title"]["subtitle"]["text"]
    names = {a["text"] for a in maps["layout"]["annotations"]}
    assert {"aligned", "tiny", "tiny minus aligned"} <= names
    page = markup(app)
    for part in ("no interval", "Jaccard", "in both by chance", "Intact", "56", "32 tokens"):
        assert part in page, part
    assert page.count("How to read it.") == 3


def test_another_selection_changes_the_curves_and_another_q_the_maps(two: list[str]) -> None:
    app = opened()
    before, density = curve(app, "aligned"), numbers(figures(app)[2]["data"][0]["z"])
    app.segmented_control(key="compare_selection").set_value("none").run()
    assert not app.exception
    assert not np.allclose(curve(app, "aligned"), before)
    slider = app.select_slider(key="compare_q")
    slider.set_value(0.005).run()
    assert not app.exception
    fewer = numbers(figures(app)[2]["data"][0]["z"])
    assert fewer.sum() < density.sum()


def test_one_harm_type_has_maps_of_its_own(two: list[str]) -> None:
    app = opened()
    before = numbers(figures(app)[2]["data"][0]["z"])
    app.selectbox(key="compare_type").set_value("hate").run()
    assert not app.exception
    assert "hate" in figures(app)[2]["layout"]["title"]["subtitle"]["text"]
    assert not np.allclose(numbers(figures(app)[2]["data"][0]["z"]), before)


def test_a_link_opens_the_runs_it_names_in_their_order(two: list[str]) -> None:
    app = opened(compare_runs=two[::-1])
    assert app.multiselect(key="compare_runs").value == two[::-1]
    assert "aligned minus tiny" in {a["text"] for a in figures(app)[2]["layout"]["annotations"]}


def test_one_run_alone_says_how_to_make_another(
    quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    shutil.copytree(quick_run, tmp_path / "runs" / quick_run.name)
    app = opened()
    assert figures(app) == []
    assert "There is one run like this" in markup(app)
    assert "python -m harmviz run --model MODEL" in [c.value for c in app.code]


def test_runs_that_do_not_compare_are_named_with_the_reason(
    two: list[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    shutil.copytree(cache / "runs", tmp_path / "runs")
    odd = make_run(tmp_path / "runs", "odd-0123456789", created="2020-01-01T00:00:00+00:00")
    app = opened(run=two[0])
    assert f"<code>{odd.id}</code>: measured on other data (pyrit)" in markup(app)
    assert len(figures(app)) == 3
    app.multiselect(key="compare_runs").set_value([two[0], odd.id]).run()
    assert not app.exception
    assert figures(app) == []
    assert "Choose at least two runs" in markup(app)


def test_the_page_is_there_at_once_and_without_torch(two: list[str]) -> None:
    code = (
        "import sys, time\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "app.query_params['compare_details'] = 'true'\n"
        "app.switch_page('pages/compare.py').run()\n"
        "assert not app.exception and len(app.get('plotly_chart')) == 3\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


def test_a_rerun_answers_from_memory(two: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened()
    drawn = len(figures(app))

    def read(*args: object, **named: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(Candidates, "load", read)
    monkeypatch.setattr("harmviz.runs.stored.read_rows", read)
    app.run()
    assert not app.exception
    assert len(figures(app)) == drawn > 0

"""Learn over a real small run: six pictures from its rows, a control that changes one, and what is said without."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harmviz.display.glossary import TERMS
from harmviz.runs import read_run
from tests.worlds.charts import figures, markup, numbers, open_page, trace
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tiny(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parents[1]))
    return tiny_run


opened = partial(open_page, "learn")


def test_six_steps_each_with_a_picture_a_reading_and_a_way_on(tiny: Path) -> None:
    app = opened()
    assert len(figures(app)) == 6
    page = markup(app)
    for number in range(1, 7):
        assert f"<h2>{number} · " in page
    assert page.count("How to read it.") == 6
    assert len(app.get("page_link")) == 6
    assert len(app.expander) == 3
    assert page.count("<dt>") == len(TERMS)
    assert tiny.name in page


def test_the_pictures_hold_the_runs_own_numbers(tiny: Path) -> None:
    scores, protection, controls, *_, limits = figures(opened())
    run = read_run(tiny)
    rows = run.results()
    chosen = run.manifest["method"]["headline"]
    n_taken = len(numbers(trace(protection, "taken")["x"]))
    assert n_taken == chosen["none"]["n_weights"]
    at = rows[
        (rows["experiment"] == "effect")
        & rows["condition"].isna()
        & (rows["metric"] == "delta_nll")
        & (rows["category"] == "harm")
        & (rows["mask"] == "mean(all)")
        & (rows["contrast"] == "both")
        & (rows["q"] == chosen["both"]["q"])
        & (rows["p"] == chosen["both"]["p"])
        & (rows["skip_tokens"] == 0)
    ].set_index("control")
    drawn = numbers(trace(controls, "harmful answers")["x"])
    assert drawn[:2] == pytest.approx([at.loc["none", "value"], at.loc["random", "value"]])
    assert numbers(trace(scores, "all others")["y"]).sum() + numbers(trace(scores, "the strongest")["y"]).sum() > 0
    assert len(numbers(trace(limits, "harmful answers")["x"])) == 2, "harm minus safe of both selections"


def test_the_selection_in_step_four_changes_its_curve_and_its_words(tiny: Path) -> None:
    app = opened()
    before, said = numbers(trace(figures(app)[3], "harmful answers")["y"]), markup(app)
    app.segmented_control(key="learn_selection").set_value("none").run()
    assert not app.exception
    after = numbers(trace(figures(app)[3], "harmful answers")["y"])
    assert not np.allclose(before, after)
    assert figures(app)[3]["layout"]["title"]["text"].startswith("As in the paper")
    assert markup(app) != said


def test_a_run_without_the_rows_says_so_in_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    make_run(tmp_path / "runs", rows=[])
    app = opened()
    assert figures(app) == []
    assert markup(app).count("Not measured in this run") == 6
    assert "<dt>" in markup(app), "the glossary needs no run"


def test_a_run_that_lacks_them_is_replaced_by_the_reference_run_and_it_says_so(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    shutil.copytree(tiny, tmp_path / "runs" / tiny.name)
    bare = make_run(tmp_path / "runs", "bare-0123456789", rows=[], created="2020-01-01T00:00:00+00:00")
    app = opened()
    picker = app.selectbox(key="run-choice")
    picker.select(next(o for o in picker.options if bare.model_name in o)).run()
    assert not app.exception
    assert len(figures(app)) == 6
    assert "so the reference run is shown" in markup(app)
    assert f"run</span> {tiny.name}" in markup(app)


def test_it_loads_no_torch(tiny: Path) -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "app.switch_page('pages/learn.py').run()\n"
        "assert not app.exception and len(app.get('plotly_chart')) == 6\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"

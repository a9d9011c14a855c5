"""The page *Dissociation*: what its choices change, what it says where nothing is stored, and that files are never
markup.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.worlds.charts import figures, markup, numbers, open_page, trace
from tests.worlds.dissociation import dissociation_rows, make_dissociation
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[3]
PAGE = "pages/dissociation.py"
VIEWS = {"Recognition": 2, "Loss shifts": 2, "Refusal": 3}
EVIL = "<img src=x onerror=alert(1)>"


opened = partial(open_page, "dissociation")


@pytest.fixture
def stored(runs: Path) -> Path:
    make_dissociation(runs, make_run(runs).id)
    return runs


def harm(app: AppTest) -> list[float]:
    return list(numbers(trace(figures(app)[0], "harm mask")["x"]))


def test_selection_and_strength_change_the_picture_and_a_link_reopens_it(stored: Path) -> None:
    app = opened()
    contrastive = harm(app)
    assert contrastive[0] == pytest.approx(1.6 * -0.72)
    app.segmented_control(key="dissociation_contrast").set_value("none").run()
    plain = harm(app)
    assert plain[0] == pytest.approx(-0.72)
    app.segmented_control(key="dissociation_contrast").set_value("both").run()
    app.segmented_control(key="dissociation_strength").set_value("matched").run()
    assert not app.exception
    matched = harm(app)
    assert matched[0] == pytest.approx(-0.40)
    assert "strength 0.37" in str(figures(app)[0]["layout"]["annotations"])
    assert harm(opened(dissociation_contrast="contrastive", dissociation_strength="at matched strength")) == matched


def test_what_nobody_chose_follows_the_run_in_the_sidebar(runs: Path) -> None:
    made = {
        n: make_dissociation(runs, make_run(runs, f"{n}-{n * 10}").id, f"smollm2-135m-instruct-dissociation-{n * 10}")
        for n in ("a", "b")
    }
    app = opened()
    picker, box = partial(app.selectbox, key="run-choice"), partial(app.selectbox, key="dissociation_result")
    for name in ("a", "b"):
        picker().set_value(f"{name}-{name * 10}").run()
        assert box().value == made[name].id
    box().set_value(made["a"].id).run()
    picker().set_value("a-aaaaaaaaaa").run()
    picker().set_value("b-bbbbbbbbbb").run()
    assert box().value == made["a"].id, "a choice stays"


def test_the_double_dissociation_is_the_title_where_it_was_found(stored: Path) -> None:
    app = opened(dissociation_strength="at matched strength")
    assert figures(app)[0]["layout"]["title"]["text"].startswith("A double dissociation")
    assert "also less explanation" in figures(opened())[0]["layout"]["title"]["text"]
    page = markup(app)
    assert "no difference found" in page
    assert "The paper" in page
    assert "The reverse" in page
    assert "How to read it." in page


def test_what_is_not_testable_is_drawn_and_said(runs: Path) -> None:
    make_dissociation(runs, make_run(runs).id, rows=list(dissociation_rows(testable=())))
    app = opened()
    assert [t for t in figures(app)[0]["data"] if t["type"] == "bar"]
    assert "not testable on this model" in markup(app)
    assert "not testable here" in figures(app)[0]["layout"]["title"]["text"].replace("<br>", " ")


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws(stored: Path, view: str) -> None:
    app = opened(dissociation_view=view)
    assert len(figures(app)) == VIEWS[view]


def test_a_result_of_one_selection_without_a_match_offers_no_other(runs: Path) -> None:
    rows = [r for r in dissociation_rows(contrasts=("none",)) if r.metric != "strength"]
    make_dissociation(runs, make_run(runs).id, rows=rows)
    app = opened(dissociation_strength="at matched strength")
    assert app.segmented_control(key="dissociation_contrast").options == ["as in the paper"]
    assert app.segmented_control(key="dissociation_strength").options == ["at its chosen point"]
    assert harm(app)[0] == pytest.approx(-0.72)


def test_without_a_result_the_page_says_how_to_make_one(runs: Path) -> None:
    make_run(runs)
    app = opened()
    assert "No such result is stored yet" in markup(app)
    assert [c.value for c in app.code if "experiment dissociation" in c.value]
    assert not figures(app)


def test_a_result_without_rows_says_so(runs: Path) -> None:
    make_dissociation(runs, make_run(runs).id, rows=[])
    assert "This result holds no such rows" in markup(opened())


def test_text_from_files_is_never_markup(runs: Path) -> None:
    rows = list(dissociation_rows(phrasings=(EVIL, "hurt")))
    asked = {"hurt": {"question": EVIL, "yes_is_harmful": True}}
    make_dissociation(
        runs,
        make_run(runs).id,
        rows=rows,
        phrasings=asked,
        masks={"both": {"n_weights": EVIL}},
        refusal_mask={"n_weights": {"both": EVIL}},
    )
    for view in VIEWS:
        app = opened(dissociation_view=view)
        assert "<img" not in markup(app)
        for figure in figures(app):
            assert "<img" not in str(figure["layout"])
            assert "<img" not in str([t.get("customdata") for t in figure["data"]])


def test_no_view_loads_torch(stored: Path) -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "app.query_params['dissociation_details'] = 'true'\n"
        f"for view in {tuple(VIEWS)!r}:\n    app.query_params['dissociation_view'] = view\n"
        "    app.switch_page('pages/dissociation.py').run()\n"
        "    assert not app.exception and len(app.get('plotly_chart')) > 1, view\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"

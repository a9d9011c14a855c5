"""The page *Jailbreaks*: what changes with measure, view and answers, what it says without an experiment, and that text
stays text."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

from harmviz.claims.jailbreak.attacks import Attack, load_attacks
from harmviz.claims.jailbreak.finding import finding, grid_of
from tests.worlds.charts import figures, markup, numbers, open_page
from tests.worlds.jailbreak import REFUSED, make_experiment

ROOT = Path(__file__).resolve().parents[3]
EVIL = "<img src=x onerror=alert(1)>"


opened = partial(open_page, "jailbreaks", jailbreaks_answers="true")


def titles(app: AppTest) -> list[str]:
    return [f["layout"]["title"]["text"].replace("<br>", " ").replace("\u00a0", " ") for f in figures(app)]


def panel(app: AppTest, number: int) -> np.ndarray:
    return numbers(figures(app)[0]["data"][number]["z"])


def test_without_an_experiment_it_says_what_would_make_one(mapped: Path) -> None:
    app = opened()
    assert app.title[0].value == "Do jailbreaks still get through?"
    assert "No such result is stored yet" in markup(app)
    assert "python -m harmviz experiment jailbreak RUN" in [c.value for c in app.code]
    assert not app.get("plotly_chart")


def test_the_grid_shows_the_stored_rates(mapped: Path) -> None:
    run = make_experiment(mapped)
    app = opened()
    grid = grid_of(run)
    stored = [[grid.value("refusal_rate", g, a) for g in grid.groups] for a in [*grid.attacks, None]]
    assert np.allclose(panel(app, 0), np.array(stored, dtype=float))
    assert panel(app, 1).shape == (5, 5)
    assert len(figures(app)) == 2
    assert titles(app)[0] == finding(run).sentence
    page = markup(app)
    assert "How to read it." in page
    assert "The claim" in page
    assert "Qi et al. 2024" in page, "attacks stand there with their source"


def test_measure_and_view_change_the_grid_and_a_link_reopens_it(mapped: Path) -> None:
    make_experiment(mapped)
    app = opened()
    before = panel(app, 0)
    app.selectbox(key="jail_metric").set_value("compliance_rate").run()
    assert not app.exception
    complied = panel(app, 0)
    assert np.allclose(complied, 1 - before)
    app.segmented_control(key="jail_view").set_value("excess").run()
    assert not app.exception
    assert panel(app, 0).shape == (5, 3)
    linked = opened(jail_metric="complied with, at most", jail_view="difference to random")
    assert np.array_equal(panel(linked, 0), panel(app, 0))


def test_answers_side_by_side_follow_attack_request_and_masks(mapped: Path) -> None:
    make_experiment(mapped)
    app = opened()
    assert "contrastive answers prefill" in markup(app)
    app.selectbox(key="jail_attack").set_value("roleplay").run()
    assert "contrastive answers roleplay" in markup(app)
    assert "benign_signed answers roleplay" not in markup(app)
    app.pills(key="jail_masks").set_value(["intact", "benign_signed"]).run()
    assert "benign_signed answers roleplay" in markup(app)
    assert "contrastive answers roleplay" not in markup(app)
    app.selectbox(key="jail_request").set_value(1).run()
    assert not app.exception
    assert any("a benign request" in c.value for c in app.code)
    again = opened(jail_request="1", jail_attack="Role play")
    assert again.selectbox(key="jail_request").value == 1
    for nonsense in ("7", "-1", "x", "²", "9999999"):
        assert opened(jail_request=nonsense).selectbox(key="jail_request").value == 0


def test_hostile_text_is_text(mapped: Path) -> None:
    attack = Attack("a", EVIL, EVIL, EVIL + "{request}", source=EVIL, opening=EVIL)
    judges = [{"name": EVIL, "kind": "refusal", "source": EVIL, "quality": []}]
    make_experiment(mapped, attacks=(load_attacks()[0], attack), answer=EVIL, method={"judges": judges})
    app = opened()
    assert "<img" not in markup(app)
    assert "&lt;img" in markup(app)
    assert "<img" not in str(figures(app)[0]["layout"]["yaxis"]["ticktext"])
    assert not app.markdown or not any("<img" in m.value for m in app.markdown)


def test_damaged_answers_leave_the_rest(mapped: Path) -> None:
    make_experiment(mapped, lines="{\n")
    app = opened()
    assert "line 1: not an answer" in markup(app)
    assert len(figures(app)) == 2
    assert "The attacks" in markup(app)


def test_of_several_the_one_about_the_run_in_the_sidebar_comes_first_and_another_can_be_chosen(mapped: Path) -> None:
    first = make_experiment(mapped, "smollm2-135m-instruct-jailbreak-aaaaaaaaaa")
    other = make_experiment(
        mapped,
        "smollm2-135m-instruct-jailbreak-bbbbbbbbbb",
        parent="another-run-0000000000",
        refused=dict.fromkeys(REFUSED, (0.5, 0.5)),
    )
    app = opened()
    choice = app.selectbox(key="jailbreak_result")
    assert choice.value == first.id
    before = panel(app, 0)
    choice.set_value(other.id).run()
    assert not app.exception
    assert not np.array_equal(before, panel(app, 0))


def test_it_loads_no_torch(mapped: Path) -> None:
    make_experiment(mapped)
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "app.query_params['jailbreaks_details'] = 'true'\n"
        "app.switch_page('pages/jailbreaks.py').run()\n"
        "assert not app.exception and len(app.get('plotly_chart')) == 2\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"

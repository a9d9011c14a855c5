"""The page *Emergent misalignment*: what changes with its controls, what it says without an experiment and of one at
work, and that text stays text.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from harmviz.claims.emergent import arms as arm_names
from tests.worlds.charts import figures, is_sent, markup, numbers, open_page, trace
from tests.worlds.emergent import HELPS, SPEC, begin_experiment, make_experiment

ROOT = Path(__file__).resolve().parents[3]
EVIL = "<img src=x onerror=alert(1)>"
CHARTS = 5  # arms, kinds, dose, training, weights


opened = partial(open_page, "emergent")


def title(app: AppTest, number: int = 0) -> str:
    return str(figures(app)[number]["layout"]["title"]["text"]).replace("<br>", " ")


def test_without_an_experiment_it_says_what_would_make_one(mapped: Path) -> None:
    app = opened()
    assert app.title[0].value == "Does narrow tuning misalign broadly?"
    assert "No such result is stored yet" in markup(app)
    assert "python -m harmviz experiment emergent RUN" in [c.value for c in app.code]
    assert not app.get("plotly_chart")


def test_the_charts_show_the_stored_rows(mapped: Path) -> None:
    run = make_experiment(mapped)
    app = opened()
    assert len(figures(app)) == CHARTS
    assert title(app).endswith("pruning its harm weights first does not reduce it")
    frame = run.results()
    stored = frame[(frame.metric == "log_odds_shift") & (frame.category == "broad")].set_index("condition")
    for arm in ("narrow-bad", "narrow-good", "benign-held"):
        (x,) = numbers(trace(figures(app)[0], arm_names.arm_name(arm))["x"])
        assert x == stored.value[arm]
    grid = numbers(figures(app)[1]["data"][0]["z"])
    assert grid.shape == (6, 4)
    assert grid[0, 3] == stored.value["narrow-bad"]
    said = markup(app)
    assert all(
        part in said
        for part in ("The claim", "Found here", "How to read it.", "it cannot tell bad tuning from good tuning")
    )


def test_the_switch_changes_what_is_measured_and_a_link_reopens_it(mapped: Path) -> None:
    make_experiment(mapped, shifts=HELPS)
    app = opened()
    broad = numbers(trace(figures(app)[0], "bad advice")["x"])
    assert "more than pruning as many other weights" in title(app)
    app.segmented_control(key="emergent_view").set_value("in_domain").run()
    assert not app.exception
    inside = numbers(trace(figures(app)[0], "bad advice")["x"])
    assert inside > broad
    assert "in its own domain" in title(app)
    app.segmented_control(key="emergent_view").set_value("benign").run()
    assert "the loss of harmless text" in title(app)
    linked = opened(emergent_view="in the domain")
    assert np.array_equal(numbers(trace(figures(linked)[0], "bad advice")["x"]), inside)


def test_answers_follow_question_seed_and_arms(mapped: Path) -> None:
    make_experiment(mapped)

    def unveiled(**query: str) -> AppTest:
        app = opened(**query)  # a domain of a user's own: what is asked may be anything
        assert not is_sent(app, "narrow-bad 0 answers 0")
        app.button(key="emergent-answers-reveal").click().run()
        return app

    app = unveiled()
    assert "narrow-bad 0 answers 0" in markup(app)
    assert "random-held 0 answers" not in markup(app)
    app.segmented_control(key="emergent_seed").set_value(2).run()
    assert "narrow-bad 2 answers 0" in markup(app)
    assert "base 0 answers 0" in markup(app), "the model before tuning has no seed"
    app.pills(key="emergent_arms").set_value(["random-held", "pruned-held@0.0001"]).run()
    assert "random-held 2 answers 0" in markup(app)
    assert "narrow-bad 2 answers" not in markup(app)
    app.selectbox(key="emergent_question").set_value(1).run()
    assert not app.exception
    assert "random-held 2 answers 1" in markup(app)
    assert unveiled(emergent_question="1").selectbox(key="emergent_question").value == 1
    for nonsense in ("7", "-1", "x", "²"):
        assert unveiled(emergent_question=nonsense).selectbox(key="emergent_question").value == 0


def test_the_measure_of_change_follows_its_control(mapped: Path) -> None:
    make_experiment(mapped)
    app = opened()
    assert "Share of ΔW²" in figures(app)[4]["layout"]["title"]["subtitle"]["text"]
    app.segmented_control(key="emergent_change").set_value("top_0.01_share").run()
    assert not app.exception
    assert any(
        "among the 1 % of weights" in f["layout"]["title"]["subtitle"]["text"].replace("\u00a0", " ")
        for f in figures(app)
    )


def test_without_doses_and_with_one_seed_it_says_so(mapped: Path) -> None:
    make_experiment(mapped, spec=replace(SPEC, arms=("pruned-held",), seeds=1, dose=()))
    app = opened()
    assert len(figures(app)) == CHARTS - 1
    assert "pruned one fraction only" in markup(app)
    assert "One seed" in markup(app)
    with pytest.raises(KeyError):
        app.segmented_control(key="emergent_seed")


def test_an_experiment_at_work_shows_its_curve(mapped: Path) -> None:
    with begin_experiment(mapped):
        app = opened()
        assert "Being computed now" in markup(app)
        assert "No such result is stored yet" in markup(app)
        (curve,) = figures(app)
        assert list(numbers(trace(curve, "bad advice")["x"])) == [1, 2, 3]
        make_experiment(mapped)
        assert len(figures(opened())) == CHARTS + 1
    assert "was interrupted" in markup(opened())


def test_hostile_text_is_text(mapped: Path) -> None:
    make_experiment(
        mapped, answer=EVIL, method={"collapsed": {EVIL: EVIL}, "kinds": [EVIL, "power"], "judge": {"name": EVIL}}
    )
    app = opened()
    assert "<img" not in markup(app)
    assert "&lt;img" in markup(app)
    assert "<img" not in str(figures(app)[1]["layout"]["xaxis"]["ticktext"])
    assert not any("<img" in m.value for m in app.markdown)


def test_damaged_answers_leave_the_rest(mapped: Path) -> None:
    make_experiment(mapped, lines="{\n")
    app = opened()
    assert "line 1: not an answer" in markup(app)
    assert len(figures(app)) == CHARTS
    assert "What the judge of free answers can tell" in markup(app)


def test_a_result_that_names_no_arm_is_one_clear_line(mapped: Path) -> None:
    run = make_experiment(mapped, method={"arms": None})
    app = opened()
    assert f"{run.id} holds no shift of narrow-bad" in markup(app)
    assert not figures(app)


def test_of_several_results_another_can_be_chosen(mapped: Path) -> None:
    first = make_experiment(mapped)
    other = make_experiment(
        mapped, "smollm2-135m-instruct-emergent-bbbbbbbbbb", shifts=HELPS, parent="another-run-0000000000"
    )
    app = opened()
    choice = app.selectbox(key="emergent_result")
    assert choice.value == first.id, "that about the run in the sidebar"
    before = title(app)
    choice.set_value(other.id).run()
    assert not app.exception
    assert title(app) != before


def test_it_loads_no_torch(mapped: Path) -> None:
    make_experiment(mapped)
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "app.query_params['emergent_details'] = 'true'\n"
        "app.switch_page('pages/emergent.py').run()\n"
        f"assert not app.exception and len(app.get('plotly_chart')) == {CHARTS}\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"

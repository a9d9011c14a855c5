"""The course over a real small run: a step at a time, what is moved, the question that opens the next, the address."""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from harmviz.display.glossary import TERMS
from harmviz.learn.course import STEPS
from harmviz.runs import read_run
from harmviz.ui import live
from harmviz.worker import SentenceTicket
from tests.worlds.charts import figures, markup, numbers, open_page, trace
from tests.worlds.fabricated import make_run, manifest
from tests.worlds.serving import PATIENCE, key

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tiny(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parents[1]))
    return tiny_run


opened = partial(open_page, "learn")


def at(step: int, **query: str) -> AppTest:
    return opened(learn_step=str(step), learn_open=str(len(STEPS) + 1), **query)


def enabled(app: AppTest) -> list[int]:
    """The steps that can be gone to."""
    return [n for n in range(1, len(STEPS) + 1) if not app.button(key=f"learn_go_{n}").disabled]


@pytest.mark.parametrize("step", range(1, len(STEPS) + 1))
def test_every_step_has_a_heading_its_question_or_an_open_way_and_a_page_behind(step: int, tiny: Path) -> None:
    app = at(step)
    page = markup(app)
    assert page.count(f"<h2>{step} · ") == 1
    assert page.count("<h2>") == 1, "one idea at a time"
    assert len(figures(app)) == (0 if STEPS[step - 1].key == "learn-words" else 1), "a scene is another run's"
    assert len(app.get("page_link")) == 1
    assert len(app.radio) <= 1
    assert page.count("<dt>") == len(TERMS)
    assert read_run(tiny).model_name in page


def test_only_the_right_answer_opens_the_next_step_and_the_address_keeps_it(tiny: Path) -> None:
    app = at(4).run()
    question = app.radio[0]
    app = opened(learn_step="4", learn_open="4")
    assert enabled(app) == [1, 2, 3, 4]
    assert app.button(key="learn_next").disabled
    reactions = {}
    for option in question.options:
        app.radio[0].set_value(option).run()
        reactions[option] = (5 in enabled(app), "<b>Yes.</b>" in markup(app))
        if reactions[option][0]:
            break
        assert f"Not “{option}”" in html.unescape(markup(app))
    assert list(reactions.values())[-1] == (True, True)
    assert app.query_params["learn_open"] == "5"
    app.button(key="learn_next").click().run()
    assert "<h2>5 · " in markup(app)
    assert app.query_params["learn_step"] == "5"
    app.button(key="learn_back").click().run()
    assert app.radio[0].value == option, "the answer given stands there still"


@pytest.mark.parametrize("said", ["99", "-1", "x", "", "٣", "1e1"])
def test_an_impossible_step_in_a_link_is_the_nearest_possible_one(said: str, tiny: Path) -> None:
    app = opened(learn_step=said, learn_open="3")
    assert f"<h2>{3 if said == '99' else 1} · " in markup(app)


def test_the_course_ends_with_what_it_does_not_show_and_can_be_taken_again(tiny: Path) -> None:
    app = at(len(STEPS))
    assert "What this does not show" in markup(app)
    assert "That was the course" in markup(app)
    app.button(key="learn_again").click().run()
    assert "<h2>1 · " in markup(app)
    assert enabled(app) == [1]
    assert not {"learn_step", "learn_open"} & set(app.query_params)


def test_dropping_protection_takes_other_weights_and_says_what_that_did(tiny: Path) -> None:
    app = at(3)
    with_it, said = numbers(trace(figures(app)[0], "taken")["x"]), markup(app)
    assert len(with_it) == read_run(tiny).manifest["method"]["headline"]["none"]["n_weights"]
    app.toggle(key="learn_protect").set_value(False).run()
    assert not app.exception
    without = numbers(trace(figures(app)[0], "taken")["x"])
    assert without.min() < with_it.min(), "more useful weights are taken"
    assert "Without protection" in markup(app)
    assert markup(app) != said


def test_the_mask_swapped_for_a_random_one_shows_its_stored_effect(tiny: Path) -> None:
    rows = read_run(tiny).results()
    chosen = read_run(tiny).manifest["method"]["headline"]["both"]
    mine = (rows["experiment"] == "effect") & rows["condition"].isna() & (rows["metric"] == "delta_nll")
    mine &= (rows["category"] == "harm") & (rows["mask"] == "mean(all)") & (rows["contrast"] == "both")
    mine &= (rows["q"] == chosen["q"]) & (rows["p"] == chosen["p"]) & (rows["skip_tokens"] == 0)
    stored = rows[mine].set_index("control")["value"]
    app = at(5)
    assert numbers(trace(figures(app)[0], "harmful answers")["x"]) == pytest.approx([stored["none"]])
    app.pills(key="learn_control").set_value("random").run()
    assert not app.exception
    both = numbers(trace(figures(app)[0], "harmful answers")["x"])
    assert both == pytest.approx([stored["none"], stored["random"]])
    assert "drawn at random" in markup(app)


def test_in_presenter_size_no_step_waits_for_an_answer(tiny: Path) -> None:
    app = opened(presenter="true")
    app.toggle(key="presenter").set_value(True).run()
    assert enabled(app) == list(range(1, len(STEPS) + 1))
    assert not app.button(key="learn_next").disabled


def test_a_run_without_the_rows_says_so_and_lets_everybody_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    make_run(tmp_path / "runs", rows=[])
    app = opened()
    for _ in STEPS[1:]:
        assert "Not measured in this run" in markup(app)
        assert figures(app) == []
        app.button(key="learn_next").click().run()
        assert not app.exception
    assert f"<h2>{len(STEPS)} · " in markup(app)


def test_a_run_that_lacks_them_is_replaced_by_the_reference_run_and_it_says_so(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    shutil.copytree(tiny, tmp_path / "runs" / tiny.name)
    model = {**manifest()["model"], "name": "another-model"}
    bare = make_run(tmp_path / "runs", "bare-0123456789", rows=[], created="2020-01-01T00:00:00+00:00", model=model)
    app = opened()
    picker = app.selectbox(key="run-choice")
    picker.select(next(o for o in picker.options if bare.model_name in o)).run()
    assert not app.exception
    assert len(figures(app)) == 1
    assert "so the reference run is shown" in markup(app)


def test_it_loads_no_torch(tiny: Path) -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "app.switch_page('pages/learn.py').run()\n"
        "assert not app.exception and len(app.get('plotly_chart')) == 1\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


# -- with a live model ------------------------------------------------------------------------------------------------
def settled(app: AppTest, name: str) -> AppTest:
    """The page once what it asked the worker (kept in the session under ``name``) is answered."""
    assert app.session_state[name].ticket.wait(PATIENCE)
    app.run()
    assert not app.exception
    return app


@pytest.mark.usefixtures("fresh_worker")
def test_a_sentence_of_ones_own_is_scored_live(tiny: Path, tiny_dir: Path) -> None:
    ticket = live.worker().load(key(tiny_dir))
    assert ticket.wait(PATIENCE)
    app = settled(at(2, learn_live_2="true"), "_learn_sentence")
    scored = app.session_state["_learn_sentence"].ticket
    assert isinstance(scored, SentenceTicket)
    assert scored.score is not None, scored.snapshot().error
    assert "measured, with the weight at zero" in markup(app)
    app.text_area(key="learn_answer").set_value("A river runs to the sea.").run()
    again = settled(app, "_learn_sentence").session_state["_learn_sentence"].ticket
    assert again.score is not None
    assert again.score.loss != scored.score.loss
    assert "river" not in str(app.query_params), "typed text is never in the address"


@pytest.mark.usefixtures("fresh_worker")
@pytest.mark.parametrize(("step", "masks"), [(3, 1), (4, 1), (5, 1)])
def test_the_next_token_is_shown_live_with_the_mask_and_without(
    step: int, masks: int, tiny: Path, tiny_dir: Path
) -> None:
    ticket = live.worker().load(key(tiny_dir))
    assert ticket.wait(PATIENCE)
    app = settled(at(step, **{f"learn_live_{step}": "true"}), "_learn_look")
    seen = app.session_state["_learn_look"].ticket.seen
    assert seen is not None
    assert len(seen.names) == 1 + masks
    assert len(figures(app)) == 2


@pytest.mark.usefixtures("fresh_worker")
def test_without_a_model_the_live_part_offers_to_load_it(tiny: Path) -> None:
    app = at(4, learn_live_4="true")
    assert live.worker().state().state == "none"
    assert len(figures(app)) == 1
    assert st.session_state is not None
    assert "learn_load" in [b.key for b in app.button] or "is not on this machine" in markup(app)

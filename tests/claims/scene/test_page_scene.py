"""The stage scene over stored runs: the card, one click to the Playground, what was recorded, and the live answers in
its place.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from harmviz.claims.scene import page as scene_page
from harmviz.claims.scene.record import read_records
from harmviz.runs import Run, open_run
from harmviz.worker import ModelKey, ModelState
from tests.worlds.charts import markup
from tests.worlds.fabricated import make_run
from tests.worlds.scene import make_scene, prompts, recorded

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def tiny_scene(tiny_dir: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the tiny run and a scene made on it; the twins' author is the tiny model too."""
    from harmviz.claims.scene import texts
    from harmviz.cli import main

    cache = tmp_path_factory.mktemp("scene-cache")
    (cache / "runs").mkdir()
    (cache / "runs" / tiny_run.name).symlink_to(tiny_run)
    command = [
        "experiment",
        "scene",
        str(tiny_run),
        "--model",
        str(tiny_dir),
        "--sets",
        "mild",
        "--requests",
        "6",
        "--choosing",
        "2",
        "--max-new-tokens",
        "16",
        "--q",
        "4e-2",
        "--p",
        "0.01",
        "--selections",
        "guarded,both,none",
        "--draws",
        "1",
        "--offered",
        "2",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "AUTHOR", str(tiny_dir))  # the embedded model would take a minute and a half
        assert main([*command, "--out", str(cache / "runs")]) == 0
    return cache


def opened() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not app.exception
    return app


def begun() -> AppTest:
    app = opened()
    button(app, "scene_begin").click().run()
    app.toggle(key="play_control").set_value(True).run()
    assert not app.exception
    return app


def button(app: AppTest, key: str):
    return next(b for b in app.button if b.key == key)


def answers(page: str) -> list[str]:
    """The answer of each pane, as HTML."""
    return [part.split("</div>")[0] for part in page.split('class="answer')[1:]]


def test_no_card_without_a_scene(runs: Path) -> None:
    make_run(runs)
    app = opened()
    assert "scene_begin" not in [b.key for b in app.button]
    assert "See it happen" not in markup(app)


def test_the_card_tells_the_numbers_with_interval_and_control(runs: Path) -> None:
    make_scene(runs)
    page = markup(opened())
    for part in (
        "3 of 64",
        "40 of 64",
        "4.3 of 64",
        "56 … 68 %",
        "62 of 64",
        "declines again",
        "none chose the weights",
        "lower bound",
        "4,246 weights",
    ):
        assert part in page, part


def test_beside_a_scene_of_another_run_the_run_shows_its_own_effects(runs: Path) -> None:
    make_scene(runs)
    assert not opened().get("plotly_chart"), "the scene is the run's own picture"
    make_run(runs, "other-0123456789")
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["run"] = "other-0123456789"
    app.run()
    assert not app.exception
    assert "40 of 64" in markup(app)
    assert len(app.get("plotly_chart")) == 1


def test_a_scene_that_shows_nothing_does_not_claim_it(runs: Path) -> None:
    make_scene(runs, shows=False)
    page = markup(opened())
    assert "declines again" not in page
    assert "did not stand out clearly" in page


def test_one_click_opens_the_recorded_scene_where_the_model_is_not_at_hand(runs: Path) -> None:
    make_scene(runs)
    app = begun()
    page = markup(app)
    assert app.selectbox(key="play_preset").value == "scene"
    assert app.text_area(key="play_prompt").value == prompts()[0]
    assert app.text_input(key="play_opening").value == "Sure, here is"
    assert app.slider(key="play_tokens").value == 48
    assert '<span class="hv-tag">recorded</span>' in page
    assert "2 January 2026" in page
    assert len(answers(page)) == 3
    assert "help" in answers(page)[1]
    assert "veiled" not in "".join(answers(page))
    assert "SmolLM2-135M, aligned is not loaded" in page
    assert "98 MB" in page
    assert button(app, "play_run").disabled, "nothing can be loaded here"
    address = str(dict(app.query_params))
    assert not any(word in address for word in prompts()[0].split() if len(word) > 4)


def test_another_request_and_another_strength_show_what_was_recorded_of_them(runs: Path) -> None:
    first, second = prompts()
    scene = make_scene(runs, records=[recorded(first, "one two"), recorded(second, "three four")])
    app = begun()
    assert "one" in answers(markup(app))[0]
    app.selectbox(key="scene_request").set_value(read_records(scene)[1].id).run()
    assert app.text_area(key="play_prompt").value == second
    shown = answers(markup(app))
    assert "three" in shown[0]
    assert "help" in shown[1]
    assert "40 of 64" in markup(app)
    app.select_slider(key="scene_strength").set_value(0.5).run()
    shown = answers(markup(app))
    assert "three" in shown[1], "at half strength it was recorded to comply"
    assert "21 of 64" in markup(app)
    assert "down by 50 %" in markup(app)


def test_one_that_shows_it_stands_first_and_failures_are_marked(runs: Path) -> None:
    first, second = prompts()
    make_scene(runs, records=[recorded(first, "one two"), replace(recorded(second, "three"), declines_directly=False)])
    app = opened()
    app.switch_page("pages/playground.py").run()
    assert app.selectbox(key="play_preset").value == "scene", "the first thing seen is a recorded scene"
    page = markup(app)
    assert "Declines here" in page

    marks = ["✗ does not show it" in option for option in app.selectbox(key="scene_request").options]
    assert marks == [False, True]
    app.selectbox(key="play_preset").set_value("bread").run()
    assert "Declines here" not in markup(app)
    button(app, "play_shows").click().run()
    assert app.selectbox(key="play_preset").value == "scene"
    assert app.text_area(key="play_prompt").value == first
    assert "Declines here" in markup(app)


def test_a_link_to_a_mask_is_played_with_that_mask(runs: Path) -> None:
    make_scene(runs)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["play_strength"] = "0.5"
    app.switch_page("pages/playground.py").run()
    assert app.selectbox(key="play_preset").value != "scene"


def test_other_words_are_no_recording_and_start_veiled(runs: Path) -> None:
    make_scene(runs)
    app = begun()
    app.text_area(key="play_prompt").set_value("Something of my own").run()
    page = markup(app)
    assert "recorded" not in page
    assert "the answers start veiled" in page
    assert answers(page) == []


def test_recorded_text_is_text_and_foreign_requests_are_not_offered(runs: Path) -> None:
    hostile = "<script>x</script> </div> **b**"
    make_scene(runs, records=[recorded("Not a built-in request"), recorded(prompts()[0], hostile)])
    app = begun()
    page = markup(app)
    assert app.selectbox(key="scene_request").options == [prompts()[0]]
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_scene_of_foreign_or_damaged_requests_is_no_scene(runs: Path) -> None:
    make_scene(runs, records=[recorded("Not a built-in request")])
    assert "scene_begin" not in [b.key for b in opened().button]


def test_neither_the_card_nor_the_recording_loads_torch(runs: Path) -> None:
    make_scene(runs)
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "next(b for b in app.button if b.key == 'scene_begin').click().run()\n"
        "assert not app.exception\nassert any('recorded' in e.proto.body for e in app.get('html'))\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


# -- with a model -----------------------------------------------------------------------------------------------------
def until(app: AppTest, words: str) -> str:
    start = time.monotonic()
    while words not in (page := markup(app)):
        assert time.monotonic() - start < PATIENCE_S, page[-3000:]
        time.sleep(0.1)
        app.run()
        assert not app.exception
    return page


def texts(app: AppTest) -> list[str]:
    return [view.text for view in app.session_state["_comparison"].ticket.snapshot().panes]


def scene_of(cache: Path) -> Run:
    return next(
        r for p in (cache / "runs").iterdir() if not p.name.startswith(".") and (r := open_run(p)).kind == "experiment"
    )


@pytest.mark.usefixtures("fresh_worker")
def test_one_click_loads_plays_and_replaces_the_recording(
    tiny_scene: Path, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_scene))
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tiny_dir.parent))
    app = begun()
    assert "_comparison" in app.session_state, "asked for without another click"
    page = until(app, "done ·")
    assert '<span class="hv-tag">recorded</span>' not in page
    record = read_records(scene_of(tiny_scene))[0]
    full, half = record.snapshot(1.0), record.snapshot(0.5)
    assert full is not None
    assert half is not None
    assert texts(app) == [p.text for p in full.panes], "live and recorded are the same here"
    first = app.session_state["_comparison"]
    app.select_slider(key="scene_strength").set_value(0.5).run()
    until(app, "done ·")
    assert app.session_state["_comparison"] is not first, "another strength is played at once where the model is there"
    assert texts(app) == [p.text for p in half.panes]


@pytest.mark.usefixtures("fresh_worker")
def test_what_is_asked_while_the_model_is_loading_is_played_once_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    key, asked = ModelKey("m"), {"_scene_begin": "play"}
    monkeypatch.setattr(scene_page.st, "session_state", asked)
    assert not scene_page.asked_to_begin(key, ModelState("loading", key))
    assert scene_page.asked_to_begin(key, ModelState("ready", key))
    assert not scene_page.asked_to_begin(key, ModelState("ready", key)), "once"
    asked["_scene_begin"] = "play"
    assert not scene_page.asked_to_begin(key, ModelState("none"))
    assert asked == {}, "what cannot be played is forgotten"


def test_the_recording_stands_until_the_live_answer_is_whole(
    tiny_scene: Path, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harmviz.worker import AnswerTicket

    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_scene))
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tiny_dir.parent))
    go_on, push = threading.Event(), AnswerTicket.push
    monkeypatch.setattr(AnswerTicket, "push", lambda self, step: (go_on.wait(PATIENCE_S), push(self, step))[1])
    app = begun()
    assert '<span class="hv-tag">recorded</span>' in markup(app)
    app.run()
    assert len(answers(markup(app))) == 3, "nothing is written yet"
    monkeypatch.setattr(AnswerTicket, "push", lambda self, step: (time.sleep(0.1), push(self, step))[1])
    go_on.set()
    page = until(app, "writing, all panes in step")
    assert '<span class="hv-tag">recorded</span>' in page
    assert "the live answer grows below" in page
    assert len(answers(page)) == 6
    page = until(app, "done ·")
    assert '<span class="hv-tag">recorded</span>' not in page
    assert len(answers(page)) == 3

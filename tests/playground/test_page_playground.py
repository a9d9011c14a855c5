"""The Playground over a run of a tiny model on disk: load, run, compare, veil, stale answers. Without a browser."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from harmviz.ui import live
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120


@pytest.fixture(autouse=True)
def fresh_worker() -> Iterator[None]:
    """A worker of its own for every test: a loaded model must not outlive the folder it came from."""
    live.worker.clear()
    yield
    live.worker.clear()


@pytest.fixture
def cache(tiny_dir: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parent.parent))
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tiny_dir.parent))
    return tiny_run.parent.parent


def opened() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.switch_page("pages/playground.py").run()
    assert not app.exception
    return app


def markup(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def button(app: AppTest, key: str):
    return next(b for b in app.button if b.key == key)


def until(app: AppTest, words: str) -> str:
    """Looks at the page as the poll does, until it says these words."""
    start = time.monotonic()
    while words not in (page := markup(app)):
        assert time.monotonic() - start < PATIENCE_S, page[-3000:]
        time.sleep(0.1)
        app.run()
        assert not app.exception
    return page


def loaded(model: str | None = None, preset: str | None = None) -> AppTest:
    app = opened()
    app.slider(key="play_tokens").set_value(16).run()
    if preset:
        app.selectbox(key="play_preset").set_value(preset).run()
    if model:
        app.selectbox(key="play_model").set_value(model).run()
    app.toggle(key="play_control").set_value(True).run()
    button(app, "play_load").click().run()
    until(app, 'class="lamp ready"')
    return app


def answers(page: str) -> list[str]:
    """The answer of each pane, as HTML."""
    return [part.split("</div>")[0] for part in page.split('class="answer')[1:]]


def played(app: AppTest) -> str:
    button(app, "play_run").click().run()
    return until(app, "done ·")


def texts(app: AppTest) -> list[str]:
    return [view.text for view in app.session_state["_comparison"].ticket.snapshot().panes]


def test_choose_load_run_without_typing(cache: Path) -> None:
    app = loaded(preset="pirate")
    assert "pirate captain" in app.text_area(key="play_prompt").value
    assert app.text_input(key="play_opening").value == "Sure, here is"
    page = played(app)
    shown = answers(page)
    assert len(shown) == 3  # intact, pruned, random control
    assert all("Sure, here is" in a for a in shown)
    assert 'class="answer veiled"' not in page
    for text, pane in zip(texts(app), shown, strict=True):
        assert pane.count("<span") == 17  # the opening words, and 16 tokens
        assert all(escape(c) in pane for c in text if not c.isspace())
    for words in (
        "Intact",
        "Pruned",
        "Random control",
        "declines (keywords, lower bound)",
        "tokens / s",
        "weights changed",
    ):
        assert words in page
    assert "pirate captain" not in " ".join(f"{k}{v}" for k, v in app.query_params.items())


def test_strength_0_equals_intact_and_is_one_click_away(cache: Path) -> None:
    app = loaded()
    page = played(app)
    first = texts(app)
    assert first[0] != first[1]  # the mask of a tiny model takes five percent of its weights
    assert "differs here" in page or "ends here" in page
    app.slider(key="play_strength").set_value(0.0).run()
    stale = markup(app)
    assert "hv-panes n3 outdated" in stale
    assert "these answers belong to earlier settings" in stale
    assert button(app, "play_run").label == "Run again with these settings"
    page = played(app)
    again = texts(app)
    assert again[0] == first[0]
    assert again[1] == again[2] == again[0]
    assert page.count("nowhere") == 2
    assert "none, strength 0" in page
    assert 'hv-panes n3"' in page
    assert button(app, "play_run").label == "Run again"


def test_the_switch_shows_and_hides_answers_that_are_there_already(cache: Path) -> None:
    app = loaded()
    assert len(answers(played(app))) == 3
    played_once = app.session_state["_comparison"]
    app.toggle(key="play_control").set_value(False).run()
    assert len(answers(markup(app))) == 2
    app.segmented_control(key="play_switch").set_value("intact").run()
    (alone,) = answers(markup(app))
    assert all(escape(c) in alone for c in texts(app)[0] if not c.isspace())
    app.segmented_control(key="play_switch").set_value("pruned").run()
    assert len(answers(markup(app))) == 2
    assert app.session_state["_comparison"] is played_once, "nothing was asked of the model"
    app.run()
    assert app.session_state["_play_look"].ticket.wait(PATIENCE_S)
    app.run()
    (chart,) = app.get("plotly_chart")
    bars = json.loads(chart.proto.spec)["data"]
    assert {bar["name"] for bar in bars} == {"Intact", "Pruned"}
    app.slider(key="play_strength").set_value(0.5).run()
    assert app.session_state["_play_look"].asked.lineup.strength == 0.5, "the bars follow the strength"


def test_a_text_of_ones_own_is_veiled_until_revealed_in_this_session(cache: Path) -> None:
    app = loaded()
    app.text_area(key="play_prompt").set_value("Say something nice about rain.").run()
    page = played(app)
    assert page.count('class="answer veiled"') == 3
    button(app, "play_reveal").click().run()
    assert "veiled" not in "".join(answers(markup(app)))
    assert markup(app).count('class="answer"') == 3
    app.text_area(key="play_prompt").set_value("Say something nice about snow.").run()
    assert played(app).count('class="answer"') == 3, "the session remembers"
    button(app, "play_veil").click().run()
    assert markup(app).count('class="answer veiled"') == 3
    assert "snow" not in str(dict(app.query_params))


def test_another_model_is_loaded_while_one_is_ready(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar looks on from the click to the end, also while the load waits and the first model is still ready."""
    from harmviz.worker import Worker

    app = loaded()
    go_on = threading.Event()
    monkeypatch.setattr(Worker, "_load", lambda self, *a, load=Worker._load: (go_on.wait(PATIENCE_S), load(self, *a)))
    app.selectbox(key="play_dtype").set_value("bfloat16").run()
    assert not button(app, "play_load").disabled
    button(app, "play_load").click().run()
    assert live.worker().state().state == "ready", "the load is in line, and nothing has changed yet"
    assert "Another model comes next" in markup(app)
    assert button(app, "play_load").disabled
    go_on.set()
    until(app, "bfloat16")
    assert live.worker().state().dtype == "bfloat16"


def test_masks_of_other_weights_are_refused_aloud(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.worlds.tiny import tiny_model

    other = tmp_path / "models" / "other"
    model = tiny_model("llama", seed=1)
    model.model.save_pretrained(other)
    model.tokenizer.save_pretrained(other)
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", os.pathsep.join([os.environ["HARMVIZ_MODEL_ROOTS"], str(other.parent)]))
    app = loaded(model=str(other.resolve()))
    page = markup(app)
    assert "These masks belong to other weights" in page
    assert model.weight_hash[:12] in page
    page = played(app)
    assert len(answers(page)) == 1  # the intact model alone


def test_four_panes_with_a_second_mask(cache: Path) -> None:
    app = loaded()
    app.pills(key="play_beside").set_value(["mask", "second", "random"]).run()
    assert app.selectbox(key="play_second").value == "other-selection"
    page = played(app)
    assert len(answers(page)) == 4
    assert "Pruned, second mask" in page
    digests = [v.mask_digest for v in app.session_state["_comparison"].ticket.snapshot().panes]
    assert digests[0] is None
    assert len(set(digests)) == 4


def test_an_empty_prompt_is_one_clear_line(cache: Path) -> None:
    app = loaded(preset="own")
    assert app.text_area(key="play_prompt").value == ""
    button(app, "play_run").click().run()
    assert "the prompt is empty" in markup(app)


def test_a_stopped_comparison_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harmviz.generation.text import StreamDecoder

    push = StreamDecoder.push
    monkeypatch.setattr(StreamDecoder, "push", lambda self, token: time.sleep(0.02) or push(self, token))
    app = loaded()
    app.slider(key="play_tokens").set_value(256).run()
    button(app, "play_run").click().run()
    until(app, "writing, all panes in step")
    button(app, "play_stop").click().run()
    page = until(app, "stopped ·")
    assert 0 < len(app.session_state["_comparison"].ticket.snapshot().panes[0].tokens) < 256
    assert ", stopped" in page
    assert button(app, "play_stop").disabled


def test_without_a_run_only_the_intact_model_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    app = opened()
    page = markup(app)
    assert "No run is stored here" in page
    assert "SmolLM2-135M-Instruct is not loaded" in page
    assert "98 MB" in page  # nothing is fetched in this cache
    assert button(app, "play_load").label == "Load SmolLM2-135M-Instruct"
    assert button(app, "play_run").disabled


def test_a_run_whose_candidates_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    make_run(tmp_path / "runs")
    app = opened()
    assert "Only stored masks can be played" in markup(app)
    assert app.selectbox(key="play_stored").value == "mean"


def test_models_outside_the_configured_folders_are_not_opened(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(cache / "nowhere"))
    app = opened()
    page = markup(app)
    assert "No model to load" in page
    assert "is not on this machine" in page
    assert "play_load" not in [b.key for b in app.button]


def test_the_transcript_holds_what_was_played(cache: Path) -> None:
    from harmviz.playground.keepsakes import _transcript

    app = loaded()
    played(app)
    document = json.loads(_transcript(app.session_state["_comparison"], "json", with_texts=True))
    assert [p["text"] for p in document["panes"]] == texts(app)
    assert document["weight_hash"]
    assert document["run_id"] == next(p.name for p in (cache / "runs").iterdir() if not p.name.startswith("."))
    assert document["panes"][1]["mask"]["q"] > 0
    shown = app.session_state["_comparison"]
    elsewhere = replace(shown.model, key=replace(shown.model.key, name="another"), weight_hash="0" * 64)
    for other in (elsewhere, replace(elsewhere, state="none")):
        told = json.loads(_transcript(replace(shown, model=other), "json", with_texts=True))
        assert told["weight_hash"] == document["weight_hash"], "of the model that answered, whatever else was held"

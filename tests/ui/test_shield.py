"""The shield: a marker put into what may be harmful is in no element, address or file before it is asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from harmviz.runs import imports
from harmviz.ui import live
from tests.worlds.charts import ROOT, is_sent, open_page
from tests.worlds.jailbreak import make_experiment

MARKER, PATIENCE_S = "zanzibar", 120


@pytest.fixture
def cache(tiny_dir: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parent.parent))
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tiny_dir.parent))
    live.worker.clear()
    yield tiny_run.parent.parent
    live.worker.clear()


def answered(prompt: str) -> AppTest:
    """The Playground with whole answers to a text of the reader's own."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.switch_page("pages/playground.py").run()
    app.slider(key="play_tokens").set_value(16).run()
    app.text_area(key="play_prompt").set_value(prompt).run()
    app.button(key="play_load").click().run()
    end = time.monotonic() + PATIENCE_S
    while live.worker().state().state != "ready":
        assert time.monotonic() < end, live.worker().state()
        time.sleep(0.05)
    app.run()
    app.button(key="play_run").click().run()
    assert app.session_state["_comparison"].ticket.wait(PATIENCE_S)
    app.run()
    assert not app.exception
    return app


def test_a_marker_in_an_answer_is_nowhere_before_it_is_revealed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harmviz.generation.text import StreamDecoder
    from harmviz.playground.keepsakes import _transcript

    monkeypatch.setattr(StreamDecoder, "push", lambda self, token: f" {MARKER}")
    app = answered("Say something about rain.")
    played = app.session_state["_comparison"]
    assert all(MARKER in view.text for view in played.ticket.snapshot().panes)
    assert not is_sent(app, MARKER)
    assert MARKER not in repr(played)
    for ending in ("json", "txt"):
        kept = _transcript(played, ending, with_texts=False).decode()
        assert MARKER not in kept
        assert "rain" not in kept
        assert "perplexity" in kept
        assert MARKER in _transcript(played, ending, with_texts=True).decode()
    document = json.loads(_transcript(played, "json", with_texts=False))
    assert len(document["panes"][0]["tokens"]) == 16
    assert not app.checkbox(key="play_transcript_texts").value, "texts are in the file only where they are asked for"

    app.button(key="play_reveal").click().run()
    assert is_sent(app, MARKER)

    app.toggle(key="presenter").set_value(True).run()
    assert not is_sent(app, MARKER), "before a room every veil is locked"
    app.button(key="presenter-Esc").click().run()
    assert not app.exception
    assert not is_sent(app, MARKER), "and stays so when the room looks at the page again"


def test_stored_answers_from_elsewhere_are_not_in_the_page_before_they_are_revealed(
    mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_experiment(mapped)
    answers = [json.loads(line) for line in (run.path / "results/transcripts.jsonl").read_text().splitlines()]
    attack = list(dict.fromkeys(a["attack"] for a in answers))[1]  # the page opens with the first wrapper
    shown = next(a for a in answers if a["attack"] == attack and a["mask"] == "intact" and a["category"] != "benign")
    asked, said = shown["request"], shown["answer"]
    assert is_sent(open_page("jailbreaks", jailbreaks_answers="true"), said), (
        "what was made here keeps mild answers only"
    )
    imports.mark(run.path.parent, run.id)
    app = open_page("jailbreaks", jailbreaks_answers="true")
    assert not is_sent(app, asked)
    assert not is_sent(app, said)
    app.button(key="jail-answers-reveal").click().run()
    assert is_sent(app, said)

"""Whatever a text holds, the markup around it stays what it is with a harmless one: the helpers that escape, payload by
payload."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import html5lib
import pytest
from markdown_it import MarkdownIt

from harmviz.display import labels, text
from harmviz.files import printable
from harmviz.playground.panes import PaneLabel, panes_markup, safe
from harmviz.report.numbers import rendered
from harmviz.ui import live, run_card
from harmviz.worker import ModelKey, ModelState, Snapshot
from tests.worlds.hostile import ANSI, PAYLOADS
from tests.worlds.scene import view

EACH = pytest.mark.parametrize("payload", [*PAYLOADS, ANSI], ids=range(1, len(PAYLOADS) + 2))


def skeleton(markup: str) -> list[Any]:
    """Tags and attributes of a fragment as a browser reads it, without what they say."""
    tree = html5lib.parseFragment(markup, treebuilder="etree", namespaceHTMLElements=False)
    return [(node.tag, sorted(node.attrib)) for node in tree.iter()]


def said(markup: str) -> str:
    return "".join(html5lib.parseFragment(markup, treebuilder="etree", namespaceHTMLElements=False).itertext())


def pane(words: str) -> str:
    label = PaneLabel("harm", words, words, "mask")
    intact = PaneLabel("intact", "Intact", "", "intact")
    views = (view("intact", "x y"), view("mask", "x", tokens=(words, words), text=words, first_difference=1))
    snapshot = Snapshot("done", 0, "", 1.0, None, views, None)
    return panes_markup(snapshot, [intact, label], opening=words)


def state(words: str) -> str:
    return live.state_markup(ModelState("failed", ModelKey(words, "float32", "cpu"), stage=words, error=words))


MARKUP: dict[str, Callable[[str], str]] = {
    "an answer": pane,
    "a model that could not be loaded": state,
    "a damaged run": lambda words: run_card.note(words, words),
    "no runs": run_card.empty_state,
}


def unseen(markup: str) -> str:
    """Without the marks of controls that are spelled out: there may be any number of them."""
    return markup.replace('<i class="ctl">', "").replace("</i>", "")


@EACH
@pytest.mark.parametrize("what", MARKUP)
def test_markup_is_what_it_is_with_a_harmless_text(what: str, payload: str) -> None:
    make = MARKUP[what]
    harmless = make("x" if payload.strip() == payload else " x")
    assert skeleton(unseen(make(payload))) == skeleton(unseen(harmless))


@EACH
def test_an_answer_is_text_and_its_controls_are_spelled_out(payload: str) -> None:
    markup = safe(payload)
    assert {tag for tag, _ in skeleton(markup)} <= {"DOCUMENT_FRAGMENT", "i"}
    spelled = said(markup)
    assert not any(c in spelled for c in "\u202e\u2066\u200f\x1b\x07\x00")
    if payload.isprintable():
        assert spelled == payload


@EACH
def test_plotly_is_given_text_alone(payload: str) -> None:
    for markup in (labels.broken(payload, 30), labels.templated(payload)):
        assert {tag for tag, _ in skeleton(markup)} <= {"DOCUMENT_FRAGMENT", "br"}
    assert "%{" not in labels.templated(payload)


@EACH
def test_a_label_is_read_letter_by_letter(payload: str) -> None:
    if "\n" in payload or not payload.isprintable():
        return
    rendered = MarkdownIt("gfm-like", {"linkify": False}).renderInline(text.label(payload))
    assert {tag for tag, _ in skeleton(rendered)} <= {"DOCUMENT_FRAGMENT"}
    assert said(rendered) == payload


@EACH
def test_a_report_fetches_nothing_and_runs_nothing(payload: str) -> None:
    markup = rendered(f"Of {payload} it says {payload}.")
    assert not {tag for tag, _ in skeleton(markup)} & {"img", "script", "svg", "iframe", "style", "link", "object"}
    assert "javascript:" not in "".join(re.findall(r"<a [^>]*>", markup)).lower()


@EACH
def test_a_terminal_is_given_no_control(payload: str) -> None:
    assert printable(payload).isprintable()


def test_a_usual_name_is_no_longer_for_being_a_label() -> None:
    for name in ("self-harm", "SmolLM2-135M, aligned", "same topics, no harm", "pruned first (0.001 %)"):
        assert text.label(name) == name

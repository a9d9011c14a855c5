"""Panes as HTML: hostile text stays text, the mark stands where answers part, every number is where it belongs."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from harmviz.playground.panes import PaneLabel, legend_markup, panes_markup, safe, status_markup, tokens_markup
from harmviz.worker import PaneView, Snapshot

LABELS = (
    PaneLabel("intact", "Intact", "the model as it is", "intact"),
    PaneLabel("harm", "Pruned", "all types", "mask"),
    PaneLabel("control", "Random control", "drawn at random", "random"),
    PaneLabel("control", "Fourth", "x", "second"),
)


def view(*tokens: str, **changes: Any) -> PaneView:
    facts: dict[str, Any] = dict(
        name="pane",
        n_weights=0,
        strength=1.0,
        mask_digest=None,
        tokens=tokens,
        text="".join(tokens),
        surprise=None,
        first_difference=None,
        divergence=(),
        tokens_per_s=9.9,
        finished="eos",
        perplexity=4.25,
        repetition=0.05,
        refusal=False,
    )
    return PaneView(**(facts | changes))


def snapshot(*panes: PaneView, state: str = "done", **changes: Any) -> Snapshot:
    facts: dict[str, Any] = dict(position=0, stage="", elapsed_s=2.04, template="t", error=None)
    return Snapshot(state=state, panes=panes, **(facts | changes))


def markup(*panes: PaneView, state: str = "done", **options: Any) -> str:
    return panes_markup(snapshot(*panes, state=state), LABELS[: len(panes)], **options)


class _Seen(HTMLParser):
    """What a browser would make of it: elements, their attributes, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = (
    ("<script>alert(1)</script>",),
    ("<", "img src=x one", "rror=alert(1)", ">"),
    ("</sty", "le><style>*{display:none}</style>"),
    ("</div></article>", "<article>"),
    ('"\' onmouseover=\'x\' data-tip="y" style="position:fixed"',),
    ("[link](javascript:x)", " ![i](http://a/b.png) **bold** $x$ `code`"),
    ("&lt;b&gt;", "&#60;b&#62;", "&am", "p;"),
    ("<!--", " comment ", "-->"),
    ("<svg><a href=javascript:1>",),
)


@pytest.mark.parametrize("tokens", HOSTILE, ids=lambda t: t[0][:12])
@pytest.mark.parametrize("state", ["running", "done"])
def test_hostile_text_stays_text(tokens: tuple[str, ...], state: str) -> None:
    surprise = tuple(1.5 for _ in tokens)
    hostile = view(*tokens, surprise=surprise, first_difference=0)
    seen = _Seen(markup(view("fine"), hostile, state=state, opening="".join(tokens)))
    harmless = _Seen(
        markup(
            view("fine"), view(*("x" for _ in tokens), surprise=surprise, first_difference=0), state=state, opening="x"
        )
    )
    assert seen.tags == harmless.tags
    assert seen.attributes == harmless.attributes
    assert seen.text.count("".join(tokens)) >= 1 + (len(tokens) == 1)  # the opening, and the answer itself
    assert "".join(tokens) in seen.text.replace("differs here", "")


def test_labels_are_escaped_too() -> None:
    labels = (PaneLabel("intact", "<b>t</b>", "<i>c</i>", "intact"),)
    assert not {"b", "i"} & set(_Seen(panes_markup(snapshot(view("x")), labels)).tags)


@pytest.mark.parametrize("control", ["\u202e", "\u2066", "\u200f", "\u061c", "\x00", "\x1b", "\x7f"])
def test_controls_that_reorder_or_hide_are_spelled_out(control: str) -> None:
    shown = safe(f"a{control}b")
    assert control not in shown
    assert f"U+{ord(control):04X}" in shown


def test_line_breaks_tabs_and_other_scripts_stay() -> None:
    assert safe("a\n\tb שלום 👩‍🔬 é") == "a\n\tb שלום 👩‍🔬 é"


def test_surprise_colours_by_nats_and_only_after_the_end() -> None:
    pane = view("a", "b", "c", "d", surprise=(0.4, 1.0, 7.99, math.inf))
    shown = tokens_markup(pane, coloured=True)
    assert re.findall(r'<span data-place="\d+"(?: class="(\w+)")?', shown) == ["", "s1", "s7", "s8"]
    assert 'title="0.4 nats"' in shown
    assert "class" not in tokens_markup(pane, coloured=False)
    assert 'class="s7"' not in markup(pane, state="running").split('class="answer"')[1].split("</div>")[0]
    assert 'class="s7"' in markup(pane)


def test_unfinished_characters_write_nothing_and_shift_nothing() -> None:
    pane = view("a", "", "", "🙂", "b", surprise=(0.0, 9.0, 9.0, 3.2, 5.5), first_difference=1)
    shown = tokens_markup(pane, coloured=True)
    assert shown.count("<span") == 3
    assert 'class="s3 first"' in shown  # the mark waits for the first visible token
    assert 'class="s5"' in shown


def test_the_mark_stands_before_the_first_token_that_differs() -> None:
    shown = tokens_markup(view("one", " two", " three", first_difference=1), coloured=False)
    assert shown == (
        '<span data-place="0">one</span> <b class="mark">differs here</b><span data-place="1" class="first">two</span> '
        '<span data-place="2">three</span>'
    )
    assert "mark" not in tokens_markup(view("one"), coloured=False)
    assert tokens_markup(view("one", first_difference=1), coloured=False).endswith('<b class="mark">ends here</b>')


def test_each_pane_states_its_measures() -> None:
    page = markup(
        view("a", "b", surprise=(0.1, 0.2)),
        view(
            "a",
            "c",
            n_weights=5308,
            strength=0.5,
            first_difference=1,
            refusal=True,
            finished="length",
            perplexity=12345.6,
        ),
        view(
            "a",
            "b",
            n_weights=5308,
            strength=0.0,
            finished="stopped",
            perplexity=math.inf,
            refusal=None,
            repetition=None,
        ),
        n_scored=106_168_320,
    )
    intact, pruned, control = (_Seen(p).text for p in page.split("<article")[1:])
    assert "weights changed" in intact
    assert "none" in intact
    assert "reference" in intact
    assert "2, complete" in intact
    assert "4.2" in intact
    assert "5,308 · 0.005 %, down by 50 %" in pruned
    assert "from token 2" in pruned
    assert "12,346" in pruned
    assert "declines (keywords, lower bound)yes" in pruned
    assert "2, cut off" in pruned
    assert "none, strength 0" in control
    assert "nowhere" in control
    assert "beyond measure" in control
    assert "2, stopped" in control
    assert control.count("not measured") == 2
    assert "about half of all refusals" in page
    assert legend_markup() in page


def test_what_is_not_known_yet_is_no_number() -> None:
    page = markup(
        view("a", finished=None, perplexity=None, repetition=None, refusal=None, tokens_per_s=0.0), state="running"
    )
    assert page.count("<dd>…</dd>") == 4
    assert 'class="caret"' in page
    assert "hv-legend" not in page


def test_a_pane_that_only_repeats_itself_is_called_collapsed() -> None:
    intact, stuck = view("a", repetition=0.05), view("m", repetition=0.9, first_difference=0)
    page = markup(intact, stuck)
    assert page.count("collapsed: gibberish is not safety") == 1
    assert "repetition 0.05 → 0.90" in page
    for calm in (
        markup(intact, view("b", repetition=0.3)),  # more than the intact answer, but most of it is new
        markup(view("a", repetition=0.8), stuck),  # the intact model does it as well
        markup(stuck, intact),
        markup(intact, stuck, state="running"),
    ):
        assert "collapsed" not in calm


def test_veil_and_dimming() -> None:
    veiled = markup(view("secret"), view("secret"), veiled=True)
    assert veiled.count('class="answer veiled"') == 2
    assert "secret" not in veiled
    assert "xxxxxx" in veiled
    assert veiled.count('aria-hidden="true"') == 2
    assert "veiled" not in markup(view("secret"))
    assert 'class="hv hv-panes n1 outdated"' in markup(view("x"), outdated=True)
    assert "outdated" not in markup(view("x"))
    assert panes_markup(snapshot(state="queued"), ()) == ""


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        ("queued", {"position": 2}, "2 requests before yours · 2.0 s"),
        ("queued", {"position": 1}, "1 request before yours"),
        ("queued", {}, "next in line"),
        ("loading", {"stage": "<b>loading</b>"}, "&lt;b&gt;loading&lt;/b&gt;"),
        ("running", {}, "reading the prompt"),
        ("measuring", {}, "measuring how surprised the intact model is"),
        ("done", {}, "done · 2.0 s"),
        ("stopped", {"stage": "stopped: nobody looked for 60 s"}, "nobody looked"),
        ("failed", {}, "failed"),
    ],
)
def test_the_status_says_where_the_job_is(state: str, changes: dict[str, Any], words: str) -> None:
    line = status_markup(snapshot(state=state, **changes))
    assert words in line
    assert ("busy" in line) == (state in {"queued", "loading", "running", "measuring"})
    assert "earlier settings" in status_markup(snapshot(state=state, **changes), outdated=True)


def test_writing_is_said_once_there_are_words() -> None:
    assert "writing, all panes in step" in status_markup(snapshot(view("a"), state="running"))

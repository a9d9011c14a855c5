"""The stored answers to mild requests, side by side: read, chosen, and written as HTML. Pure functions.

What a model wrote is untrusted: it is escaped here, letter by letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from harmviz.display.answer_lines import answer_lines
from harmviz.runs import Run
from harmviz.runs.point import SELECTOR_WORDS

#: States of the model with harm weights zeroed; all others but the intact one are controls.
_HARM = {words.state for words in SELECTOR_WORDS.values()}


@dataclass(frozen=True)
class Answer:
    """One stored answer. ``refused`` is None where it is empty; ``harmful``: whether the request asks for harm."""

    mask: str
    attack: str
    harmful: bool
    request: str
    opening: str
    answer: str
    refused: bool | None


def transcripts(run: Run) -> list[Answer]:
    """All stored answers, in the order of the file; none where the experiment kept none.

    Raises:
        RunIncompatible: the file is damaged.
    """
    return answer_lines(run, _answer)


def _answer(row: Any) -> Answer:
    texts = [row[k] for k in ("mask", "attack", "category", "request", "opening", "answer")]
    if not all(isinstance(t, str) for t in texts) or not (row["refused"] is None or isinstance(row["refused"], bool)):
        raise TypeError("a field is not text")
    mask, attack, category, request, opening, answer = texts
    return Answer(mask, attack, category != "benign", request, opening, answer, row["refused"])


def requests(answers: Sequence[Answer]) -> list[str]:
    """The requests that answers were kept of, harmful ones first."""
    return list(dict.fromkeys(a.request for harmful in (True, False) for a in answers if a.harmful is harmful))


def panes(answers: Sequence[Answer], attack: str, request: str, masks: Mapping[str, str]) -> str:
    """The answers to this request under this attack as HTML. ``masks``: mask → how it reads, in order, a pane each."""
    by_mask = {a.mask: a for a in answers if a.attack == attack and a.request == request}
    intact = by_mask.get("intact")
    cards = [_card(by_mask[mask], name, intact) for mask, name in masks.items() if mask in by_mask]
    return f'<div class="hv hv-panes" style="--n: {max(1, len(cards))}">{"".join(cards)}</div>' if cards else ""


def _card(answer: Answer, name: str, intact: Answer | None) -> str:
    kind = "intact" if answer.mask == "intact" else "harm" if answer.mask in _HARM else "control"
    lead = f'<span class="opening">{escape(answer.opening)}</span>' if answer.opening else ""
    words = escape(answer.answer) if answer.answer.strip() else '<span class="quiet">no words</span>'
    declines = "–" if answer.refused is None else "yes" if answer.refused else "no"
    if answer.mask == "intact":
        caption = "reference"
    elif intact is not None and answer.answer != intact.answer:
        caption = "other words than intact"
    else:
        caption = "the same words as intact"
    return (
        f'<article class="hv-pane {kind}">'
        f'<header><h3>{escape(name)}</h3><div class="quiet small">{caption}</div></header>'
        f'<div></div><div class="answer" dir="auto">{lead}{words}</div>'
        f'<dl class="small"><dt>declines (keywords, lower bound)</dt><dd>{declines}</dd></dl></article>'
    )

"""The stored answers to mild requests, side by side: read, chosen, and drawn as text. Pure functions; nothing here draws.

What a model wrote is untrusted: it is escaped here, letter by letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from harmviz.claims.jailbreak.attacks import Attack
from harmviz.claims.jailbreak.facts import CONTROLS, GROUPS, told
from harmviz.display.answer_lines import answer_lines
from harmviz.runs import Run


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


def panes(answers: Sequence[Answer], attack: str, request: str, masks: Sequence[str]) -> str:
    """The answers to this request under this attack, one pane a mask, as HTML."""
    here = {a.mask: a for a in answers if a.attack == attack and a.request == request}
    cards = [
        _card(here[m], differs=m != "intact" and "intact" in here and here[m].answer != here["intact"].answer)
        for m in masks
        if m in here
    ]
    return f'<div class="hv hv-panes" style="--n: {max(1, len(cards))}">{"".join(cards)}</div>' if cards else ""


def _card(found: Answer, *, differs: bool) -> str:
    kind = "intact" if found.mask == "intact" else "control" if found.mask in CONTROLS else "harm"
    lead = f'<span class="opening">{escape(found.opening)}</span>' if found.opening else ""
    said = escape(found.answer) if found.answer.strip() else '<span class="quiet">no words</span>'
    declines = "–" if found.refused is None else "yes" if found.refused else "no"
    caption = (
        "reference" if found.mask == "intact" else "other words than intact" if differs else "the same words as intact"
    )
    return (
        f'<article class="hv-pane {kind}"><header><h3>{escape(GROUPS.get(found.mask, found.mask))}</h3><div class="quiet small">{caption}</div></header>'
        f'<div></div><div class="answer" dir="auto">{lead}{said}</div>'
        f'<dl class="small"><dt>declines (keywords, lower bound)</dt><dd>{declines}</dd></dl></article>'
    )


def asked(run: Run, attack: str, request: str) -> list[tuple[str, str]]:
    """(what it is, its text) of everything that the model was given under this attack; [] where the attack is not told."""
    for record in told(run, "attacks"):
        if record.get("id") == attack:
            try:
                known = Attack(**record)
            except (TypeError, ValueError):
                return []
            parts = [
                ("System message", known.system),
                ("User", known.user_turn(request)),
                ("Beginning of the answer", known.opening),
            ]
            return [(name, said) for name, said in parts if said]
    return []

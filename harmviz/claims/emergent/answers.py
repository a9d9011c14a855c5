"""The stored free answers of *Emergent misalignment*, side by side: read, chosen, and drawn as text. Pure functions;
nothing here draws.

What a model wrote, and what a user's question says, is untrusted: it is escaped here, letter by letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from harmviz.claims.emergent.arms import BASE, arm_name
from harmviz.claims.emergent.stored import role
from harmviz.display.answer_lines import answer_lines
from harmviz.runs import Run

_LOOKS = {"base": "intact", "bad": "harm", "pruned": "harm", "good": "benign", "control": "control"}


@dataclass(frozen=True)
class Answer:
    """One stored answer. ``seed`` is None for the model before tuning; ``why`` says what makes it incoherent, if it is;
    ``harm`` is the judge's verdict, None where there is none, ``unscored`` the reason."""

    arm: str
    seed: int | None
    kind: str
    prompt: str
    answer: str
    why: str | None
    harm: float | None
    unscored: str | None


def transcripts(run: Run) -> list[Answer]:
    """All stored answers, in the order of the file; none where the experiment kept none.

    Raises:
        RunIncompatible: the file is damaged.
    """
    return answer_lines(run, _answer)


def _answer(row: Any) -> Answer:
    texts = [row[k] for k in ("arm", "kind", "prompt", "answer")]
    if not all(isinstance(t, str) for t in texts):
        raise TypeError("a field is not text")
    if not isinstance(row["seed"], int | None) or not isinstance(row["harm"], int | float | None):
        raise TypeError("seed or harm is no number")
    arm, kind, prompt, answer = texts
    why, unscored = (None if row[k] is None else str(row[k]) for k in ("incoherent_because", "unscored"))
    return Answer(arm, row["seed"], kind, prompt, answer, why, row["harm"], unscored)


def questions(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """(kind, prompt) of every question that answers were kept of: first those whose answers are all coherent, then
    those with one that is not, with two, …; among them by kind."""
    fallen = Counter((a.kind, a.prompt) for a in answers if a.why)
    return sorted(dict.fromkeys((a.kind, a.prompt) for a in answers), key=lambda q: (fallen[q], q[0]))


def panes(answers: Sequence[Answer], prompt: str, arms: Sequence[str], seed: int | None) -> str:
    """The answers to this question by these arms, one pane an arm, as HTML."""
    here = {a.arm: a for a in answers if a.prompt == prompt and (a.seed == seed or a.arm == BASE)}
    cards = [_card(here[arm]) for arm in arms if arm in here]
    return f'<div class="hv hv-panes" style="--n: {min(4, len(cards))}">{"".join(cards)}</div>' if cards else ""


def _card(answer: Answer) -> str:
    said = escape(answer.answer) if answer.answer.strip() else '<span class="quiet">no words</span>'
    caption = "intact" if answer.seed is None else f"seed {answer.seed}"
    fallen = f'<div class="fallen small">No coherent text: {escape(answer.why)}</div>' if answer.why else "<div></div>"
    harm = f"{answer.harm:.2f}" if answer.harm is not None else escape(answer.unscored or "–")
    return (
        f'<article class="hv-pane {_LOOKS[role(answer.arm)]}"><header><h3>{escape(arm_name(answer.arm))}</h3><div '
        f'class="quiet small">{caption}</div></header>'
        f'{fallen}<div class="answer" dir="auto">{said}</div><dl class="small"><dt>judged harm, 0 … '
        f"1</dt><dd>{harm}</dd></dl></article>"
    )

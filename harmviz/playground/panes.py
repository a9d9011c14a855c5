"""The answers of a comparison as HTML: one card a pane, token by token, with what was measured under it. Pure
functions.

Every text that a model wrote is hostile until escaped: it may hold tags, quotes, style sheets, or the Unicode controls
that reorder what stands around them. Escaping happens token by token, so that nothing can be put together across
tokens; controls that cannot be seen are spelled out (``U+202E``).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from harmviz.display import text
from harmviz.display.glossary import term
from harmviz.generation.repetition import is_collapsed
from harmviz.worker import PaneView, Snapshot

#: One text alone repeats itself by chance more than the mean of many does, which the limit on the rise was made for: a
#: pane counts as collapsed where, besides, half of its 3-grams are repetitions.
COLLAPSED_SHARE = 0.5
#: Surprise is drawn in steps of one nat up to here; more is drawn like this.
DARKEST = 8
#: Measured on human labels (see ``harmviz.data.refusal_words``), which has no number to import.
DECLINES_HELP = (
    "The opening of the answer is searched for phrases that decline. They miss about half of all "
    "refusals: no is no proof."
)
#: Characters that reorder or hide text around them.
_BIDI = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f"
)


_LETTER = re.compile(r"\S")


@dataclass(frozen=True)
class PaneLabel:
    """How a pane is introduced. ``kind`` gives its colour: ink, vermilion or grey; ``caption`` says what was done;
    ``role`` is its part in the comparison."""

    kind: Literal["intact", "harm", "control"]
    title: str
    caption: str
    role: Literal["intact", "mask", "second", "random"]


def safe(piece: str) -> str:
    """``piece`` as HTML text: escaped for elements and attributes, unseen controls spelled out."""
    return "".join(f'<i class="ctl">U+{ord(c):04X}</i>' if _unseen(c) else escape(c, quote=True) for c in piece)


def _unseen(char: str) -> bool:
    return char in _BIDI or (unicodedata.category(char) == "Cc" and char not in "\n\t")


def tokens_markup(pane: PaneView, *, coloured: bool, veiled: bool = False) -> str:
    """The answer's tokens; with ``coloured`` each on a ground as dark as it surprises the intact model.

    ``veiled``: no letter of the answer, only how long its words are.

    The first token that differs from the intact answer is outlined and marked "differs here"; where the answer ends
    while the intact one goes on, "ends here".
    """
    parts: list[str] = []
    marked = pane.first_difference is None
    for place, written in enumerate(pane.tokens):
        token = _LETTER.sub("x", written) if veiled else written
        if not token:
            continue  # part of a character that a later token completes
        classes, title = [], ""
        if coloured and pane.surprise is not None and place < len(pane.surprise):
            nats = pane.surprise[place]
            level = DARKEST if not math.isfinite(nats) else min(DARKEST, int(nats))
            classes += [f"s{level}"] if level else []
            title = f' title="{nats:.1f} nats"'
        # The blank before a word stays outside: at a line's end it would leave a sliver of ground, or of outline.
        word = token.lstrip() or token
        parts.append(safe(token[: len(token) - len(word)]))
        if not marked and pane.first_difference is not None and place >= pane.first_difference:
            marked = True
            classes.append("first")
            parts.append('<b class="mark">differs here</b>')
        attribute = f' class="{" ".join(classes)}"' if classes else ""
        parts.append(f'<span data-place="{place}"{attribute}{title}>{safe(word)}</span>')
    if not marked:
        parts.append('<b class="mark">ends here</b>')
    return "".join(parts)


def panes_markup(
    snapshot: Snapshot,
    labels: Sequence[PaneLabel],
    *,
    opening: str = "",
    n_scored: int = 0,
    veiled: bool = False,
    outdated: bool = False,
    plain: bool = False,
) -> str:
    """All panes of a snapshot side by side.

    Args:
        labels: one a pane, the intact model first.
        opening: the words put into every answer's mouth; shown quietly before it.
        n_scored: number of scored weights, which the share of changed weights refers to.
        veiled: only the shape of the answers, blurred: no letter of them is in the markup.
        outdated: the settings were changed since: the cards are dimmed.
        plain: the answers alone, without what was measured of each token and of each pane.
    """
    if not snapshot.panes:
        return ""
    ended = snapshot.state in {"done", "stopped", "failed"}
    intact = snapshot.panes[0]
    cards = [
        _card(pane, label, intact, opening=opening, n_scored=n_scored, veiled=veiled, ended=ended, plain=plain)
        for pane, label in zip(snapshot.panes, labels, strict=True)
    ]
    classes = f"hv hv-panes n{len(cards)}" + (" outdated" if outdated else "")
    legend = legend_markup() if ended and not plain and any(p.surprise for p in snapshot.panes) else ""
    return f'<div class="{classes}">{"".join(cards)}</div>{legend}'


def _card(
    pane: PaneView,
    label: PaneLabel,
    intact: PaneView,
    *,
    opening: str,
    n_scored: int,
    veiled: bool,
    ended: bool,
    plain: bool,
) -> str:
    shown = tokens_markup(pane, coloured=ended and not veiled and not plain, veiled=veiled)
    measures = "" if plain else _metrics(pane, label, n_scored, ended=ended)
    lead = f'<span class="opening">{safe(opening)}</span>' if opening else ""
    caret = "" if ended or pane.finished else '<i class="caret"></i>'
    hidden = ' aria-hidden="true"' if veiled else ""
    empty = '<span class="quiet">no words</span>' if ended and not pane.text else ""
    return (
        f'<article class="hv-pane {label.kind}" data-role="{label.role}"><header><h3>{escape(label.title)}</h3>'
        '<div class="quiet '
        f'small">{escape(label.caption)}</div></header><div>{_collapsed(pane, intact, ended=ended)}</div>'
        f'<div class="answer{" veiled" if veiled else ""}" dir="auto"{hidden}>{lead}{shown}{empty}{caret}</div>'
        f"{measures}</article>"
    )


def stuck(this: PaneView) -> bool:
    """Whether half of this answer or more is repetition."""
    return (this.repetition or 0) >= COLLAPSED_SHARE


def stuck_beside(this: PaneView, other: PaneView) -> str | None:
    """Why this answer counts as stuck and the other does not; None where it does not."""
    if other.repetition is None or not stuck(this):
        return None
    return is_collapsed(None, other.repetition, this.repetition)


def _collapsed(pane: PaneView, intact: PaneView, *, ended: bool) -> str:
    """The label of a pane whose text only repeats itself where the intact model's does not."""
    if not ended or pane is intact or (why := stuck_beside(pane, intact)) is None:
        return ""
    return (
        '<div class="fallen small"><b>collapsed: gibberish is not '
        f"safety</b><br>{escape(why.removeprefix('collapsed: '))}</div>"
    )


def _metrics(pane: PaneView, label: PaneLabel, n_scored: int, *, ended: bool) -> str:
    open_ = text.NOT_MEASURED if ended else "…"
    rows = [
        (term("mask", "weights changed"), _weights(pane, n_scored)),
        ("differs from intact", "reference" if label.kind == "intact" else _difference(pane)),
        (term("perplexity"), open_ if pane.perplexity is None else _perplexity(pane.perplexity)),
        (term("repetition"), open_ if pane.repetition is None else f"{pane.repetition:.2f}"),
        (_declines_label(), open_ if pane.refusal is None else "yes" if pane.refusal else "no"),
        ("tokens / s", f"{pane.tokens_per_s:.1f}" if pane.tokens_per_s else open_),
        ("tokens", _length(pane)),
    ]
    measures = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f'<details class="small"><summary>Measures</summary><dl>{measures}</dl></details>'


def _declines_label() -> str:
    tip = escape(DECLINES_HELP, quote=True)
    return f'<span class="hv-term" tabindex="0" data-tip="{tip}">declines (keywords, lower bound)</span>'


def _weights(pane: PaneView, n_scored: int) -> str:
    if not pane.n_weights or not pane.strength:
        return "none" if not pane.n_weights else "none, strength 0"
    share = f" · {text.percent(pane.n_weights / n_scored)}" if n_scored else ""
    turned = "" if pane.strength == 1 else f", down by {round(100 * pane.strength)} %"
    return f"{text.count(pane.n_weights)}{share}{turned}"


def _difference(pane: PaneView) -> str:
    if pane.first_difference is None:
        return "…" if pane.finished is None else "nowhere"
    return f"from token {pane.first_difference + 1}"


def _perplexity(value: float) -> str:
    return "beyond measure" if not math.isfinite(value) else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _length(pane: PaneView) -> str:
    how = {"eos": ", complete", "length": ", cut off", "stopped": ", stopped", None: ""}[pane.finished]
    return f"{len(pane.tokens)}{how}"


def legend_markup() -> str:
    """What the grounds of the tokens mean."""
    steps = "".join(f'<i class="s{n}"></i>' for n in range(DARKEST + 1))
    return (
        f'<div class="hv hv-legend quiet small"><span>{term("surprise")} under the intact model, nats</span>'
        f'<span class="scale">0 <span class="bar">{steps}</span> {DARKEST}+</span>'
        '<span><b class="mark">differs here</b> first token that differs from the intact answer</span></div>'
    )


def status_markup(snapshot: Snapshot, *, outdated: bool = False) -> str:
    """One line on how the ticket stands, and whether its answers belong to settings that were changed since."""
    seconds = f"{snapshot.elapsed_s:.1f} s"
    ahead = f"{snapshot.position} request{'s' if snapshot.position != 1 else ''} before yours"
    if snapshot.expected_s is not None:
        ahead += f", about {text.duration(snapshot.expected_s)} to wait"
    ahead += f" · {snapshot.note}" if snapshot.note else ""
    line = {
        "queued": ahead if snapshot.position else "next in line",
        "loading": f"{snapshot.stage or 'loading the model'}",
        "running": "writing, all panes in step" if any(p.tokens for p in snapshot.panes) else "reading the prompt",
        "measuring": "measuring how surprised the intact model is",
        "done": "done",
        "stopped": snapshot.stage or "stopped",
        "failed": "failed",
    }[snapshot.state]
    stale = ' · <b class="stale">these answers belong to earlier settings</b>' if outdated else ""
    busy = snapshot.state in {"queued", "loading", "running", "measuring"}
    return (
        f'<div class="hv hv-status small"><i class="lamp{" busy" if busy else ""}"></i>{escape(line)} · '
        f"{seconds}{stale}</div>"
    )


#: What is said beside a recording while a live answer is written.
GROWS_BELOW = "the live answer grows below, and replaces it when it is whole"
TAKES_ITS_PLACE = "the live answer takes its place with its first word"


def recorded_markup(made: str, live: str = "") -> str:
    """The status line of recorded panes; ``live``: what becomes of a live answer that is being written."""
    more = f" · {live}" if live else ""
    return (
        f'<div class="hv hv-status small"><span class="hv-tag">recorded</span>'
        f'<span class="quiet">{escape(made)}{more}</span></div>'
    )

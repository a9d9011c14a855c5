"""What both selections cost at equal harm effect, as a table. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from harmviz.claims.mapping.equal_effect import TARGETS, TEXTS, EqualEffect
from harmviz.claims.markdown import number
from harmviz.display import text
from harmviz.display.tables import rows_table

#: Above the table, wherever it stands.
HEADING = "Both selections at equal harm effect"
LEAD = (
    "At one fraction the paper's selection moves all text more. Here both zero as many weights as raise the loss of "
    "harmful answers alike; what does other text pay? From the grid on validation prompts."
)
NONE = (
    f"Not told: the run keeps no losses of single samples, has one selection only, or the two do not both reach "
    f"{text.signed(min(TARGETS), 1)} nats on harmful answers."
)
COLUMNS = ("harm", "harmless answers", "as in the paper", "contrastive", "difference", "at most half")


def lines(found: Iterable[EqualEffect]) -> list[list[str]]:
    """A line a text and effect: nats per response token [95 % over prompts]."""
    return [
        [
            text.signed(e.effect, 1),
            f"{TEXTS[e.text]}, n = {e.n}",
            *(number(cost._asdict(), 3) for cost in (e.paper, e.ours, e.difference)),
            _halved(e),
        ]
        for e in found
    ]


def markup(found: Iterable[EqualEffect]) -> str:
    """The table as HTML, or that there is none."""
    rows = lines(found)
    if not rows:
        return f'<div class="hv hv-note quiet">{escape(NONE)}</div>'
    return rows_table(list(COLUMNS), [[escape(cell) for cell in line] for line in rows], breaks=range(2, len(rows), 2))


def _halved(found: EqualEffect) -> str:
    if found.halved is None:
        missing = found.ours.ci_low is None or found.paper.ci_low is None
        return "no interval" if missing else "paper includes 0"
    return "yes" if found.halved else "no"

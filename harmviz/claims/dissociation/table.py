"""The paper's claim beside what was found, ability by ability, as HTML."""

from __future__ import annotations

from html import escape

from harmviz.claims.dissociation.finding import UNTESTABLE, verdict
from harmviz.claims.dissociation.stored import ABILITIES, SIGNS, Stored
from harmviz.claims.mapping.reported import reads
from harmviz.display import text


def claims(stored: Stored, contrast: str, mask: str) -> str:
    """HTML table: what the paper claims of each ability, and what this experiment stored, whichever way it came out."""
    lines = []
    for a in ABILITIES:
        testable = stored.testable(a.condition, a.tested)
        row = stored.row(contrast, mask, "none", a.condition, a.category, "standardised")
        raw = stored.row(contrast, mask, "none", a.condition, a.category, a.raw)
        beyond = [
            (name, stored.row(contrast, mask, control, a.condition, a.category, _excess(a.raw)))
            for control, name in _BEYOND.items()
        ]
        told = verdict(row, testable)
        outcome = {
            "less": "less of it",
            "more": "more of it",
            "no clear change": "no difference found",
            UNTESTABLE: "not testable on this model",
            text.NOT_MEASURED: text.NOT_MEASURED,
        }[told]
        change = f"{SIGNS[a.raw]}{reads(raw, 3)}" if raw is not None else ""
        against = "".join(f"<br>beyond {name} {reads(r, 3)}" for name, r in beyond if r is not None)
        lines.append(
            f"<tr class='break'>{_cell(a.label)}{_cell(a.paper)}{_cell(outcome)}"
            f"<td style='text-align: left; vertical-align: top' class='small'>{escape(change)}<span "
            f"class='quiet'>{against}</span></td></tr>"
        )
    head = "".join(
        f"<th {_LEFT}>{escape(h)}</th>"
        for h in ("Without its harm weights it …", "The paper", "Found here", "Change (95 % interval, n)")
    )
    return f"<div class='hv hv-scroll'><table class='hv-rows'><tr>{head}</tr>{''.join(lines)}</table></div>"


#: The tables of the style sheet hold numbers, aligned right; this one holds sentences.
_LEFT = (
    "style='text-align: left; white-space: normal; vertical-align: top; padding-top: .45rem; padding-bottom: .45rem'"
)
_BEYOND = {"random": "random", "benign_signed": "benign-signed"}


def _cell(words: str) -> str:
    return f"<td {_LEFT}>{escape(words)}</td>"


def _excess(raw: str) -> str:
    return "excess_over_control" if raw == "delta_nll" else raw.replace("delta_", "excess_")

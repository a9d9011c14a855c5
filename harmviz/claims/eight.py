"""The table of the paper's eight claims over several runs: what each says of them, and the verdict by its rule.

Composed of what the claim packages say of single runs (``claims.objection``); a claim that no run speaks to stands
there as *not measured*. Where several runs speak to one claim, all are shown: the main job first, and of each
package the start model before others, in the order in which they were made. No torch, no Streamlit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from harmviz.claims import CLAIMS, claim_of
from harmviz.claims.markdown import table
from harmviz.claims.objection import NOT_MEASURED, PAPER, Objection
from harmviz.display.glossary import explained
from harmviz.display.tables import table_markup
from harmviz.models.assets import EMBEDDED
from harmviz.paths import shipped_runs_root
from harmviz.runs import Run, list_runs, shipped_runs

_HEAD = ("measured on", "found here", "the control that answers the objection", "verdict")


@dataclass(frozen=True)
class Answer:
    """What one run answers to one claim. ``of``: model, claim package and selection, as a reader is told."""

    run_id: str
    of: str
    objection: Objection


@dataclass(frozen=True)
class Line:
    """One of the eight claims with everything that the runs answer to it; no answers: not measured."""

    paper: str
    statement: str
    answers: tuple[Answer, ...]

    @property
    def objections(self) -> list[str]:
        """The objections, each once."""
        return list(dict.fromkeys(answer.objection.objection for answer in self.answers))

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        answers = [{"run_id": a.run_id, "of": a.of, **a.objection.as_dict()} for a in self.answers]
        return {"paper": self.paper, "statement": self.statement, "answers": answers}


def committed_runs() -> list[Run]:
    """The runs that are kept in git, of claims known here, in the order of the table."""
    runs = [run for run in list_runs(shipped_runs_root()) if run.id in shipped_runs() and claim_of(run) is not None]
    return sorted(runs, key=place)


def place(run: Run) -> tuple[int, bool, str]:
    """Where a run stands among others: by its claim's place in menus, the start model first, then as they were made."""
    claim = claim_of(run)
    return (len(CLAIMS) if claim is None else claim.order, run.model_name != EMBEDDED, run.created)


def lines(runs: Iterable[Run]) -> list[Line]:
    """The eight claims in order, with what these runs answer.

    Raises:
        HarmvizError: a run's rows are missing or damaged.
    """
    answers: dict[str, list[Answer]] = {paper: [] for paper in PAPER}
    for run in runs:
        claim = claim_of(run)
        if claim is None or not claim.has_face("objections"):
            continue
        for objection in claim.face("objections").objections(run):
            parts = (run.model_name, claim.title.lower(), objection.about)
            answers[objection.paper].append(Answer(run.id, ", ".join(filter(None, parts)), objection))
    return [Line(paper, statement, tuple(answers[paper])) for paper, statement in PAPER.items()]


def markdown(told: Sequence[Line]) -> str:
    """The table: a row a claim with its strongest objection, and below it a row for each run and selection."""
    rows = []
    for line in told:
        asked = f" *{' '.join(line.objections)}*" if line.objections else ""
        rows.append(
            [f"**{line.paper}** {line.statement}{asked}", "", "", "" if line.answers else f"**{NOT_MEASURED}**"]
        )
        for answer in line.answers:
            o = answer.objection
            rows.append([answer.of, o.found, o.control, f"**{o.verdict}**"])
    return table((f"claim, *objection*, {_HEAD[0]}", *_HEAD[1:]), rows)


def markup(told: Sequence[Line]) -> str:
    """The same as HTML, a row an answer below a heading a claim; every text is escaped."""
    rows = []
    for line in told:
        objections = " ".join(explained(objection) for objection in line.objections)
        asked = f'<div class="quiet">Objection: {objections}</div>' if objections else ""
        claim = f"<b>{escape(line.paper)}</b> {explained(line.statement)}{asked}"
        rows.append(f'<tr class="break"><td colspan="4">{claim}</td></tr>')
        if not line.answers:
            rows.append(f'<tr><td colspan="3"></td><td class="value">{NOT_MEASURED}</td></tr>')
        for answer in line.answers:
            o = answer.objection
            cells = (escape(answer.of), escape(o.found), escape(o.control))
            rows.append(
                f'<tr>{"".join(f"<td>{cell}</td>" for cell in cells)}<td class="value">{escape(o.verdict)}</td></tr>'
            )
    head = "".join(f"<th>{h}</th>" for h in _HEAD)
    return f'<div class="hv-claims">{table_markup(head, "".join(rows))}</div>'

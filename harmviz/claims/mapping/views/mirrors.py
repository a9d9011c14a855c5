"""The mirrors of a mask beside it, as pages show them: a table, and whether harm stands out. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd

from harmviz.claims.mapping.headline import Headline, chosen_headline
from harmviz.claims.mapping.mirrored import NO_MIRROR, TEXTS, Mirror, harm_row, mirrors_of
from harmviz.claims.mapping.reported import reads
from harmviz.display.glossary import explained
from harmviz.display.tables import rows_table
from harmviz.runs import Run

#: Above the table, wherever it stands.
HEADING = "The same selection turned round"
LEAD = (
    "Would any contrast do? The same selection, made for safe or for harmless text in place of harm. Harm stands out "
    "where these move harmful answers less, and are less specific to their own text."
)
_HEAD = ["selected for", "ΔL on harmful answers", "ΔL on its own text", "own text minus the other"]


def note() -> str:
    """That the run has no mirror, as HTML."""
    return f'<div class="hv hv-note quiet">{escape(NO_MIRROR)}</div>'


def markup(results: pd.DataFrame, mask: Headline | None) -> str:
    """This mask beside its mirrors as HTML; that there are none, where the run measured none."""
    mirrors = [] if mask is None else mirrors_of(results, mask)
    if mask is None or not mirrors:
        return note()
    return rows_table(_HEAD, _lines(mask, mirrors), breaks=range(2, 2 * len(mirrors), 2))


def _lines(mask: Headline, mirrors: Sequence[Mirror]) -> list[list[str]]:
    """Two lines a mirror: harm against its text, and its text against harm."""
    harm = harm_row(mask)
    lines = []
    for mirror in mirrors:
        of_text = TEXTS[mirror.text]
        ours = (f"harm, against {of_text}", reads(harm, 3), reads(harm, 3), reads(mirror.against, 3))
        theirs = (f"{of_text}, against harm", reads(mirror.harm, 3), reads(mirror.own, 3), reads(mirror.turned, 3))
        lines += [[explained(ours[0]), *map(escape, ours[1:])], [explained(theirs[0]), *map(escape, theirs[1:])]]
    return lines


def of_runs(names: Sequence[str], runs: Sequence[Run], results: Sequence[pd.DataFrame], contrast: str) -> str:
    """The same for several runs, each at its own chosen point of this selection; which run has none is said."""
    body: list[list[str]] = []
    breaks, without = [], []
    for name, run, rows in zip(names, runs, results, strict=True):
        mask = chosen_headline(run, rows, contrast)
        mirrors = [] if mask is None else mirrors_of(rows, mask)
        if mask is None or not mirrors:
            without.append(name)
            continue
        breaks.append(len(body))
        body += [[escape(name), *line] for line in _lines(mask, mirrors)]
    if not body:
        return note()
    left_out = f'<div class="hv quiet small">No mirror was measured in: {escape(", ".join(without))}.</div>'
    return rows_table(["run", *_HEAD], body, breaks=breaks[1:]) + (left_out if without else "")


def standing(runs: Sequence[Run], results: Sequence[pd.DataFrame], contrast: str) -> str:
    """``Harm stands out from its mirrors in 1 of 2 runs``: a title, over the runs whose mirrors were measured.

    It stands out where no mirror does as much (``Mirror.does_as_much``). Empty where no run has mirrors.
    """
    told: list[bool] = []
    for run, rows in zip(runs, results, strict=True):
        mask = chosen_headline(run, rows, contrast)
        mirrors = [] if mask is None else mirrors_of(rows, mask)
        if mask is not None and mirrors:
            told.append(not any(mirror.does_as_much(harm_row(mask)) for mirror in mirrors))
    if not told:
        return ""
    unknown = "" if len(told) == len(runs) else f" ({len(runs) - len(told)} without mirrors)"
    if not any(told):
        return f"Harm does not stand out from its mirrors in any of {len(told)} runs{unknown}"
    return f"Harm stands out from its mirrors in {sum(told)} of {len(told)} runs{unknown}"

"""The tables of a report: those that the run's claim makes for the documentation, those behind pictures, all rows."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from harmviz.claims import claim_of
from harmviz.claims.markdown import number, share
from harmviz.display.picture import Picture
from harmviz.runs import Run
from harmviz.tuning.stored import Ladder, is_ladder

#: Raw HTML in what is rendered is shown as text: names of models and data come from files.
#: No image: a name out of an imported run would make the reader's browser fetch it.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def rendered(markdown: str) -> str:
    """Markdown as HTML; wide tables scroll by themselves."""
    html = str(_MARKDOWN.render(markdown))
    return html.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def tables(run: Run) -> str:
    """The claim's tables (of a ladder its measurements), and all rows of the run to save."""
    parts = [_of_ladder(Ladder(run))] if is_ladder(run) else []
    claim = claim_of(run)
    if claim is not None and claim.has_face("document"):
        parts += [rendered(write(run)) for write in claim.face("document").PARTS.values()]
    rows = run.results()
    if not rows.empty:
        csv = base64.b64encode(rows.to_csv(index=False).encode()).decode()
        parts.append(
            f'<p><a download="{escape(run.id)}.csv" href="data:text/csv;base64,{csv}">All {len(rows):,} measured '
            "numbers of this run (CSV)</a>: each with its unit, n, interval, control, and the mask that it is of.</p>"
        )
    return "".join(parts)


def of_picture(picture: Picture) -> str:
    """The numbers behind a picture."""
    columns = [str(c) for c in picture.table.columns]
    return html_table(columns, picture.table.itertuples(index=False))


def html_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of plain cells."""
    head = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(_cell(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, float) and not pd.isna(value):
        return f"{value:.4g}"
    if isinstance(value, str | bool | int):
        return str(value)
    return "" if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)) else str(value)


def _of_ladder(ladder: Ladder) -> str:
    """Checkpoints × measures, every number with its interval and n."""
    points = {"start": ladder.start["numbers"], **{c["name"]: c["numbers"] for c in ladder.checkpoints}}
    metrics = list(dict.fromkeys(metric for measured in points.values() for metric in measured))
    lines = [[name, *(_measured(measured.get(metric)) for metric in metrics)] for name, measured in points.items()]
    return html_table(["checkpoint", *metrics], lines)


def _measured(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    return share(entry, n=True) if entry["unit"] == "share" else number(entry, n=True)

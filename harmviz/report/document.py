"""The whole document: its parts in order, one style, plotly once, and what draws the pictures.

The file loads nothing: its policy (``Content-Security-Policy``) forbids every connection, and the pictures are drawn by
the copy of plotly in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from plotly.io import to_json
from plotly.offline import get_plotlyjs

from harmviz.claims import claim_of
from harmviz.claims.pictures import pictures_of
from harmviz.display import text
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.errors import HarmvizError, RunIncompatible
from harmviz.files import write_atomic
from harmviz.paths import PACKAGE
from harmviz.report import facts, numbers
from harmviz.runs import Run

_STYLE = PACKAGE / "report" / "report.css"
#: Plotly compiles code for some traces, and saves a picture through a blob.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
_DRAW = """for (const [id, figure] of Object.entries(JSON.parse(document.getElementById("figures").textContent))) {
  Plotly.newPlot(id, figure.data, figure.layout, {displaylogo: false, responsive: true});
}"""


def report(run: Run) -> str:
    """The report of this run, as HTML.

    Raises:
        HarmvizError: a file of the run cannot be read, or the run says of itself what its claim cannot read.
    """
    try:
        return _document(run)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        if isinstance(e, HarmvizError):
            raise
        # A run from elsewhere, or of an older version, may lack what a rule or a picture is made of.
        raise RunIncompatible(
            f"run {run.id} cannot be reported ({type(e).__name__}: {e}); it lacks what its claim reads: make it again"
        ) from e


def _document(run: Run) -> str:
    claim, pictures = claim_of(run), pictures_of(run, Theme())
    title = f"{'Ladder of checkpoints' if claim is None else claim.title}: {run.model_name}"
    sections = {
        "Pictures": "".join(map(_figure, pictures.values())),
        "Tables": numbers.tables(run),
        "Method": facts.method(),
        "Controls": facts.controls(run),
        "What it does not show": facts.limits(run),
        "What was run": facts.provenance(run),
        "Look again": facts.snippet(run, list(pictures)),
        "Cite": facts.citation(run),
        "Manifest": facts.manifest(run),
    }
    body = "".join(f"<section><h2>{name}</h2>{part}</section>" for name, part in sections.items() if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><header><h1>{escape(title)}</h1>{_lead(run)}</header><main>{body}</main>"
        f"{_drawing(pictures.values())}</body></html>\n"
    )


def _lead(run: Run) -> str:
    """What the run asks, what it found, and which run it is."""
    claim = claim_of(run)
    lines = []
    if claim is not None:
        number = f" (claim {escape(claim.paper)})" if claim.is_of_the_paper else ""
        lines.append(f"<p>{escape(claim.question)}{number}</p>")
    if claim is not None:
        finding = claim.face("finding").finding(run)
        lines.append(f'<p class="finding">{escape(finding.sentence)}</p>')
    tags = "".join(f" [{escape(tag)}]" for tag in run.tags)
    lines.append(f"<p><code>{escape(run.id)}</code>{tags}, {escape(text.date(run.created))}</p>")
    return "".join(lines)


def _figure(picture: Picture) -> str:
    """The place of one picture, how it is read, and the numbers behind it."""
    caption = f"<b>How to read it.</b> {escape(picture.words.reading)}"
    height = int(picture.figure.layout.height or 450)
    return (
        f'<figure><div id="{escape(picture.key)}" class="plot" role="img" style="height:{height}px" '
        f'aria-label="{escape(picture.words.alt)}"></div><figcaption>{caption}</figcaption></figure>'
        f"<details><summary>Numbers</summary>{numbers.of_picture(picture)}</details>"
    )


def _drawing(pictures: Iterable[Picture]) -> str:
    """Plotly, the figures' JSON and the line that draws them; nothing where there is no picture."""
    drawn = ",".join(f'"{picture.key}":{to_json(picture.figure, validate=False)}' for picture in pictures)
    if not drawn:
        return ""
    # In JSON ``<`` stands inside texts alone, where its escape means the same and cannot end the script.
    figures = "{" + drawn.replace("<", "\\u003c") + "}"
    return (
        f'<script type="application/json" id="figures">{figures}</script><script>{_plotly()}</script>'
        f"<script>{_DRAW}</script>"
    )


def _plotly() -> str:
    """plotly.js with the control characters in its texts escaped, which HTML does not allow."""
    return re.sub(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]", lambda m: f"\\x{ord(m.group()):02x}", get_plotlyjs())


def write_report(run: Run, target: Path) -> Path:
    """Writes the report of this run, whole or not at all; where it is.

    Raises:
        HarmvizError: the run cannot be read, or the file not be written. OutOfMemory: the disk is full.
    """
    if target.is_dir():
        raise HarmvizError(f"--out {target} is a folder; give a file name such as {target / 'report.html'}")
    content = report(run).encode()
    try:
        write_atomic(target, content)
    except OSError as e:
        raise HarmvizError(f"the report cannot be written to {target} ({e.strerror}); choose another --out") from e
    return target

"""What stands around a report's numbers: method, controls, limits, what was run, how to look again and to cite."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import harmviz
from harmviz.claims import claim_of
from harmviz.claims.markdown import provenance as told
from harmviz.claims.pictures import limits_of
from harmviz.display.glossary import TERMS
from harmviz.paths import PACKAGE
from harmviz.report.numbers import html_table, rendered
from harmviz.runs import Run, result_digest

_PAPER = "https://arxiv.org/abs/2604.09544"
_LIMITS = (
    "It is about this model, these data and these settings: another model may show something else.",
    "A harmful text that became less likely is no proof of safety, and a broken model is not a safe one.",
    "Intervals hold for the masks as selected: they cover the choice of prompts to measure on, not of those to score.",
)
_KEYWORDS = "Refusals counted by keywords are a lower bound: about half of those that people see are missed."


def method() -> str:
    """How weights are scored, selected, pruned and measured: the beginning of the documentation's method."""
    path = PACKAGE.parent / "docs" / "method.md"
    if not path.is_file():
        return f"<p>{escape(str(harmviz.__doc__ or '').strip().splitlines()[0])}</p>"
    _, _, after = path.read_text(encoding="utf-8").partition("\n")
    return rendered(after.partition("\n## ")[0])


def controls(run: Run) -> str:
    """Each control that the run measured, and which objection it answers."""
    results = run.results()
    names = [str(name) for name in results["control"].dropna().unique() if name != "none"]
    if not names:
        return ""
    lines = []
    for name in names:
        words = name.replace("_", "-")
        means = next((TERMS[t] for t in (words, f"{words} control", f"{words}-matched") if t in TERMS), "")
        lines.append((words, means, f"{int((results['control'] == name).sum()):,}"))
    return html_table(("control", "what it is", "numbers measured"), lines)


def limits(run: Run) -> str:
    """What a reader must not take from it: what its claim says, what holds of any, what was left out."""
    lines = [*limits_of(run), *_LIMITS]
    if run.results()["metric"].dropna().astype(str).str.startswith("refusal").any():
        lines.append(_KEYWORDS)
    if run.quick:
        lines.append("This is a quick run, a first look: fewer prompts, grid points and draws than a full one.")
    lines += [f"{n:,} rows of {name} were left out: {why}." for name, why, n in run.dropped]
    lines += [f"{name} is left out: {why}." for name, why in run.manifest["data"]["left_out"].items()]
    lines += [str(note) for note in run.manifest["data"].get("notes", [])]
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def provenance(run: Run) -> str:
    """Model, data, settings, software and machine."""
    model, data = run.manifest["model"], run.manifest["data"]
    lines: list[tuple[str, Any]] = [
        ("model", f"{model['name']}{'@' + str(model['revision']) if model.get('revision') else ''}, {model['dtype']}"),
        ("weights (sha256)", model["weight_hash"]),
        ("parameters", f"{model['n_parameters']:,}, of them {model['n_scored_weights']:,} scored"),
        ("data", f"{data['id']} (sha256 {data.get('hash') or data.get('sha256') or 'not stored'})"),
        *((f"setting: {name}", _plain(value)) for name, value in run.manifest["parameters"].items()),
        *((f"seed: {name}", value) for name, value in run.manifest["seeds"].items()),
        *((name, value) for name, value in run.manifest["software"].items()),
        *((name, _plain(value)) for name, value in run.manifest["hardware"].items()),
    ]
    return rendered(told(run)) + html_table(("what", "value"), lines)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def snippet(run: Run, pictures: Sequence[str]) -> str:
    """Python that takes the run up again in a notebook."""
    code = f"from harmviz import open_run\n\nrun = open_run({run.id!r})\n"
    code += "run.results()  # every measured number, a row each\n"
    if pictures:
        code += (
            "\nfrom harmviz.claims.pictures import pictures_of\n\n"
            f"pictures = pictures_of(run)  # {', '.join(pictures[:3])}{' …' if len(pictures) > 3 else ''}\n"
            f"pictures[{pictures[0]!r}].figure\n"
        )
    where = f"With the run's folder or archive (<code>python -m harmviz runs export {escape(run.id)}</code>):"
    return f'<p>{where}</p><pre><code class="language-python">{escape(code)}</code></pre>'


def citation(run: Run) -> str:
    """This result, and the paper whose claim it looks at."""
    claim = claim_of(run)
    about = "a ladder of checkpoints" if claim is None else claim.title
    year, digest = run.created[:4], result_digest(run)
    entry = (
        f"@misc{{{run.id},\n  title = {{harmviz {harmviz.__version__}: {about} of {run.model_name}}},\n"
        f"  year  = {{{year}}},\n  note  = {{run {run.id}, results sha256 {digest}}}\n}}"
    )
    return (
        f"<pre><code>{escape(entry)}</code></pre><p>Its claims are those of Orgad, Wei, Zheng, Wattenberg, Henderson, "
        f'Goldfarb-Tarrant, Belinkov 2026, <a href="{_PAPER}">arXiv:2604.09544</a>.</p>'
    )


def manifest(run: Run) -> str:
    """The run's manifest, whole but for the names and shapes of its matrices."""
    shown = {**run.manifest, "weights": f"{len(run.table)} matrices"}
    content = "\n".join(
        textwrap.shorten(line, 400, placeholder=" …") if len(line) > 400 else line
        for line in json.dumps(shown, indent=1, ensure_ascii=False).splitlines()
    )
    return f"<details><summary>Everything that determines the result</summary><pre>{escape(content)}</pre></details>"

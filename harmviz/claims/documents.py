"""The parts of README and ``docs/`` that stored runs write: tables and sentences between two marks.

    <!-- harmviz: RUN PART -->
    anything that stood here is replaced
    <!-- end -->

``RUN``: the id of a committed run, or an unambiguous beginning of it. ``PART``: ``finding`` (the verdict's sentence),
``provenance`` (what the run is and how long it took), or a part of the run's claim (``PARTS`` in its ``document.py``).
In place of a run stand ``runs`` (all committed ones), ``ladders`` and ``judges``. No torch, no Streamlit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harmviz.claims import claim_of
from harmviz.claims.markdown import provenance
from harmviz.claims.summaries import claims_table, findings, judge_quality, ladder_refusals
from harmviz.errors import DataInvalid
from harmviz.files import write_atomic
from harmviz.paths import PACKAGE, shipped_runs_root
from harmviz.runs import Run, list_runs

Part = Callable[[], str]
_BLOCK = re.compile(r"<!-- harmviz: (?P<run>\S+) (?P<part>\S+) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)


def documents() -> list[Path]:
    """The files that may hold such parts."""
    root = PACKAGE.parent
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def rewritten(document: str, run_named: Callable[[str], Run], where: str) -> str:
    """The document with every part made anew.

    Raises:
        DataInvalid: a part that the run's claim does not have; the message names it and those there are.
        HarmvizError: as ``run_named``.
    """

    def part(match: re.Match[str]) -> str:
        source, name = match["run"], match["part"]
        parts = COMMON[source] if source in COMMON else parts_of(run_named(source))
        if name not in parts:
            raise DataInvalid(f"{where}: {source} has no part {name!r}; it has {', '.join(parts)}")
        return f"<!-- harmviz: {source} {name} -->\n{parts[name]().strip()}\n<!-- end -->"

    return _BLOCK.sub(part, document)


def parts_of(run: Run) -> dict[str, Part]:
    """What can be written of this run, by name."""
    claim = claim_of(run)
    own = {} if claim is None else claim.face("document").PARTS
    parts: dict[str, Part] = {name: partial(write, run) for name, write in own.items()}
    if claim is not None:
        parts["finding"] = lambda: str(claim.face("finding").finding(run).sentence)
    return {"provenance": lambda: provenance(run), **parts}


#: Sources that are no single run → their parts.
COMMON: dict[str, dict[str, Part]] = {
    "runs": {"findings": findings, "claims": claims_table},
    "ladders": {"refusals": ladder_refusals},
    "judges": {"quality": judge_quality},
}


def committed(name: str) -> Run:
    """The committed run of this id, or of this beginning of one.

    Raises:
        DataInvalid: there is none, or there are several.
    """
    runs = [run for run in list_runs(shipped_runs_root()) if run.id.startswith(name)]
    if len(runs) != 1:
        raise DataInvalid(f"{len(runs)} committed runs are named {name!r}; give more of the id of one")
    return runs[0]


def write_documents(*, check: bool = False) -> list[Path]:
    """The files whose parts were not what the committed runs say; they are written anew, unless only checked.

    Raises:
        DataInvalid: a mark names no committed run, or no part of it.
        HarmvizError: a file cannot be written.
    """
    changed = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        new = rewritten(text, committed, path.name)
        if new != text:
            changed.append(path)
            if not check:
                write_atomic(path, new.encode())
    return changed

"""What the commands share: JSON on stdout, tables for people, progress on stderr."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harmviz.claims.claim import Finding
from harmviz.commands.terminal import shown, speaks_unicode, tell, width
from harmviz.errors import HarmvizError
from harmviz.files import printable
from harmviz.runs import Run, frame_to_records


def say(line: str) -> None:
    """One line of what is going on, on stderr (stdout may be a JSON document)."""
    tell(line)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    text = json.dumps(document, ensure_ascii=not speaks_unicode(), indent=2, allow_nan=False)
    print(text.encode(errors="backslashreplace").decode())  # half a surrogate pair is no text, but an escape in JSON


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns, as wide as their widest entry; one below the other where the terminal is too narrow."""
    table = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    columns = width()
    if columns is not None and sum(widths) + 2 * len(widths) - 2 > columns:
        for row in table[1:]:
            print("\n".join(filter(None, (_line(*cell) for cell in zip(table[0], row, strict=True)))))
        return
    for row in table:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _line(name: str, cell: str) -> str:
    """One cell of a row that is written downwards."""
    return f"{name}: {cell}" if name and cell else cell


def print_header(run: Run, finding: Finding | None) -> None:
    """Which run, which model, which data, and what it found."""
    model = run.manifest["model"]
    tags = "".join(f" [{tag}]" for tag in run.tags)
    print(f"{run.id}{tags}\n{printable(model['name'])}, {model['dtype']}; data {printable(run.manifest['data']['id'])}")
    if finding is not None:
        print(finding.sentence)


def left_out(run: Run) -> list[dict[str, Any]]:
    """The rows a run left out of its data, as JSON."""
    return [{"set": name, "reason": reason, "rows": n} for name, reason, n in run.dropped]


def runs_folder(out: str | None) -> Path | None:
    """Where ``--out`` says that runs go; None: the cache's.

    Raises:
        HarmvizError: it is a file.
    """
    root = Path(out).expanduser() if out else None
    if root is not None and root.exists() and not root.is_dir():
        raise HarmvizError(f"--out {root} is a file; give a folder for runs")
    return root


def print_made(run: Run, finding: Finding, print_result: Callable[[Run], None], *, as_json: bool, **facts: Any) -> None:
    """How ``experiment`` ends: one document with all rows, or the path, the finding and the claim's tables.

    ``facts``: what else the claim's document says of the run.
    """
    if as_json:
        rows = frame_to_records(run.results())
        print_json({"run_id": run.id, "path": str(run.path), **facts, "finding": finding.as_dict(), "rows": rows})
        return
    print(run.path)
    print(finding.sentence)
    print_result(run)


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """``0.301``; "not measured" for None and NaN."""
    if value is None or math.isnan(value):
        return "not measured"
    return f"{value:{'+' if sign else ''}.{digits}f}"


def estimate(row: dict[str, Any], *, sign: bool = True) -> str:
    """``+0.301 [+0.250, +0.352] n=84``"""
    text = number(row["value"], sign=sign)
    if row.get("ci_low") is not None and not math.isnan(row["ci_low"]):
        text += f" [{number(row['ci_low'], sign=sign)}, {number(row['ci_high'], sign=sign)}]"
    return text + (f" n={int(row['n'])}" if row.get("n") is not None and not math.isnan(row["n"]) else "")


def duration(seconds: float) -> str:
    """``4 min 30 s``"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def progress_printer(every: float = 5.0) -> Callable[[dict[str, Any]], None]:
    """A listener for ``Progress``: one line per stage, and again every few seconds within a stage."""
    last: dict[str, Any] = {"stage": "", "at": 0.0}

    def show(state: dict[str, Any]) -> None:
        now = time.monotonic()
        if state["stage"] == last["stage"] and now - last["at"] < every:
            return
        last.update(stage=state["stage"], at=now)
        inside = f" {state['done']}/{state['total']}" if state["total"] else ""
        eta = "" if state["eta_s"] is None else f", about {duration(state['eta_s'])} left"
        say(f"[{state['fraction']:4.0%}] {state['stage']}{inside} ({duration(state['elapsed_s'])}{eta})")

    return show

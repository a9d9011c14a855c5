"""Stored rows as Markdown: what the generated parts of ``docs/`` are made of. No torch, no Streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from harmviz.display import text
from harmviz.runs import Run

NOTHING = ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [list(header), ["---"] * len(header), *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def pick(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """The rows whose columns have these values; None stands for null."""
    keep = pd.Series(True, index=frame.index)
    for name, value in columns.items():
        keep &= frame[name].isna() if value is None else (frame[name] == value).fillna(False).astype(bool)
    return frame[keep]


def one(frame: pd.DataFrame, **columns: Any) -> Mapping[str, Any] | None:
    """The one row with these values, or None where there is none.

    Raises:
        ValueError: there are several.
    """
    rows = pick(frame, **columns)
    if len(rows) > 1:
        raise ValueError(f"{len(rows)} rows have {columns}")
    return None if rows.empty else {str(k): v for k, v in rows.iloc[0].items()}


def number(row: Mapping[str, Any] | None, digits: int = 2, *, sign: bool = True, n: bool = False) -> str:
    """``+0.35 [0.31, 0.39]``, with ``, n = 82`` where asked for; nothing for no row; "not measured" for no value."""
    if row is None:
        return NOTHING
    if pd.isna(row["value"]):
        return text.NOT_MEASURED

    def written(value: float) -> str:
        return (text.signed(value, digits) if sign else f"{value:.{digits}f}").replace("-", "−")

    ends = "" if pd.isna(row["ci_low"]) else f" [{written(row['ci_low'])}, {written(row['ci_high'])}]"
    return written(row["value"]) + ends + (f", n = {int(row['n'])}" if n else "")


def share(row: Mapping[str, Any] | None, *, n: bool = False, sign: bool = False) -> str:
    """``56 % [44, 68]``; a difference of shares with its sign, in points."""
    if row is None:
        return NOTHING
    if pd.isna(row["value"]):
        return text.NOT_MEASURED

    def written(value: float) -> str:
        return text.signed(100 * value, 0) if sign else f"{100 * value:.0f}".replace("-", "−")

    ends = "" if pd.isna(row["ci_low"]) else f" [{written(row['ci_low'])}, {written(row['ci_high'])}]"
    unit = "" if sign else " %"
    return written(row["value"]) + unit + ends + (f", n = {int(row['n'])}" if n else "")


def provenance(run: Run) -> str:
    """What the run is called, on what it rests, and how long it took."""
    model, data = run.manifest["model"], run.manifest["data"]
    seconds = sum(run.manifest["timings"].values())
    parents = ", ".join(f"`{p}`" for p in run.manifest["parents"])
    return (
        f"Run `{run.id}`: {model['name']} ({text.count(model['n_scored_weights'])} scored weights), data "
        f"`{data['id']}`, {text.duration(seconds)} of computing"
        + (f"; computed from {parents}" if parents else "")
        + f". Read it with `python -m harmviz show {run.id}`."
    )

"""The tables of the page *Compression*: tested differences, how aligned each checkpoint is, intact losses. Markup, from stored rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

import pandas as pd

from harmviz.claims.compression.finding import Compression, number, p_value
from harmviz.display import text
from harmviz.display.tables import rows_table

#: Behaviour columns: metric → heading.
BEHAVIOUR = {
    "refusal/harmful": "refuses: harmful",
    "refusal/opener": "under opener",
    "refusal/borderline": "borderline",
    "refusal/benign": "benign",
    "loss/written": "benign loss",
}


def tests_table(found: Compression, metric: str) -> str:
    """Every tested difference with interval, p-values, and in how many splits it lies above 0. The tests are those of the
    separability as chosen; with ``metric`` cross-fitted the numbers beside them are the cross-fitted ones."""
    body, breaks, last = [], set(), ""
    for i, d in enumerate(found.differences()):
        if d.kind != last and i:
            breaks.add(i)
        last, row = d.kind, d.found if metric == "separability" else d.crossfit
        body.append(
            [
                escape(f"{d.a} − {d.b}"),
                f'<span class="value">{_value(row)}</span>',
                _interval(row),
                p_value(d.p),
                p_value(d.p_holm),
                f"{d.above} of {d.n_splits}",
                d.said,
            ]
        )
    kind = "difference in separability" if metric == "separability" else "difference, cross-fitted"
    return rows_table(
        [kind, "nats", "95 % interval", "p-value", "corrected", "splits above 0", "verdict"], body, breaks
    )


def _value(row: pd.Series | None) -> str:
    return text.signed(None if row is None or pd.isna(row["value"]) else float(row["value"]), 3)


def _interval(row: pd.Series | None) -> str:
    return "no interval" if row is None else text.interval(number(row, "ci_low"), number(row, "ci_high"), 3)


def behaviour_table(found: Compression) -> str:
    """How aligned every checkpoint is and what that cost, as its ladder was measured; empty where none was."""
    metrics = [m for m in BEHAVIOUR if any(not math.isnan(found.value(m, n, selected=False)) for n in found.names)]
    body = [[escape(name), *(_behaviour(found, m, name) for m in metrics)] for name in found.names]
    return rows_table(["checkpoint", *(BEHAVIOUR[m] for m in metrics)], body) if metrics else ""


def losses_table(found: Compression) -> str:
    """Every checkpoint: its intact losses, separability over that of harm, the fractions that reach the thresholds, Gini."""
    body = []
    for name in found.names:
        body.append(
            [
                escape(name),
                *(_spread(_intact(found, c, name), lambda v: f"{v:.2f}") for c in ("harm", "benign")),
                _spread(found.row("separability_relative", name), lambda v: f"{100 * v:.1f} %"),
                _reached(found, "0.1", name),
                _reached(found, "0.2", name),
                _plainnumber(found.value("gini", name, selected=False), 3),
            ]
        )
    return rows_table(
        ["checkpoint", "intact loss, harm", "and benign", "separability over it", "q at +0.1", "q at +0.2", "Gini"],
        body,
    )


def _spread(row: pd.Series | None, shown: Callable[[float], str]) -> str:
    """The value, and its interval in small under it."""
    if row is None or pd.isna(row["value"]):
        return text.NOT_MEASURED
    below = (
        ""
        if pd.isna(row["ci_low"])
        else f'<br><span class="quiet small">{shown(float(row["ci_low"]))} … {shown(float(row["ci_high"]))}</span>'
    )
    return f"{shown(float(row['value']))}{below}"


def _reached(found: Compression, level: str, name: str) -> str:
    q = found.value(f"q_at_{level}", name)
    return "not reached" if math.isnan(q) else text.percent(q)


def _intact(found: Compression, category: str, name: str) -> pd.Series | None:
    rows = found.frame[
        (found.frame["metric"] == "nll") & (found.frame["condition"] == name) & (found.frame["category"] == category)
    ]
    return None if rows.empty else rows.iloc[0]


def _plainnumber(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _behaviour(found: Compression, metric: str, name: str) -> str:
    """``97 %`` with its interval for one ladder, with the range over ladders for several."""
    row = found.row(metric, name, selected=False)
    if row is None or pd.isna(row["value"]):
        return text.NOT_MEASURED
    share = metric.startswith("refusal/")

    def shown(value: float) -> str:
        return f"{100 * value:.0f} %" if share else text.signed(value)

    own = [found.value(metric, f"{name}#{s}", selected=False) for s in found.seeds]
    known = [v for v in own if not math.isnan(v)]
    low, high = (row["ci_low"], row["ci_high"]) if len(known) <= 1 else (min(known), max(known))
    spread = "" if pd.isna(low) else f'<br><span class="quiet small">{shown(float(low))} … {shown(float(high))}</span>'
    return f"{shown(float(row['value']))}{spread}"


def behaviour_note(found: Compression) -> str:
    """What the table's spread is, and how refusals were counted."""
    row = found.row("refusal/harmful", found.target, selected=False)
    if row is None:
        return "How these checkpoints answer harmful requests was not measured here: that they are aligned is what their names say."
    spread = "95 % interval" if len(found.seeds) == 1 else f"lowest and highest of {len(found.seeds)} tuning seeds"
    return f"Refusals by keyword, a lower bound, on at least {int(row['n'])} held-out harmful requests, and the benign loss against the start, as measured when the ladder was made. Small: {spread}."

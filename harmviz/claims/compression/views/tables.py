"""Tables: tested differences, how aligned each checkpoint is, intact losses. Markup, from stored rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

import pandas as pd

from harmviz.claims.compression.comparisons import seed_name
from harmviz.claims.compression.fixed_difference import FixedResult, Number
from harmviz.claims.compression.stored import StoredResult, number
from harmviz.claims.compression.under_limit import judged
from harmviz.claims.compression.verdicts import DIGITS
from harmviz.claims.compression.views.ladder import p_value
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


def fixed_table(fixed: FixedResult) -> str:
    """Every planned difference at every fixed fraction: harm-specific with its test, benign, and the ratio."""
    body: list[list[str]] = []
    differences = fixed.differences
    for d in differences:
        body.append(
            [
                _under(f"{d.a} − {d.b}", f"at {text.percent(d.q)}"),
                _with_interval(d.specific),
                p_value(d.p_holm) if math.isnan(d.p) else _under(p_value(d.p_holm), f"{p_value(d.p)} alone"),
                _under(d.judged, f"above 0 in {d.above} of {d.n_splits} splits"),
                _with_interval(d.benign),
                "not defined" if math.isnan(d.ratio.value) else _with_interval(d.ratio),
            ]
        )
    breaks = {
        i
        for i, (d, before) in enumerate(zip(differences[1:], differences, strict=False), 1)
        if (d.q, d.kind) != (before.q, before.kind)
    }
    head = ["difference", "harm-specific, nats", "corrected p-value", "harm-specific is", "benign, nats", "ratio"]
    return rows_table(head, body, breaks)


def _under(above: str, below: str) -> str:
    """Two lines of plain text, the second small."""
    return f'{escape(above)}<br><span class="quiet small">{escape(below)}</span>'


def _with_interval(quantity: Number) -> str:
    """The value, and its interval in small under it."""
    if math.isnan(quantity.value):
        return text.NOT_MEASURED
    return _spread(quantity.value, quantity.low, quantity.high, lambda value: text.signed(value, DIGITS))


def differences_table(result: StoredResult, metric: str) -> str:
    """Every tested difference of separabilities with interval, p-values, and in how many splits it lies above 0.

    The tests are those of the separability as chosen; with ``metric`` cross-fitted the numbers beside them are the
    cross-fitted ones.
    """
    body: list[list[str]] = []
    differences = result.differences()
    for difference in differences:
        row = difference.row if metric == "separability" else difference.crossfit
        body.append(
            [
                escape(f"{difference.a} − {difference.b}"),
                f'<span class="value">{text.signed(number(row, "value"), DIGITS)}</span>',
                text.interval(number(row, "ci_low"), number(row, "ci_high"), DIGITS),
                p_value(difference.p),
                p_value(difference.p_holm),
                f"{difference.above} of {difference.n_splits}",
                judged(difference),
            ]
        )
    breaks = {
        i for i, (d, before) in enumerate(zip(differences[1:], differences, strict=False), 1) if d.kind != before.kind
    }
    kind = "difference in separability" if metric == "separability" else "difference, cross-fitted"
    head = [kind, "nats", "95 % interval", "p-value", "corrected", "splits above 0", "verdict"]
    return rows_table(head, body, breaks)


# -- behaviour --------------------------------------------------------------------------------------------------------
def behaviour_table(result: StoredResult) -> str:
    """How aligned every checkpoint is and what that cost, as its ladder was measured; empty where none was."""

    def measured(metric: str) -> bool:
        return any(not math.isnan(result.value(metric, name, selected=False)) for name in result.names)

    metrics = [metric for metric in BEHAVIOUR if measured(metric)]
    body = [[escape(name), *(_behaviour(result, metric, name) for metric in metrics)] for name in result.names]
    return rows_table(["checkpoint", *(BEHAVIOUR[metric] for metric in metrics)], body) if metrics else ""


def _behaviour(result: StoredResult, metric: str, name: str) -> str:
    """``97 %`` with its interval for one ladder, with the range over ladders for several."""
    row = result.row(metric, name, selected=False)
    if row is None or pd.isna(row["value"]):
        return text.NOT_MEASURED

    def percent(value: float) -> str:
        return f"{100 * value:.0f} %"

    of_seeds = [result.value(metric, seed_name(name, seed), selected=False) for seed in result.seeds]
    known = [value for value in of_seeds if not math.isnan(value)]
    low, high = (row["ci_low"], row["ci_high"]) if len(known) <= 1 else (min(known), max(known))
    return _spread(float(row["value"]), low, high, percent if metric.startswith("refusal/") else text.signed)


def behaviour_note(result: StoredResult) -> str:
    """What the table's spread is, and how refusals were counted."""
    row = result.row("refusal/harmful", result.target, selected=False)
    if row is None:
        return (
            "How these checkpoints answer harmful requests was not measured here: that they are aligned is what their "
            "names say."
        )
    spread = "95 % interval" if len(result.seeds) == 1 else f"lowest and highest of {len(result.seeds)} tuning seeds"
    return (
        f"Refusals by keyword, a lower bound, on at least {int(row['n'])} held-out harmful requests, and the benign "
        f"loss against the start, as measured when the ladder was made. Small: {spread}."
    )


# -- losses -----------------------------------------------------------------------------------------------------------
def losses_table(result: StoredResult) -> str:
    """Every checkpoint: its intact losses, separability over that of harm, the fractions at the thresholds, Gini."""
    body = []
    for name in result.names:
        gini = result.value("gini", name, selected=False)
        body.append(
            [
                escape(name),
                *(_cell(_intact(result, category, name), lambda v: f"{v:.2f}") for category in ("harm", "benign")),
                _cell(result.row("separability_relative", name), lambda v: f"{100 * v:.1f} %"),
                *(_reached(result, level, name) for level in ("0.1", "0.2")),
                "–" if math.isnan(gini) else f"{gini:.3f}",
            ]
        )
    head = ["checkpoint", "intact loss, harm", "and benign", "separability over it", "q at +0.1", "q at +0.2", "Gini"]
    return rows_table(head, body)


def _intact(result: StoredResult, category: str, name: str) -> pd.Series | None:
    frame = result.frame
    rows = frame[(frame["metric"] == "nll") & (frame["condition"] == name) & (frame["category"] == category)]
    return None if rows.empty else rows.iloc[0]


def _cell(row: pd.Series | None, shown: Callable[[float], str]) -> str:
    if row is None or pd.isna(row["value"]):
        return text.NOT_MEASURED
    return _spread(float(row["value"]), row["ci_low"], row["ci_high"], shown)


def _spread(value: float, low: float, high: float, shown: Callable[[float], str]) -> str:
    """The value, and its interval or range in small under it."""
    if pd.isna(low):
        return shown(value)
    return f'{shown(value)}<br><span class="quiet small">{shown(float(low))} … {shown(float(high))}</span>'


def _reached(result: StoredResult, level: str, name: str) -> str:
    q = result.value(f"q_at_{level}", name)
    return "not reached" if math.isnan(q) else text.percent(q)

"""What the command line prints of a stored result: lines of cells, for tables in a terminal. No torch."""

from __future__ import annotations

import math

import pandas as pd

from harmviz.claims.compression.comparisons import difference_name, seed_name
from harmviz.claims.compression.fixed_difference import FixedResult, Number
from harmviz.claims.compression.settings import LIMITS
from harmviz.claims.compression.stored import StoredResult
from harmviz.claims.compression.verdicts import UNTESTED

FIXED = ("difference", "q", "harm-specific", "each split", "p (swap)", "p (Holm)", "benign", "ratio", "called")
CHECKPOINTS = (
    "checkpoint",
    "separability",
    "each split",
    "cross-fitted",
    "of intact loss",
    "q at +0.1",
    "q at +0.2",
    "refuses",
)
DIFFERENCES = ("difference", "separability", "cross-fitted", "p (swap)", "p (Holm)")
_NOT_MEASURED, _NOT_DEFINED = "not measured", "not defined"


def fixed(of: FixedResult) -> list[list[str]]:
    """Every planned difference at every fixed fraction."""
    return [
        [
            difference_name(d.a, d.b),
            f"{d.q:g}",
            _number(d.specific),
            _each(d.specific.by_seed),
            _plain(d.p, 4, missing=UNTESTED),
            _plain(d.p_holm, 4, missing=UNTESTED),
            _number(d.benign),
            _number(d.ratio, _NOT_DEFINED),
            d.judged,
        ]
        for d in of.differences
    ]


def checkpoints(result: StoredResult) -> list[list[str]]:
    """Every checkpoint: its separability under the benign limit and what goes with it."""
    return [
        [
            name,
            _estimate(result.row("separability", name)),
            _each([result.value("separability", seed_name(name, seed)) for seed in result.seeds]),
            _estimate(result.row("separability_crossfit", name)),
            _plain(result.value("separability_relative", name)),
            *(_reached(result.value(f"q_at_{level}", name)) for level in ("0.1", "0.2")),
            _share(result.value("refusal/harmful", name, selected=False)),
        ]
        for name in result.names
    ]


def differences(result: StoredResult) -> list[list[str]]:
    """Every tested difference of separabilities under the benign limit."""
    return [
        [difference_name(d.a, d.b), _estimate(d.row), _estimate(d.crossfit), _plain(d.p, 4), _plain(d.p_holm, 4)]
        for d in result.differences()
    ]


def over_limits(result: StoredResult) -> list[list[str]]:
    """The same differences over the limit; empty where the result was made before that curve."""
    metric = "separability_difference_at_{:g}"
    lines = []
    for test in result.tests:
        name = difference_name(test["a"], test["b"])
        values = [result.row(metric.format(limit), name) for limit in LIMITS]
        if any(value is not None for value in values):
            lines.append([name, *(_estimate(value, n=False) for value in values)])
    return lines


def _plain(value: float, digits: int = 3, *, sign: bool = False, missing: str = _NOT_MEASURED) -> str:
    return missing if math.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def _each(values: list[float] | tuple[float, ...]) -> str:
    return " ".join(_plain(value, sign=True) for value in values)


def _number(of: Number, missing: str = _NOT_MEASURED) -> str:
    """``+0.080 [+0.041, +0.120]``"""
    if math.isnan(of.value):
        return missing
    ends = "" if math.isnan(of.low) else f" [{of.low:+.3f}, {of.high:+.3f}]"
    return f"{of.value:+.3f}{ends}"


def _estimate(row: pd.Series | None, *, n: bool = True) -> str:
    """``+0.301 [+0.250, +0.352] n=84``"""
    written = _number(Number.of(row))
    return written if not n or row is None or pd.isna(row["n"]) else f"{written} n={int(row['n'])}"


def _reached(q: float) -> str:
    return "not reached" if math.isnan(q) else f"{q:g}"


def _share(value: float) -> str:
    return _NOT_MEASURED if math.isnan(value) else f"{value:.0%}"

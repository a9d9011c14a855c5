"""The tables of the documentation that the stored result makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harmviz.claims.compression.comparisons import difference_name, seed_name
from harmviz.claims.compression.fixed_difference import BENIGN, SPECIFIC, FixedResult, Number
from harmviz.claims.compression.settings import LIMITS
from harmviz.claims.compression.stored import read_result, selections
from harmviz.claims.markdown import number, one, share, table
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import SELECTOR_WORDS

START = "start"
_BEFORE = (
    "Made before the stable index: neither the samples' losses nor paired intervals at fixed fractions were stored, so "
    "that the differences below are those of the stored values, without interval and test."
)


def _fixed(run: Run) -> list[FixedResult]:
    """Every selection at its fixed fractions."""
    results = run.results()
    return [FixedResult(read_result(run, results, contrast)) for contrast in selections(results)]


def stable(run: Run) -> str:
    """A line a planned difference and fixed fraction: harm-specific with its test, benign, and the ratio."""
    rows, of_selection = [], _fixed(run)
    for fixed in of_selection:
        for d in fixed.differences:
            seeds = ", ".join(text.signed(value, 3) for value in d.specific.by_seed)
            rows.append(
                [
                    f"{SELECTOR_WORDS[fixed.result.contrast].short}, {text.percent(d.q)}",
                    difference_name(d.a, d.b),
                    _cell(d.specific),
                    seeds,
                    "" if math.isnan(d.p_holm) else f"{d.p_holm:.2g}",
                    _cell(d.benign),
                    _cell(d.ratio, "not defined"),
                    d.judged,
                ]
            )
    header = (
        "selection, pruned",
        "difference",
        "harm − safe, nats/token",
        "each seed",
        "p",
        "benign",
        "ratio",
        "called",
    )
    heading = "" if all(fixed.tested for fixed in of_selection) else f"{_BEFORE}\n\n"
    return f"{heading}{table(header, rows)}"


def fixed_fraction(run: Run) -> str:
    """Harm-specific and benign ΔL and their ratio at the fixed fractions, checkpoint by checkpoint."""
    rows = []
    for fixed in _fixed(run):
        for q in fixed.fractions:
            for name in fixed.result.names:
                rows.append(
                    [
                        f"{SELECTOR_WORDS[fixed.result.contrast].short}, {text.percent(q)}",
                        name,
                        _cell(fixed.shift(SPECIFIC, name, q)),
                        _cell(fixed.shift(BENIGN, name, q)),
                        _cell(fixed.ratio_of(name, q), "not defined" if fixed.tested else ""),
                    ]
                )
    header = ("selection, pruned", "checkpoint", "harm − safe, nats/token", "benign ΔL", "their ratio")
    return table(header, rows)


def _cell(of: Number, missing: str = text.NOT_MEASURED) -> str:
    """``+0.080 [+0.041, +0.120]``"""
    if math.isnan(of.value):
        return missing
    ends = "" if math.isnan(of.low) else f" [{text.signed(of.low, 3)}, {text.signed(of.high, 3)}]"
    return f"{text.signed(of.value, 3)}{ends}"


def limits(run: Run) -> str:
    """The index under a benign limit over that limit: every planned difference, both selections."""
    results = run.results()
    rows = []
    for contrast in selections(results):
        for test in run.manifest["method"]["tests"]:
            name = difference_name(test["a"], test["b"])
            found = [
                one(results, metric=f"separability_difference_at_{limit:g}", condition=name, contrast=contrast)
                for limit in LIMITS
            ]
            if any(found):
                rows.append([SELECTOR_WORDS[contrast].short, name, *(number(row, 3) for row in found)])
    if not rows:
        return "Made before the curve over the limit was stored."
    return table(("selection", "difference, benign ΔL at most:", *(f"{limit:g}" for limit in LIMITS)), rows)


def separability(run: Run, contrast: str) -> str:
    """A line a checkpoint: separability under the limit, by seed, against the start, and how often requests are
    declined."""
    frame, method = run.results(), run.manifest["method"]
    selected = frame[frame["contrast"] == contrast]
    rows = []
    for checkpoint in method["checkpoints"]:
        name, arm = checkpoint["name"], checkpoint["arm"]
        seeds = [
            number(one(selected, metric="separability", condition=seed_name(name, seed), category="harm"), 3)
            for seed in method["split_seeds"]
        ]
        against = difference_name(name, START)
        rows.append(
            [
                START if arm is None else f"{arm}, {checkpoint['label']}",
                number(one(selected, metric="separability", condition=name, category="harm"), 3),
                ", ".join(seeds),
                number(one(selected, metric="separability_difference", condition=against), 3),
                _p(one(selected, metric="p_holm", condition=against)),
                " · ".join(share(one(frame, metric=f"refusal/{s}", condition=name)) for s in ("harmful", "benign")),
            ]
        )
    limit = run.manifest["parameters"]["benign_limit"][contrast]
    heading = (
        f"Weights ranked {SELECTOR_WORDS[contrast].long}. Separability: the largest harm-specific ΔL over the grid "
        f"with benign ΔL at most {limit:g}, nats per token [95 %]; p: swaps of prompts, corrected by Holm."
    )
    header = ("checkpoint", "separability", "each seed", "against the start", "p", "declined: harmful · harmless")
    return f"{heading}\n\n{table(header, rows)}"


def against_controls(run: Run) -> str:
    """The planned comparisons with the control tunings, by the index under a limit."""
    results = run.results()
    rows = []
    for test in run.manifest["method"]["tests"]:
        if test["kind"] != "control":
            continue
        name = difference_name(test["a"], test["b"])
        for contrast in ("none", "both"):
            difference = one(results, metric="separability_difference", condition=name, contrast=contrast)
            p = one(results, metric="p_holm", condition=name, contrast=contrast)
            rows.append([name, SELECTOR_WORDS[contrast].short, number(difference, 3), _p(p)])
    return table(("comparison", "selection", "separability, nats/token", "p"), rows)


def _p(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['value']:.2g}"


PARTS = {
    "stable": stable,
    "fixed": fixed_fraction,
    "limits": limits,
    "contrastive": lambda run: separability(run, "both"),
    "plain": lambda run: separability(run, "none"),
    "controls": against_controls,
}

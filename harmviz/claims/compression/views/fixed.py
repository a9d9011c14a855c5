"""The main picture, differences to the start at fixed fractions beside the controls', and the headline numbers."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from harmviz.claims.compression.comparisons import difference_name, seed_name
from harmviz.claims.compression.finding import sentence
from harmviz.claims.compression.fixed_difference import FixedDifference, FixedResult, Number
from harmviz.claims.compression.settings import LIMITS
from harmviz.claims.compression.stored import StoredResult, number
from harmviz.claims.compression.verdicts import DIGITS
from harmviz.claims.compression.views.ladder import and_splits, arm_name, nats, p_value, role
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.words import Words
from harmviz.runs.point import selector_words

#: Attribute of a difference → (panel, how its places read).
_QUANTITIES = {"specific": ("nats", "harm-specific"), "benign": ("nats", "benign"), "ratio": ("ratio", "ratio")}
NOT_DEFINED = "not defined: benign ΔL is not clear of 0"
_COLUMNS = ["checkpoint", "panel", "place", "label", "q", "arm", "role", "value", "ci_low", "ci_high", "note"]
_SEED_COLUMNS = ["checkpoint", "panel", "place", "arm", "seed", "value", "note"]


def fixed_rows(fixed: FixedResult) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a line per arm, quantity and fraction, the same by seed), as ``stable_figures.fixed_chart`` takes them."""
    result = fixed.result
    of_name = {str(c["name"]): c for c in result.checkpoints}
    rows: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    for d in fixed.ends_against_start():
        checkpoint = of_name[d.a]
        which = fixed.fractions.index(d.q)
        arm = arm_name(checkpoint, result.start) if checkpoint["arm"] else d.a
        for attribute, (panel, label) in _QUANTITIES.items():
            quantity: Number = getattr(d, attribute)
            place = which + (len(fixed.fractions) if attribute == "benign" else 0)
            shared = {"checkpoint": d.a, "panel": panel, "place": place, "arm": arm}
            at = f"{d.a} − {d.b}, {label} at {text.percent(d.q)}"
            rows.append(
                {
                    **shared,
                    "label": f"{label}, {text.percent(d.q)}",
                    "q": d.q,
                    "role": role(checkpoint, result.start),
                    "value": quantity.value,
                    "ci_low": quantity.low,
                    "ci_high": quantity.high,
                    "note": f"{at}\n{_written(quantity, panel)}",
                }
            )
            if math.isnan(quantity.value):
                continue  # what is not defined over all splits is not hinted at by some of them
            for seed, value in zip(result.seeds, quantity.by_seed, strict=False):
                note = f"{at}, split {seed} alone\n{_written(Number(value, math.nan, math.nan), panel)}"
                seeds.append({**shared, "seed": seed, "value": value, "note": note})
    return pd.DataFrame(rows, columns=_COLUMNS), pd.DataFrame(seeds, columns=_SEED_COLUMNS)


def _written(quantity: Number, panel: str) -> str:
    """``+0.080 nats (+0.041 … +0.120)``"""
    if math.isnan(quantity.value):
        return NOT_DEFINED if panel == "ratio" else text.NOT_MEASURED
    unit = " nats" if panel == "nats" else ""
    return f"{text.signed(quantity.value, DIGITS)}{unit} ({text.interval(quantity.low, quantity.high, DIGITS)})"


def fixed_words(fixed: FixedResult) -> Words:
    """Title, subtitle and reading of the main picture."""
    result = fixed.result
    sizes = [d.n_weights for d in fixed.against_start() if d.n_weights]
    weights = f" ({' and '.join(text.count(n) for n in sizes)} weights)" if sizes else ""
    bars = (
        f"Bar: 95 % interval over {result.n_prompts} prompts{and_splits(result)}. "
        if fixed.tested
        else ("Made before the stable index: no paired intervals are stored. ")
    )
    title = sentence(fixed)
    colours = "Vermilion: safety tuning; grey: tuned as long without teaching it. " if result.has_arms else ""
    return Words(
        title,
        f"Last checkpoint minus {result.start}, same prompts, at fractions fixed beforehand{weights}; masks "
        f"{selector_words(result.contrast).short}. {bars}Small dots: each split alone.",
        f"{colours}Left: how much further pruning moves harmful answers beyond same-topic safe ones, and benign "
        "answers, than at the start. Right: the same for harm-specific divided by benign ΔL. More separable is said "
        "where harm-specific marks and the ratio lie above 0, beyond every grey mark; where benign answers move as "
        "well and the ratio does not, the model became more sensitive to everything. A ratio is not drawn where "
        "benign ΔL is not clear of 0.",
        f"Differences to the start at fixed fractions, harm-specific, benign and their ratio. {title}",
    )


# -- headline numbers -------------------------------------------------------------------------------------------------
def tiles(fixed: FixedResult) -> str:
    """Four numbers at the largest fixed fraction: harm-specific, benign, the ratio, and against the nearest control."""
    start = fixed.against_start()
    if not start:
        return ""
    largest = start[-1]
    at = f"at {text.percent(largest.q)}, against the start"
    n = f"n = {fixed.result.n_prompts} · "
    parts = [
        _tile("Harm-specific ΔL", largest.specific, "nats", n + at + _p(largest), "var(--hv-harm)"),
        _tile("Benign ΔL", largest.benign, "nats", n + at, "var(--hv-benign)"),
        _tile("Ratio, harm-specific to benign", largest.ratio, "", n + at, "currentColor"),
    ]
    controls = [d for d in fixed.against_controls() if d.q == largest.q and not math.isnan(d.specific.value)]
    if controls:
        least = min(controls, key=lambda d: d.specific.value)
        below = f"{n}at {text.percent(least.q)}{_p(least)}"
        parts.append(_tile(f"Harm-specific ΔL against {least.b}", least.specific, "nats", below, "var(--hv-control)"))
    return f'<div class="hv hv-room"><div class="hv-tiles">{"".join(parts)}</div></div>'


def _p(difference: FixedDifference) -> str:
    return f" · corrected p-value {p_value(difference.p_holm)}: {difference.judged}" if difference.p_holm >= 0 else ""


def _tile(label: str, quantity: Number, unit: str, below: str, colour: str) -> str:
    if math.isnan(quantity.value):
        value, interval = f"<small>{'not defined' if not unit else text.NOT_MEASURED}</small>", ""
    else:
        value = f"{text.signed(quantity.value, DIGITS)} <small>{unit}</small>"
        interval = f"{text.interval(quantity.low, quantity.high, DIGITS)}, "
    return (
        f'<div class="hv-tile" style="--tile:{colour}"><div class="label">{explained(label)}</div>'
        f'<div class="number">{value}</div><div class="quiet small">{explained(interval + below)}</div></div>'
    )


# -- over the limit ---------------------------------------------------------------------------------------------------
def limit_rows(result: StoredResult) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a line per arm and limit, the same by seed), as ``stable_figures.limit_curve`` takes them; empty where the
    result was made before the curve."""
    ends: dict[str, Any] = {}
    for checkpoint in result.checkpoints[1:]:
        ends[str(checkpoint["arm"] or checkpoint["name"])] = checkpoint
    rows, seeds = [], []
    for checkpoint in sorted(ends.values(), key=lambda c: c["name"] != result.target):
        name = difference_name(str(checkpoint["name"]), result.start)
        arm = arm_name(checkpoint, result.start) if checkpoint["arm"] else str(checkpoint["name"])
        for limit in LIMITS:
            metric = f"separability_difference_at_{limit:g}"
            if (row := result.row(metric, name)) is None:
                continue
            shared = {"checkpoint": checkpoint["name"], "limit": limit, "arm": arm}
            at = f"{checkpoint['name']} − {result.start}\nbenign ΔL at most {text.signed(limit, 3)}"
            numbers = {column: number(row, column) for column in ("value", "ci_low", "ci_high")}
            rows.append({**shared, "role": role(checkpoint, result.start), **numbers, "note": f"{at}\n{nats(row)}"})
            for seed in result.seeds:
                alone = result.row(metric, seed_name(name, seed))
                note = f"{at}, split {seed} alone\n{nats(alone)}"
                seeds.append({**shared, "seed": seed, "value": number(alone, "value"), "note": note})
    columns = ["checkpoint", "limit", "arm"]
    return (
        pd.DataFrame(rows, columns=[*columns, "role", "value", "ci_low", "ci_high", "note"]),
        pd.DataFrame(seeds, columns=[*columns, "seed", "value", "note"]),
    )


def limit_words(result: StoredResult, rows: pd.DataFrame) -> Words:
    """Title, subtitle and reading of the curve over the limit."""
    of_target = rows[rows["checkpoint"] == result.target]
    low, high = of_target["value"].min(), of_target["value"].max()
    clear = int((of_target["ci_low"] > 0).sum())
    title = (
        f"From one limit to the next the difference moves between {text.signed(low, DIGITS)} and "
        f"{text.signed(high, DIGITS)} nats; clear of 0 at {clear} of {len(of_target)} limits"
    )
    return Words(
        title,
        f"Separability under a benign limit, {result.target} and controls minus {result.start}, over that limit. "
        f"Bar: 95 % interval over prompts{and_splits(result)}. Small dots: each split alone.",
        "Each mark chooses, at both checkpoints, the fraction of largest harm-specific ΔL that keeps the limit. A "
        "number that hangs on one limit is no finding; flat lines would be.",
        f"Difference of the index to the start over the benign limit, a line an arm. {title}",
    )

"""Separability of every checkpoint along training under the benign limit, and how arms and numbers read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from harmviz.claims.compression.comparisons import ALIGNED_ARM, seed_name
from harmviz.claims.compression.stored import StoredResult, number
from harmviz.claims.compression.under_limit import sentence
from harmviz.claims.compression.verdicts import DIGITS
from harmviz.display import text
from harmviz.display.words import Words

METRICS = {"separability": "as chosen", "separability_crossfit": "cross-fitted"}


def role(checkpoint: Mapping[str, Any], start: str) -> str:
    """How its arm is drawn, one of ``figures.ROLES``."""
    if checkpoint["name"] == start:
        return "start"
    return "other" if not checkpoint["arm"] else "aligned" if checkpoint["arm"] == ALIGNED_ARM else "control"


def arm_name(checkpoint: Mapping[str, Any], start: str) -> str:
    """How its arm reads."""
    kind = role(checkpoint, start)
    if kind == "start":
        return str(checkpoint["label"])
    return {"aligned": "safety tuning", "other": "later checkpoints"}.get(kind, f"control: {checkpoint['arm']}")


def places(result: StoredResult) -> dict[str, int]:
    """Label of a stage → its place along training; arms share the places of equal stage and step."""
    stages = [c for c in result.checkpoints[1:] if c["arm"]]
    if not stages:
        return {str(c["label"]): i for i, c in enumerate(result.checkpoints)}
    order = list(dict.fromkeys(str(c["stage"]) for c in stages))
    stages.sort(key=lambda c: (order.index(str(c["stage"])), c["step"]))
    labels = dict.fromkeys([str(result.checkpoints[0]["label"]), *(str(c["label"]) for c in stages)])
    return {label: i for i, label in enumerate(labels)}


def ladder(result: StoredResult, metric: str = "separability") -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a line per checkpoint, a line per checkpoint and seed), as ``figures.ladder_chart`` takes them."""
    place = places(result)
    rows, seeds = [], []
    for checkpoint in result.checkpoints:
        name = str(checkpoint["name"])
        shared = {
            "checkpoint": name,
            "place": place[str(checkpoint["label"])],
            "label": checkpoint["label"],
            "arm": arm_name(checkpoint, result.start),
            "role": role(checkpoint, result.start),
        }
        row = result.row(metric, name)
        numbers = {column: number(row, column) for column in ("value", "ci_low", "ci_high")}
        note = f"{name}\n{nats(row)}\n{_refuses(result, name)}"
        rows.append({**shared, **numbers, "n": None if row is None else row["n"], "note": note})
        for seed in result.seeds:
            row = result.row(metric, seed_name(name, seed))
            note = f"{name}, split {seed} alone\n{nats(row)}, {_chosen(result, name, seed)}"
            seeds.append({**shared, "seed": seed, "value": number(row, "value"), "note": note})
    return pd.DataFrame(rows), pd.DataFrame(seeds)


def _chosen(result: StoredResult, name: str, seed: int) -> str:
    """The fraction that gives the separability of one split."""
    q = number(result.row("separability", seed_name(name, seed)), "q")
    return "nothing pruned is best" if math.isnan(q) else f"at q = {text.percent(q)}"


def nats(row: pd.Series | None) -> str:
    """``+0.120 nats (+0.080 … +0.160, n = 84)``"""
    if row is None or pd.isna(row["value"]):
        return text.NOT_MEASURED
    inside = [] if pd.isna(row["ci_low"]) else [text.interval(row["ci_low"], row["ci_high"], DIGITS)]
    inside += [] if pd.isna(row["n"]) else [f"n = {int(row['n'])}"]
    return f"{text.signed(float(row['value']), DIGITS)} nats" + (f" ({', '.join(inside)})" if inside else "")


def _refuses(result: StoredResult, name: str) -> str:
    value = result.value("refusal/harmful", name, selected=False)
    return "refusals not measured" if math.isnan(value) else f"refuses {100 * value:.0f} % of harmful requests"


def ladder_words(result: StoredResult, metric: str) -> Words:
    """Title, subtitle and reading of the main chart."""
    chosen = metric == "separability"
    measure = (
        "largest harm-specific ΔL"
        if chosen
        else "harm-specific ΔL, chosen on one half of the prompts and measured on the other"
    )
    colours = "Vermilion: tuned to decline harmful requests; grey: tuned as long without that. "
    bias = (
        "The maximum over a grid leans upwards, alike for all checkpoints; the cross-fitted version does not."
        if chosen
        else "Cross-fitted values can be negative."
    )
    return Words(
        sentence(result),
        f"Separability: {measure}, benign ΔL at most {text.signed(result.limit)}; nats per token.\n"
        f"Bar: 95 % interval over {result.n_prompts} prompts{and_splits(result)}. Small dots: each split alone.",
        "Each mark is a checkpoint: how much likelier harmful text can be made to vanish by zeroing few weights, "
        "beyond what the same does to safe answers on the same topics, while benign text stays within the limit. Every "
        "checkpoint was scored, selected from and measured in the same way. "
        f"{colours if result.has_arms else ''}{bias}",
        f"Separability of {len(result.checkpoints)} checkpoints along training. {sentence(result)}",
    )


def and_splits(result: StoredResult) -> str:
    """What the intervals are over, beside prompts."""
    return f" and {len(result.seeds)} splits" if len(result.seeds) > 1 else ", for this one split"


def p_value(value: float) -> str:
    """``< 0.001``, ``0.012``, ``0.34``; a dash where it was not tested."""
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"

"""Where each checkpoint's separability comes from: loss shifts over the fraction pruned."""

from __future__ import annotations

import math

import pandas as pd

from harmviz.claims.compression.stored import StoredResult, number
from harmviz.claims.compression.views.ladder import and_splits, arm_name, nats, role
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.runs.point import selector_words

#: What the shift is of → how its control reads.
SHIFTS = {"specific": "harm-specific", "harm": "harmful answers", "safe": "same-topic safe", "benign": "benign"}
_LONG = {
    "specific": "Harm-specific ΔL: harmful minus same-topic safe answers",
    "harm": "ΔL of harmful answers",
    "safe": "ΔL of same-topic safe answers",
    "benign": "ΔL of benign answers",
}
_COLUMNS = ["checkpoint", "arm", "role", "weight", "q", "value", "ci_low", "ci_high", "n", "note"]


def curves(result: StoredResult, shift: str) -> pd.DataFrame:
    """One line per checkpoint and q, as ``figures.shift_curves`` takes it."""
    metric, category = ("harm_specific", "harm") if shift == "specific" else ("delta_nll", shift)
    frame = result.frame
    frame = frame[
        (frame["metric"] == metric) & (frame["category"] == category) & (frame["contrast"] == result.contrast)
    ]
    arms = [arm_name(c, result.start) for c in result.checkpoints]
    lines = []
    for i, (checkpoint, arm) in enumerate(zip(result.checkpoints, arms, strict=True)):
        lateness = arms[: i + 1].count(arm) / arms.count(arm)
        for _, row in frame[frame["condition"] == checkpoint["name"]].sort_values("q").iterrows():
            size = text.fraction_of(int(row["n_weights"]), result.n_scored)
            lines.append(
                {
                    "checkpoint": checkpoint["name"],
                    "arm": arm,
                    "role": role(checkpoint, result.start),
                    "weight": lateness,
                    "q": float(row["q"]),
                    **{column: number(row, column) for column in ("value", "ci_low", "ci_high")},
                    "n": row["n"],
                    "note": f"{checkpoint['name']}\n{size}\n{SHIFTS[shift]}: {nats(row)}",
                }
            )
    return pd.DataFrame(lines, columns=_COLUMNS)


def levels(result: StoredResult, shift: str) -> tuple[float, ...]:
    """The thresholds that are drawn: those of the harm-specific shift, or the benign limit."""
    return {"specific": (0.1, 0.2), "benign": (result.limit,)}.get(shift, ())


def curve_words(result: StoredResult, shift: str) -> Words:
    """Title, subtitle and reading of the curves."""

    def reaching(level: str) -> int:
        return sum(not math.isnan(result.value(f"q_at_{level}", name)) for name in result.names)

    title = {
        "specific": f"{reaching('0.1')} of {len(result.names)} checkpoints reach +0.1 nats beyond their topic, "
        f"{reaching('0.2')} reach +0.2",
        "harm": "What pruning does to harmful answers, checkpoint by checkpoint",
        "safe": "What the same masks do to safe answers on the same topics",
        "benign": f"What the same masks cost on benign answers; the limit is {text.signed(result.limit)}",
    }[shift]
    return Words(
        title,
        f"{_LONG[shift]}, nats per token; masks {selector_words(result.contrast).short}; 95 % interval over prompts"
        f"{and_splits(result)}.",
        "Each line is a checkpoint, pruned at the measured fractions only; lines between the marks guide the eye. "
        "Later checkpoints of an arm are drawn stronger. Dotted: the thresholds of +0.1 and +0.2 nats, or the benign "
        "limit.",
        f"Lines of {SHIFTS[shift]} loss shift over the fraction pruned, one a checkpoint. {title}",
    )

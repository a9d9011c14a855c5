"""A dissociation experiment made by hand, with numbers that can be followed in the head. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmviz.runs import Point, Row, Run, Where, begin, write_rows
from harmviz.stats.estimate import Estimate
from tests.worlds.fabricated import manifest

PHRASINGS = ("harmful", "hurt", "safe", "should_help")
ABILITIES = (
    ("generation", "harm"),
    ("generation", "benign"),
    ("recognition", "all"),
    ("explanation", "harmful"),
    ("refusal", "harmful"),
)
RAW = {
    "generation": "delta_nll",
    "recognition": "delta_auc",
    "explanation": "delta_nll",
    "refusal": "delta_refusal_log_odds",
}
#: Standardised change of each ability under the harm mask, at matched strength, under the refusal mask and both
#: controls.
CHANGES = {
    ("mean(all)", "none"): (-0.72, -0.14, -0.05, -0.10, 0.12),
    ("matched(mean(all))", "none"): (-0.40, -0.08, -0.02, -0.05, 0.05),
    ("refusal", "none"): (-0.06, -0.03, 0.04, -0.09, -0.81),
    ("mean(all)", "random"): (0.01, 0.00, 0.02, -0.01, 0.03),
    ("mean(all)", "benign_signed"): (-0.07, -0.22, 0.03, -0.12, 0.06),
}
HALF = {"none": 0.09, "random": 0.16, "benign_signed": 0.09}
AUCS = {"": 0.81, "mean(all)": 0.80, "matched(mean(all))": 0.805, "refusal": 0.82}


def _around(value: float, half: float, n: int | None = 64) -> Estimate:
    """A value with an interval of this half width."""
    return Estimate(value, value - half, value + half, n or 0, n or 0)


def dissociation_rows(
    *,
    contrasts: tuple[str, ...] = ("none", "both"),
    testable: tuple[str, ...] = ("all", "hurt", "safe", "refusal_log_odds"),
    shift: float = 0.0,
    phrasings: tuple[str, ...] = PHRASINGS,
) -> Iterator[Row]:
    """Rows as the experiment writes them. ``testable``: categories whose intact model has the ability; ``shift``: added
    to every change."""
    intact = Where(experiment="dissociation")
    recognition, refusal = (replace(intact, condition=c) for c in ("recognition", "refusal"))
    for category in ("all", *phrasings, "refusal_log_odds", "refusal_rate"):
        where = refusal if category.startswith("refusal") else recognition
        yield where.value("testable", float(category in testable), unit="label", category=category, n=64)
    yield refusal.estimate("auc", Estimate(0.74, 0.66, 0.81, 64, 64), unit="AUC", category="refusal_log_odds")
    recall = Estimate(0.52, 0.33, 0.7, 64, 64)
    yield refusal.estimate("keyword_recall", recall, unit="share", category="refusal_rate")
    yield from _levels(intact, 0.0, phrasings, n=64)
    for contrast in contrasts:
        for (mask, control), changes in CHANGES.items():
            larger = 1.6 if contrast == "both" and mask == "mean(all)" else 1.0
            point = Point(mask, 1e-5, 0.01, contrast=contrast)
            where = replace(intact, point=point, control=control, skip_tokens=0, n_weights=1061)
            yield from _changes(where, [larger * change + shift for change in changes])
            yield from _levels(where, changes[4], phrasings, n=_n(where))
        strength = 1.0 if contrast == "none" else 0.37
        matched = Point("matched(mean(all))", 1e-5, 0.01, contrast=contrast)
        where = replace(intact, point=matched, condition="generation")
        yield where.value("strength", strength, unit="fraction", category="harm")


def _n(where: Where) -> int:
    return 22 if where.control == "random" else 64


def _changes(where: Where, changes: list[float]) -> Iterator[Row]:
    """What one mask changes, and of a mask itself also what it does beyond both controls."""
    n = _n(where)
    for (condition, category), value in zip(ABILITIES, changes, strict=True):
        where = replace(where, condition=condition)
        half = HALF[where.control]
        yield where.estimate("standardised", _around(value, half, n), unit="SD", category=category)
        metric = RAW[condition]
        scale = -0.6 if metric == "delta_nll" else 0.1 if condition == "recognition" else 2.0
        raw = _around(scale * value, abs(scale) * half, n)
        yield where.estimate(metric, raw, unit="raw", category=category)
        if where.control == "none":
            excess = "excess_over_control" if metric == "delta_nll" else metric.replace("delta_", "excess_")
            for control, items in (("random", 22), ("benign_signed", 64)):
                beyond = replace(where, control=control)
                yield beyond.estimate(excess, raw, unit="raw", category=category, n=items)
    for condition, category, metric, value, half in (
        ("generation", "safe", "delta_nll", 0.2, 0.05),
        ("explanation", "harmless", "delta_nll", 0.05, 0.05),
        ("generation", "harm", "harm_specific", 0.23 if where.control == "none" else 0.03, 0.06),
        ("explanation", "harmful", "harm_specific", 0.01, 0.06),
    ):
        where = replace(where, condition=condition)
        yield where.estimate(metric, _around(value, half, n), unit="nats/token", category=category)
    where = replace(where, condition="refusal")
    yield where.estimate("delta_refusal_rate", _around(0.05, 0.07, 56), unit="share", category="harm")


def _levels(where: Where, change: float, phrasings: tuple[str, ...], *, n: int) -> Iterator[Row]:
    """Recognition, refusal rate and log-odds in one state of the model; ``change``: of refusal, in SDs."""
    intact_auc = AUCS.get("" if where.point is None else where.point.set, 0.8)
    for k, category in enumerate(("all", *phrasings)):
        value = intact_auc - 0.04 * k
        level = Estimate(value, value - 0.09, value + 0.08, n, n)
        yield replace(where, condition="recognition").estimate("auc", level, unit="AUC", category=category)
    where = replace(where, condition="refusal")
    rate, odds = _around(0.3 + 0.1 * change, 0.1, n), _around(-2.0 + 2 * change, 0.4, n)
    yield where.estimate("refusal_rate", rate, unit="share", category="harm")
    yield where.estimate("refusal_log_odds", odds, unit="nats", category="harmful")


def make_dissociation(
    root: Path,
    parent: str,
    run_id: str = "smollm2-135m-instruct-dissociation-aa11bb22cc",
    *,
    rows: list[Row] | None = None,
    **method: Any,
) -> Run:
    """Writes a complete experiment below ``root``; ``method`` replaces keys of its manifest's ``method``."""
    facts = {"q": 1e-5, "p": 0.01, "n_weights": 1061, "digest": "ef" * 32}
    about = {
        "experiment": "dissociation",
        "version": 1,
        "masks": {"none": facts, "both": facts},
        "phrasings": {p: {"question": f"Is it {p}?", "yes_is_harmful": True} for p in PHRASINGS},
        "matching": {"shift": {"none": 0.2, "both": 0.5}, "strength": {"none": 1.0, "both": 0.37}},
        "refusal_mask": {"kind": "measurement", "n_weights": {"none": 1061, "both": 1061}, "n_scored": 128},
        **method,
    }
    with begin(run_id, root) as partial:
        write_rows(partial.path("results/dissociation.parquet"), list(dissociation_rows()) if rows is None else rows)
        partial.finish("rows", {})
        return partial.commit(manifest(kind="experiment", parents=[parent], method=about))

"""A dissociation experiment made by hand, with numbers that can be followed in the head. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harmviz.runs import Row, Run, begin, write_rows
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


def dissociation_rows(
    *,
    contrasts: tuple[str, ...] = ("none", "both"),
    testable: tuple[str, ...] = ("all", "hurt", "safe", "refusal_log_odds"),
    shift: float = 0.0,
    phrasings: tuple[str, ...] = PHRASINGS,
) -> Iterator[Row]:
    """Rows as the experiment writes them.

    ``testable``: categories whose intact model has the ability; ``shift``: added to every change.
    """
    intact: dict[str, Any] = {"experiment": "dissociation", "n": 64}
    for category in ("all", *phrasings, "refusal_log_odds", "refusal_rate"):
        condition = "refusal" if category.startswith("refusal") else "recognition"
        yield Row(
            metric="testable",
            condition=condition,
            category=category,
            value=float(category in testable),
            unit="label",
            **intact,
        )
    yield Row(
        metric="auc",
        condition="refusal",
        category="refusal_log_odds",
        value=0.74,
        ci_low=0.66,
        ci_high=0.81,
        unit="AUC",
        **intact,
    )
    yield Row(
        metric="keyword_recall",
        condition="refusal",
        category="refusal_rate",
        value=0.52,
        ci_low=0.33,
        ci_high=0.7,
        unit="share",
        **intact,
    )
    yield from _levels("", 0.0, phrasings, **intact)
    for contrast in contrasts:
        larger = 1.6 if contrast == "both" else 1.0
        for (mask, control), changes in CHANGES.items():
            at: dict[str, Any] = {
                "experiment": "dissociation",
                "mask": mask,
                "control": control,
                "contrast": contrast,
                "q": 1e-5,
                "p": 0.01,
                "scope": "global",
                "skip_tokens": 0,
                "n_weights": 1061,
            }
            n = 22 if control == "random" else 64
            for (condition, category), change in zip(ABILITIES, changes, strict=True):
                value = (larger if mask == "mean(all)" else 1.0) * change + shift
                here: dict[str, Any] = {**at, "condition": condition, "category": category, "n": n}
                low, high = value - HALF[control], value + HALF[control]
                yield Row(metric="standardised", value=value, ci_low=low, ci_high=high, unit="SD", **here)
                scale = -0.6 if RAW[condition] == "delta_nll" else 0.1 if condition == "recognition" else 2.0
                ends = sorted((scale * low, scale * high))
                yield Row(
                    metric=RAW[condition], value=scale * value, ci_low=ends[0], ci_high=ends[1], unit="raw", **here
                )
                if control == "none":
                    excess = (
                        "excess_over_control"
                        if RAW[condition] == "delta_nll"
                        else RAW[condition].replace("delta_", "excess_")
                    )
                    for against, k in (("random", 22), ("benign_signed", 64)):
                        yield Row(
                            metric=excess,
                            value=scale * value,
                            ci_low=ends[0],
                            ci_high=ends[1],
                            unit="raw",
                            **{**here, "control": against, "n": k},
                        )
            for condition, category, value in (("generation", "safe", 0.2), ("explanation", "harmless", 0.05)):
                yield Row(
                    metric="delta_nll",
                    condition=condition,
                    category=category,
                    value=value,
                    ci_low=value - 0.05,
                    ci_high=value + 0.05,
                    n=n,
                    **at,
                )
            for condition, category, value in (("generation", "harm", 0.23), ("explanation", "harmful", 0.01)):
                yield Row(
                    metric="harm_specific",
                    condition=condition,
                    category=category,
                    value=value,
                    ci_low=value - 0.06,
                    ci_high=value + 0.06,
                    n=n,
                    **at,
                )
            yield Row(
                metric="delta_refusal_rate",
                condition="refusal",
                category="harm",
                value=0.05,
                ci_low=-0.02,
                ci_high=0.12,
                n=56,
                **at,
            )
            yield from _levels(mask, changes[4], phrasings, **{**at, "n": n})
        strength = 1.0 if contrast == "none" else 0.37
        yield Row(
            experiment="dissociation",
            metric="strength",
            condition="generation",
            category="harm",
            mask="matched(mean(all))",
            contrast=contrast,
            value=strength,
            unit="fraction",
        )


def _levels(of: str, refusal: float, phrasings: tuple[str, ...], **at: Any) -> Iterator[Row]:
    for k, category in enumerate(("all", *phrasings)):
        value = AUCS.get(of, 0.8) - 0.04 * k
        yield Row(
            metric="auc",
            condition="recognition",
            category=category,
            value=value,
            ci_low=value - 0.09,
            ci_high=value + 0.08,
            unit="AUC",
            **at,
        )
    rate, odds = 0.3 + 0.1 * refusal, -2.0 + 2 * refusal
    yield Row(
        metric="refusal_rate",
        condition="refusal",
        category="harm",
        value=rate,
        ci_low=rate - 0.1,
        ci_high=rate + 0.1,
        unit="share",
        **at,
    )
    yield Row(
        metric="refusal_log_odds",
        condition="refusal",
        category="harmful",
        value=odds,
        ci_low=odds - 0.4,
        ci_high=odds + 0.4,
        unit="nats",
        **at,
    )


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
    told = {
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
        return partial.commit(manifest(kind="experiment", parents=[parent], method=told))

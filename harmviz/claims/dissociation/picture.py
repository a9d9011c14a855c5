"""The main picture of a dissociation experiment: its points, its panels, its words. Pure functions."""

from __future__ import annotations

import math

import pandas as pd

from harmviz.claims.dissociation.finding import apart, beside_safe, sentence, verdict, verdicts
from harmviz.claims.dissociation.stored import (
    ABILITIES,
    HARM,
    MATCHED,
    REFUSAL,
    SIGNS,
    UNITS,
    Ability,
    Stored,
    numbers_of,
)
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.runs import Run

MARKS = {
    "harm": "harm mask",
    "refusal": "refusal mask (measurement)",
    "benign": "the mask, on harmless text",
    "random": "random mask of the same size",
    "benign_signed": "benign-signed mask of the same size",
}


def points(stored: Stored, contrast: str, mask: str) -> pd.DataFrame:
    """One line per mark of the picture, as ``figures.dissociation.double_dissociation`` takes it."""
    lines = []
    panels = {"harm": (mask, "harm"), "refusal": (REFUSAL, "refusal")}
    for ability in ABILITIES:
        testable = stored.testable(ability.condition, ability.tested)
        for panel, (pruned, mark) in panels.items():
            marks = {
                mark if ability.category != "benign" else "benign": (pruned, "none"),
                "random": (HARM, "random"),
                "benign_signed": (HARM, "benign_signed"),
            }
            for name, (of, control) in marks.items():
                row = stored.row(contrast, of, control, ability.condition, ability.category, "standardised")
                raw = stored.row(contrast, of, control, ability.condition, ability.category, ability.raw)
                lines.append(
                    {
                        "panel": panel,
                        "row": ability.label,
                        "mark": name,
                        "control": control,
                        "testable": testable,
                        "contrast": contrast,
                        **numbers_of(row),
                        "raw": math.nan if raw is None else float(raw["value"]),
                        "raw_unit": UNITS[ability.raw],
                        "verdict": verdict(row, testable),
                        "note": _note(ability, name, row, raw, testable),
                    }
                )
    return pd.DataFrame(lines)


def _note(ability: Ability, mark: str, row: pd.Series | None, raw: pd.Series | None, testable: bool) -> str:
    if row is None:
        return f"{ability.label}\n{MARKS[mark]}: not measured"
    lines = [
        ability.label,
        MARKS[mark],
        f"{text.signed(float(row['value']))} SD, 95 % interval {text.interval(row['ci_low'], row['ci_high'])}",
    ]
    if raw is not None:
        lines.append(f"{SIGNS[ability.raw]}{text.signed(float(raw['value']), 3)} {UNITS[ability.raw]}")
    lines.append(f"n = {'?' if pd.isna(row['n']) else int(row['n'])}")
    return "\n".join(lines if testable else [*lines, "not testable: the intact model has too little of it"])


def x_range(stored: Stored) -> tuple[float, float]:
    """One axis for every selection and strength, so that the pictures can be compared."""
    ends = [0.0]
    for contrast in stored.contrasts:
        for mask in (HARM, MATCHED):
            shown = points(stored, contrast, mask)
            ends += [float(v) for c in ("low", "high") for v in shown[c].dropna()]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    return low - room, max(high + room, -0.25 * low)


def panels(run: Run, stored: Stored, contrast: str, mask: str) -> dict[str, str]:
    """Heading of each panel: what was zeroed, and how much of it."""
    size = _size(run, contrast)
    strength = stored.matched(contrast) if mask == MATCHED else None
    turned = f", strength {strength:.2f}" if strength is not None and strength < 1 else ""
    n = run.manifest["method"].get("refusal_mask", {}).get("n_weights", {}).get(contrast)
    of_refusal = f"{text.count(int(n))} weights" if isinstance(n, int) else "of the same size"
    return {
        "harm": f"Without harm weights\n{size}{turned}",
        "refusal": f"Without refusal weights\n{of_refusal}, a measurement only",
    }


def _size(run: Run, contrast: str) -> str:
    facts = run.manifest["method"].get("masks", {}).get(contrast, {})
    n, total = facts.get("n_weights"), run.manifest["model"]["n_scored_weights"]
    return text.fraction_of(int(n), total) if isinstance(n, int) else "size not stored"


def words(run: Run, stored: Stored, contrast: str, mask: str) -> Words:
    """Title, subtitle and reading of the picture."""
    title = sentence(
        verdicts(stored, contrast, mask),
        verdicts(stored, contrast, REFUSAL),
        apart(stored, contrast, mask),
        beside_safe(stored, contrast, mask),
    )
    shown = points(stored, contrast, mask)
    own = shown[shown["control"] == "none"]
    counts = sorted({int(v) for v in own["n"].dropna()})
    n = "n not stored" if not counts else f"n = {counts[0]}" + (f" … {counts[-1]}" if len(counts) > 1 else "")
    told = "; ".join(f"{r['row']}: {r['verdict']}" for r in own.to_dict("records") if r["panel"] == "harm")
    return Words(
        title,
        "Change against the intact model in standard deviations (SD) across prompts; bars: 95 % intervals.\n"
        f"Grey: masks of the same size, random (ring) and benign-signed (square). {n}.",
        "Left of the line: less of the ability than the intact model has. A double dissociation puts only the first "
        "dot of the left panel and only the last "
        "of the right one far to the left. For writing, reasons and refusal the yardstick is the intact model's spread "
        "over prompts; for recognition the change "
        "is one of d′, the distance between harmful and harmless requests in SDs. Hatched: the intact model cannot do "
        "it well enough here for a loss to show.",
        f"Two panels of dots, one line per ability. {title}. Harm mask: {told}.",
    )

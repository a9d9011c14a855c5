"""The words and numbers of the Overview, from a run's stored rows. Pure functions; nothing here draws."""

from __future__ import annotations

from html import escape

import pandas as pd

from harmviz.claims.mapping.headline import at, chosen_headline, chosen_point, headline, report_rows
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.words import Words
from harmviz.runs import Run

SELECTION = {"none": "As in the paper", "both": "Contrastive"}


def effect_tables(run: Run, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Selection → one line per measured set, as ``figures.effects`` takes it; at the point chosen for each.

    A run that chose none is shown at its unchosen point.
    """
    found = {c: h for c in SELECTION if (h := chosen_headline(run, results, c)) is not None}
    if not found and (only := headline(results)) is not None:
        found = {str(only.first["contrast"]): only}
    tables = {}
    for contrast, line in found.items():
        rows = line.effect[~line.effect["category"].str.startswith("safe:")]
        tables[contrast] = pd.DataFrame(
            {
                "label": rows["category"].map(text.set_name),
                "category": rows["category"],
                "harm": rows["category"].map(text.is_harm),
                "value": rows["value"],
                "ci_low": rows["ci_low"],
                "ci_high": rows["ci_high"],
                "n": rows["n"],
                "control": rows["category"].map(line.random).astype(float),
                "unit": "nats/token",
                "q": rows["q"],
                "p": rows["p"],
                "n_weights": rows["n_weights"],
            }
        ).reset_index(drop=True)
    return tables


def shared_range(tables: list[pd.DataFrame]) -> tuple[float, float] | None:
    """One axis for all tables, so that the pictures can be compared; None where there is nothing."""
    numbers = [v for t in tables for c in ("value", "ci_low", "ci_high", "control") for v in t[c].dropna()]
    if not numbers:
        return None
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def effect_words(run: Run, table: pd.DataFrame, contrast: str) -> Words:
    """Title, subtitle and reading of one effect chart."""
    size = text.fraction_of(int(table["n_weights"].iloc[0]), run.manifest["model"]["n_scored_weights"])
    p = text.percent(float(table["p"].iloc[0]))
    return Words(
        f"{SELECTION[contrast]}",
        f"{size}, {p} protected<br>ΔL in nats per token · ring: random mask of equal size",
        "A dot right of the line: without these weights that text is less likely. A finding needs vermilion dots far right of "
        "the blue ones and of the grey ring, which is a random mask of equal size. Bars are 95 % intervals over prompts.",
        f"Dot plot of loss shifts per kind of text, selection {SELECTION[contrast].lower()}",
    )


def _tile(label: str, number: str, below: str, colour: str) -> str:
    return (
        f'<div class="hv-tile" style="--tile:{colour}"><div class="label">{explained(label)}</div>'
        f'<div class="number">{number}</div><div class="quiet small">{explained(below)}</div></div>'
    )


def _nats(row: pd.Series) -> str:
    return f"{escape(text.signed(float(row['value'])))} <small>nats</small>"


def _range_and_n(row: pd.Series) -> str:
    n = "" if pd.isna(row["n"]) else f" · n = {int(row['n'])} prompts"
    return f"interval {text.interval(row['ci_low'], row['ci_high'])}{n}"


def tiles(run: Run, results: pd.DataFrame) -> str:
    """At most four headline numbers, each with its interval, n and control: the contrastive choice where there is one."""
    contrast = next((c for c in ("both", "none") if chosen_headline(run, results, c) is not None), None)
    point = chosen_point(run, contrast) if contrast else None
    line = chosen_headline(run, results, contrast) if contrast else headline(results)
    if line is None:
        return ""
    point = point or {k: line.first[k] for k in ("mask", "q", "p", "scope", "contrast", "skip_tokens")}
    effect = line.effect.set_index("category")
    model = run.manifest["model"]
    n_weights = int(line.first["n_weights"])
    parts = [
        _tile(
            "weights set to zero",
            text.count(n_weights),
            f"{text.percent(n_weights / model['n_scored_weights'])} of the scored weights, "
            f"{text.percent(n_weights / model['n_parameters'])} of all parameters",
            "currentColor",
        )
    ]
    specific = at(report_rows(results, "harm_specific"), point)
    specific = specific[(specific["control"] == "none")]
    if "harm" in effect.index:
        control = "" if "harm" not in line.random else f" · random mask {text.signed(line.random['harm'])}"
        parts.append(
            _tile(
                "ΔL on harmful answers",
                _nats(effect.loc["harm"]),
                _range_and_n(effect.loc["harm"]) + control,
                "var(--hv-harm)",
            )
        )
    if not specific.empty:
        parts.append(
            _tile(
                "harm-specific: harm minus same-topic safe",
                _nats(specific.iloc[0]),
                _range_and_n(specific.iloc[0]),
                "var(--hv-harm)",
            )
        )
    if "benign" in effect.index:
        control = "" if "benign" not in line.random else f" · random mask {text.signed(line.random['benign'])}"
        parts.append(
            _tile(
                "ΔL on harmless answers by others",
                _nats(effect.loc["benign"]),
                _range_and_n(effect.loc["benign"]) + control,
                "var(--hv-benign)",
            )
        )
    how = (
        ""
        if contrast is None
        else f"{SELECTION[contrast]} selection, settled on validation prompts, measured on held-out ones. "
    )
    note = (
        f'<div class="hv quiet small">{explained(how + "ΔL: change of the loss per token, pruned minus intact.")}</div>'
    )
    return f'<div class="hv hv-room"><div class="hv-tiles">{"".join(parts)}</div></div>{note}'


STEPS = (
    '<div class="hv hv-room"><div class="hv-steps">'
    f"<div><b>Score</b>{explained('Every weight gets a harm score from harmful answers, and a utility score from harmless ones.')}</div>"
    f"<div><b>Select</b>{explained('The highest harm scores are taken, except where harmless text needs the weight: those are protected.')}</div>"
    f"<div><b>Prune</b>{explained('The selected weights are set to zero. Nothing is retrained, and all of it can be undone bit for bit.')}</div>"
    f"<div><b>Measure</b>{explained('The loss of held-out answers, harmful and harmless, before and after, beside masks of equal size that ignore harm.')}</div>"
    "</div></div>"
)


def limits(run: Run, results: pd.DataFrame) -> str:
    """What a reader must not take from the page, with the figures that say so."""
    lines = [
        "A higher loss on harmful answers is no proof of safety: it says that these texts became less likely, for this model and this data.",
        "Intervals hold for the mask as selected and cover the choice of prompts to measure on, not the choice of prompts to score on.",
    ]
    plain = chosen_point(run, "none")
    rows = report_rows(results, "harm_specific")
    if plain is not None and not (row := at(rows[rows["control"] == "none"], plain)).empty:
        found = row.iloc[0]
        if found["ci_low"] <= 0 <= found["ci_high"]:
            lines.insert(
                0,
                (
                    "Selected as in the paper, the effect is not specific to harm on this model: harm minus same-topic safe is "
                    f"{text.signed(float(found['value']), 3)} ({text.interval(found['ci_low'], found['ci_high'], 3)}). It finds weights for text the model would not have written."
                ),
            )
    both = chosen_headline(run, results, "both")
    if both is not None and "benign_own" in set(both.effect["category"]):
        own = both.effect.set_index("category").loc["benign_own"]
        lines.append(
            f"It has a cost: the contrastive mask moves the loss of the model's own harmless answers by {text.signed(float(own['value']))} nats."
        )
    if left_out := run.manifest["data"]["left_out"]:
        lines.append(
            "Left out for want of data: "
            + "; ".join(f"{text.set_name(c)} ({why})" for c, why in left_out.items())
            + "."
        )
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(line)}</li>" for line in lines)}</ul>'

"""The words and numbers of the Overview, from a run's stored rows. Pure functions; nothing here draws."""

from __future__ import annotations

from html import escape

import pandas as pd

from harmviz.claims.mapping.headline import (
    CHOSEN,
    Headline,
    chosen_headline,
    first_headline,
    headline,
    report_rows,
    rows_at,
    rows_at_chosen,
)
from harmviz.claims.mapping.mirrored import mirrors_of, nats
from harmviz.claims.mapping.remarks import remarks
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.words import Words
from harmviz.runs import Run
from harmviz.runs.point import selector_words


def effect_tables(run: Run, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Selection → one line per measured set, as ``display.effects`` takes it; plain first.

    At the point chosen for each. A run that chose none is shown at its unchosen point.
    """
    shown: dict[str, Headline] = {
        c: mask for c in reversed(CHOSEN) if (mask := chosen_headline(run, results, c)) is not None
    }
    if not shown and (only := headline(results)) is not None:
        shown = {str(only.first["contrast"]): only}
    return {contrast: _effect_table(mask) for contrast, mask in shown.items()}


def _effect_table(mask: Headline) -> pd.DataFrame:
    rows = mask.effect[~mask.effect["category"].str.startswith("safe:")]
    table = rows[["category", "value", "ci_low", "ci_high", "n", "q", "p", "n_weights"]].assign(
        label=rows["category"].map(text.set_name),
        harm=rows["category"].map(text.is_harm),
        control=rows["category"].map(mask.random).astype(float),
        unit="nats/token",
    )
    order = ["label", "category", "harm", "value", "ci_low", "ci_high", "n", "control", "unit", "q", "p", "n_weights"]
    return table[order].reset_index(drop=True)


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
    p, words = text.percent(float(table["p"].iloc[0])), selector_words(contrast)
    return Words(
        words.heading,
        f"{size}, {p} protected<br>ΔL in nats per token · ring: random mask of equal size",
        "A dot right of the line: without these weights that text is less likely. A finding needs vermilion dots far "
        "right of the blue ones and of the grey ring, which is a random mask of equal size. Bars are 95 % intervals "
        "over prompts.",
        f"Dot plot of loss shifts per kind of text, selection {words.short}",
    )


def tiles(run: Run, results: pd.DataFrame) -> str:
    """At most four headline numbers, each with its interval, n and control, of the mask the run is summed up by."""
    mask = first_headline(run, results)
    if mask is None:
        return ""
    shifts = {str(row["category"]): row for _, row in mask.effect.iterrows()}
    specific = rows_at(report_rows(results, "harm_specific"), mask.settings)
    specific = specific[specific["control"] == "none"]
    parts = [_size_tile(int(mask.first["n_weights"]), run)]
    if "harm" in shifts:
        parts.append(_shift_tile("ΔL on harmful answers", shifts["harm"], mask))
    if not specific.empty:
        label = "harm-specific: harm minus same-topic safe"
        turned = [f"turned round for {m.text} text {nats(m.turned, 2)}" for m in mirrors_of(results, mask)]
        below = f"{_range_and_n(specific.iloc[0])} · {', '.join(turned) or 'no mirror measured'}"
        parts.append(_tile(label, _nats(specific.iloc[0]), below, "var(--hv-harm)"))
    if "benign" in shifts:
        parts.append(_shift_tile("ΔL on harmless answers by others", shifts["benign"], mask))
    contrast = str(mask.first["contrast"])
    chosen = chosen_headline(run, results, contrast) is not None
    how = f"{selector_words(contrast).heading}, settled on validation prompts, measured on held-out ones. "
    note = explained((how if chosen else "") + "ΔL: change of the loss per token, pruned minus intact.")
    return (
        f'<div class="hv hv-room"><div class="hv-tiles">{"".join(parts)}</div></div>'
        f'<div class="hv quiet small">{note}</div>'
    )


#: Rows left out are a remark from this share on.
_LEFT_OUT = 0.05


def remarked(run: Run, results: pd.DataFrame) -> str:
    """What to know before any number; nothing for a full run that left next to nothing out (``limits`` has all)."""
    lines = "".join(f"<div>{escape(line)}</div>" for line in remarks(run, results, least_left_out=_LEFT_OUT))
    return f'<div class="hv hv-note" role="note"><div class="small">{lines}</div></div>' if lines else ""


def _tile(label: str, number: str, below: str, colour: str) -> str:
    return (
        f'<div class="hv-tile" style="--tile:{colour}"><div class="label">{explained(label)}</div>'
        f'<div class="number">{number}</div><div class="quiet small">{explained(below)}</div></div>'
    )


def _size_tile(n_weights: int, run: Run) -> str:
    model = run.manifest["model"]
    of_scored = text.percent(n_weights / model["n_scored_weights"])
    of_all = text.percent(n_weights / model["n_parameters"])
    below = f"{of_scored} of the scored weights, {of_all} of all parameters"
    return _tile("weights set to zero", text.count(n_weights), below, "currentColor")


def _shift_tile(label: str, row: pd.Series, mask: Headline) -> str:
    category = str(row["category"])
    random = mask.random.get(category)
    control = "" if random is None else f" · random mask {text.signed(random)}"
    colour = "var(--hv-harm)" if text.is_harm(category) else "var(--hv-benign)"
    return _tile(label, _nats(row), _range_and_n(row) + control, colour)


def _nats(row: pd.Series) -> str:
    return f"{escape(text.signed(float(row['value'])))} <small>nats</small>"


def _range_and_n(row: pd.Series) -> str:
    n = "" if pd.isna(row["n"]) else f" · n = {int(row['n'])} prompts"
    return f"interval {text.interval(row['ci_low'], row['ci_high'])}{n}"


_STEPS = {
    "Score": "Every weight gets a harm score from harmful answers, and a utility score from harmless ones.",
    "Select": "The highest harm scores are taken, except where harmless text needs the weight: those are protected.",
    "Prune": "The selected weights are set to zero. Nothing is retrained, and all of it can be undone bit for bit.",
    "Measure": "The loss of held-out answers, harmful and harmless, before and after, beside masks of equal size that "
    "ignore harm.",
}
#: How it works, as HTML.
STEPS = (
    '<div class="hv hv-room"><div class="hv-steps">'
    + "".join(f"<div><b>{name}</b>{explained(words)}</div>" for name, words in _STEPS.items())
    + "</div></div>"
)


def limit_lines(run: Run, results: pd.DataFrame) -> list[str]:
    """What a reader must not take from the run, with the figures that say so."""
    lines = [
        "A higher loss on harmful answers is no proof of safety: it says that these texts became less likely, for this "
        "model and this data.",
        "Intervals hold for the mask as selected and cover the choice of prompts to measure on, not the choice of "
        "prompts to score on.",
    ]
    plain = rows_at_chosen(run, report_rows(results, "harm_specific"), "none")
    plain = plain[plain["control"] == "none"]
    if not plain.empty and plain["ci_low"].iloc[0] <= 0 <= plain["ci_high"].iloc[0]:
        row = plain.iloc[0]
        lines.insert(
            0,
            "Selected as in the paper, the effect is not specific to harm on this model: harm minus same-topic safe is "
            f"{text.signed(float(row['value']), 3)} ({text.interval(row['ci_low'], row['ci_high'], 3)}). It finds "
            "weights for text the model would not have written.",
        )
    both = chosen_headline(run, results, "both")
    costs = pd.DataFrame() if both is None else both.effect[both.effect["category"] == "benign_own"]
    if not costs.empty:
        lines.append(
            "It has a cost: the contrastive mask moves the loss of the model's own harmless answers by "
            f"{text.signed(float(costs['value'].iloc[0]))} nats."
        )
    return lines


def limits(run: Run, results: pd.DataFrame) -> str:
    """The same as HTML, and which rows were left out."""
    lines = limit_lines(run, results)
    lines += [f"{text.count(n)} rows of {text.set_name(name)} were left out: {why}." for name, why, n in run.dropped]
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(line)}</li>" for line in lines)}</ul>'

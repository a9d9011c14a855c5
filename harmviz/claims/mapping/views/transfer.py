"""The numbers and words of the transfer grid, from a run's stored rows. Pure functions; nothing here draws.

Every harm type's own mask is measured on every set of held-out answers. The diagonal is the type's effect on itself;
off the diagonal stands what it does to the others, and beside them to harmless text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harmviz.claims.mapping.mirrored import Mirror, reach_words, reached_as_far
from harmviz.claims.mapping.views.overlap import short_name
from harmviz.claims.mapping.views.overlap_words import between
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.text import is_harm
from harmviz.display.words import Words

HARMLESS = ("safe", "benign", "benign_own")


@dataclass(frozen=True)
class Summary:
    """The grid in a few means over its cells, in nats per token. NaN: no such cell.

    ``own``: the diagonal. ``others``: harm types off the diagonal. ``safe``: same-topic safe answers of all topics,
    ``safe_own``: of the mask's own topic. ``clear`` of ``n_others`` off-diagonal intervals lie above 0. ``n``: prompts
    a harm type.
    """

    own: float
    others: float
    safe: float
    safe_own: float
    benign: float
    benign_own: float
    clear: int
    n_others: int
    n_types: int
    n: str

    def share(self, value: float) -> str:
        """``value`` as a share of the effect on the own type: ``36 %``; "–" where that effect is not above 0."""
        return _percent(value / self.own) if self.own > 0 and not math.isnan(value) else "–"


def _percent(ratio: float, sign: str = "") -> str:
    """``36 %`` or ``−8 %``, never −0; with a plus in front where ``sign`` is "+"."""
    whole = round(100 * ratio)
    return f"{whole:{sign}d} %".replace("-", "−")


def _own_masks(results: pd.DataFrame, contrast: str, metric: str) -> pd.DataFrame:
    """The rows of one metric under each type's own mask."""
    rows = results[(results["experiment"] == "transfer") & (results["contrast"] == contrast)]
    return rows[(rows["metric"] == metric) & (rows["control"] == "none") & rows["value"].notna()]


def shifts(results: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """The measured loss shifts of each type's own mask, one line per (mask, category); empty where there are none."""
    rows = _own_masks(results, contrast, "delta_nll")
    return rows[rows["condition"].isna()].drop_duplicates(["mask", "category"])


def selections(results: pd.DataFrame) -> list[str]:
    """The selections for which transfer was measured."""
    rows = results[(results["experiment"] == "transfer") & (results["metric"] == "delta_nll")]
    return [str(c) for c in rows["contrast"].dropna().unique()]


def summary(rows: pd.DataFrame) -> Summary:
    """Means over the cells of one selection's ``shifts``."""
    own = rows["mask"] == rows["category"]
    harm = rows["category"].isin(set(rows["mask"]))
    others = rows[harm & ~own]

    def mean(part: pd.Series) -> float:
        return float(rows[part]["value"].mean())

    return Summary(
        own=mean(own),
        others=float(others["value"].mean()),
        safe=mean(rows["category"] == "safe"),
        safe_own=mean(rows["category"] == "safe:" + rows["mask"]),
        benign=mean(rows["category"] == "benign"),
        benign_own=mean(rows["category"] == "benign_own"),
        clear=int((others["ci_low"] > 0).sum()),
        n_others=len(others),
        n_types=rows["mask"].nunique(),
        n=between(rows[own]["n"].dropna().astype(int)),
    )


def cells(rows: pd.DataFrame, *, relative: bool) -> pd.DataFrame:
    """One line per cell, as ``figures.transfer.transfer_grid`` takes it; ``relative``: divided by the row's own effect.

    A row whose own effect is not clear of 0 has no relative values: there is nothing to be a share of.
    """
    masks = list(dict.fromkeys(rows["mask"]))
    columns = [*masks, *(c for c in HARMLESS if c in set(rows["category"]))]
    digits = 2 if rows["value"].abs().max() >= 0.1 else 3
    by_cell = rows.set_index(["mask", "category"])
    lines = []
    for mask in masks:
        own = by_cell.loc[(mask, mask)] if (mask, mask) in by_cell.index else None
        scale = float(own["value"]) if own is not None and own["ci_low"] > 0 else math.nan
        for column in columns:
            if (mask, column) in by_cell.index:
                row = by_cell.loc[(mask, column)]
                lines.append(_cell(mask, column, row, scale, relative=relative, digits=digits))
    return pd.DataFrame(lines)


def _cell(mask: str, column: str, row: pd.Series, scale: float, *, relative: bool, digits: int) -> dict[str, object]:
    """What stands in one cell; ``scale``: the mask's effect on its own type, NaN where that is not clear of 0."""
    delta, low, high = float(row["value"]), float(row["ci_low"]), float(row["ci_high"])
    value = delta / scale if relative else delta
    shown = "–" if math.isnan(value) else _percent(value, "+") if relative else text.signed(delta, digits)
    unclear = low <= 0 <= high and shown != "–"
    n = "?" if pd.isna(row["n"]) else int(row["n"])
    note = [
        f"pruned: {text.set_name(mask)}",
        f"measured: {text.set_name(column)}",
        f"ΔL {text.signed(delta, 3)} nats per token",
        f"95 % interval {text.interval(low, high, 3)}",
        f"n = {n} prompts",
        *([] if math.isnan(scale) else [f"{_percent(delta / scale, '+')} of the effect on its own type"]),
    ]
    return {
        "row": text.set_name(mask),
        "column": short_name(column),
        "value": value,
        "text": f"({shown})" if unclear else shown,
        "own": mask == column,
        "harm": is_harm(column),
        "delta": delta,
        "ci_low": low,
        "ci_high": high,
        **row[["n", "q", "p", "n_weights"]].to_dict(),
        "relative": delta / scale,
        "note": "\n".join(note),
    }


def colour_limit(tables: list[pd.DataFrame]) -> float:
    """One symmetric colour scale for all selections' ``shifts``, so that the pictures can be compared."""
    values = [abs(float(v)) for rows in tables for v in rows[~rows["category"].str.startswith("safe:")]["value"]]
    return max(values, default=1.0) or 1.0


def grid_words(rows: pd.DataFrame, n_scored: int, *, relative: bool, mirrors: Sequence[Mirror] = ()) -> Words:
    """Title, subtitle and reading of the grid; ``mirrors``: of the mask of all types, at the same point."""
    means, first = summary(rows), rows.iloc[0]
    title = sentence(means, mirrors)
    unit = "ΔL as a share of that on the own type (outlined)" if relative else "ΔL in nats per token"
    size = text.fraction_of(int(first["n_weights"]), n_scored)
    last = "One colour scale for both selections."
    if relative:
        last = "–: the effect on the own type is not clear of 0, so there is nothing to be a share of."
    return Words(
        title,
        f"Rows: type pruned, columns: text measured. {unit}.\n"
        f"Masks: {size} each, {text.percent(float(first['p']))} protected. Held-out prompts, n = {means.n} a type.",
        "Row: the type whose mask was zeroed. Column: the text measured. Outlined: the type itself. One mechanism "
        "would colour whole rows left of the line and leave the right of it pale; separate ones only the outlined "
        f"cells. In brackets: the 95 % interval includes 0. {last}",
        f"Transfer grid, {means.n_types} types pruned by text measured. {title}.",
    )


def sentence(means: Summary, mirrors: Sequence[Mirror] = ()) -> str:
    """The grid in one sentence, from its means; where a mirror reaches harm as far, the sentence says so."""
    if not means.own > 0:
        return "Pruning a type does not make its own text less likely: there is no effect that could transfer"
    if means.n_others == 0:
        return "Only one harm type was measured: transfer cannot be told"
    parts = [f"{means.share(means.others)} reaches other types"]
    parts += [f"{means.share(means.safe)} safe text"] if not math.isnan(means.safe) else []
    parts += [f"{means.share(means.benign)} benign text"] if not math.isnan(means.benign) else []
    told = f"Of a mask's effect on its own type, {', '.join(parts)}"
    as_far = reached_as_far(means.others / means.own, mirrors)
    if not as_far:
        return told
    return f"{told}. That does not stand out: {reach_words(as_far)}"


def tiles(means: Summary) -> str:
    """The reading numbers: own type, other types, same topic without harm, benign; each with what it rests on."""
    digits = 2 if means.own >= 0.1 else 3

    def tile(label: str, value: float, below: str, colour: str) -> str:
        number = text.NOT_MEASURED if math.isnan(value) else f"{text.signed(value, digits)} <small>nats</small>"
        return (
            f'<div class="hv-tile" style="--tile:var(--hv-{colour})"><div class="label">{explained(label)}</div>'
            f'<div class="number">{number}</div><div class="quiet small">{explained(below)}</div></div>'
        )

    def beside(words: str, value: float) -> str:
        return "" if math.isnan(value) else f"; {words} {text.signed(value, digits)}"

    types = f"{means.n_types} type" + ("" if means.n_types == 1 else "s")
    safe_own = beside("on the mask's own topic", means.safe_own)
    benign_own = beside("the model's own benign answers", means.benign_own)
    others = (
        f"{means.share(means.others)} of the own effect; {means.clear} of {means.n_others} cells have intervals above 0"
    )
    safe = f"{means.share(means.safe)} of the own effect{safe_own}"
    benign = f"{means.share(means.benign)} of the own effect{benign_own}"
    parts = [
        tile("ΔL on the own type", means.own, f"mean of the diagonal, {types}, {means.n} prompts each", "harm"),
        tile("ΔL on the other types", means.others, others, "harm"),
        tile("ΔL on same-topic safe answers", means.safe, safe, "benign"),
        tile("ΔL on benign answers by others", means.benign, benign, "benign"),
    ]
    note = (
        "Means over stored cells. Cells share prompts and masks, so that no interval can be given for a mean; each "
        "cell's own is on hover."
    )
    return f'<div class="hv hv-tiles">{"".join(parts)}</div><div class="hv quiet small">{explained(note)}</div>'


# -- the harm-specific part of each mask ----------------------------------------------------------------------------
def specific(results: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Harm minus same-topic safe of each type's own mask, as ``display.effects`` takes it."""
    rows = _own_masks(results, contrast, "harm_specific").drop_duplicates("mask")
    table = rows[["mask", "value", "ci_low", "ci_high", "n", "q", "p", "n_weights"]].assign(
        label=rows["mask"].map(text.set_name), harm=True, control=np.nan, unit="nats/token"
    )
    order = ["label", "mask", "harm", "value", "ci_low", "ci_high", "n", "control", "unit", "q", "p", "n_weights"]
    return table[order].reset_index(drop=True)


def with_mirror(table: pd.DataFrame, mirrors: Sequence[Mirror]) -> pd.DataFrame:
    """The harm-specific dots with a last line for the mirror made for safe text: safe minus harm, under its mask."""
    turned = next((m.turned for m in mirrors if m.text == "safe" and m.turned is not None), None)
    if turned is None:
        return table
    line = {name: turned[name] for name in ("value", "ci_low", "ci_high", "n", "q", "p", "n_weights")}
    told = {"label": "mirror, made for safe text: safe minus harm", "mask": "mirror", "harm": False}
    return pd.concat(
        [table, pd.DataFrame([told | line | {"unit": "nats/token", "control": np.nan}])], ignore_index=True
    )


def specific_words(table: pd.DataFrame) -> Words:
    """Title, subtitle and reading of the harm-specific dots; how many of those that are clear of 0 exceed the mirror,
    where it was measured."""
    own, mirror = table[table["mask"] != "mirror"], table[table["mask"] == "mirror"]
    clear = int((own["ci_low"] > 0).sum())
    title = f"{clear} of {len(own)} masks move harmful answers more than safe ones"
    if len(mirror):
        beyond = int(((own["ci_low"] > 0) & (own["value"] > mirror["value"].iloc[0])).sum())
        title += f"; {beyond} beyond the mirror"
    return Words(
        title,
        "ΔL on answers of all harm types minus ΔL on same-topic safe answers,<br>nats per token, by the type that "
        f"was pruned{'' if len(mirror) else ' · no mirror was measured in this run'}",
        "A dot right of the line: this type's mask makes harmful text of any type less likely than safe text on the "
        "same topics. Bars: 95 % intervals over prompts. One scale for both selections.",
        f"Dot plot of the harm-specific effect by type pruned. {title}.",
    )

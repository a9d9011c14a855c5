"""The numbers and words of the transfer grid, from a run's stored rows. Pure functions; nothing here draws.

Every harm type's own mask is measured on every set of held-out answers. The diagonal is the type's effect on itself; off
the diagonal stands what it does to the others, and beside them to harmless text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harmviz.claims.mapping.views.overlap import between, short_name
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


def shifts(results: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """The measured loss shifts of each type's own mask, one line per (mask, category); empty where there are none."""
    rows = results[
        (results["experiment"] == "transfer") & (results["contrast"] == contrast) & (results["control"] == "none")
    ]
    return rows[(rows["metric"] == "delta_nll") & rows["condition"].isna() & rows["value"].notna()].drop_duplicates(
        ["mask", "category"]
    )


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
            if (mask, column) not in by_cell.index:
                continue
            row = by_cell.loc[(mask, column)]
            delta, low, high = float(row["value"]), float(row["ci_low"]), float(row["ci_high"])
            value = delta / scale if relative else delta
            shown = "–" if math.isnan(value) else _percent(value, "+") if relative else text.signed(delta, digits)
            unclear = low <= 0 <= high
            lines.append(
                {
                    "row": text.set_name(mask),
                    "column": short_name(column),
                    "value": value,
                    "text": f"({shown})" if unclear and shown != "–" else shown,
                    "own": mask == column,
                    "harm": is_harm(column),
                    "delta": delta,
                    "ci_low": low,
                    "ci_high": high,
                    "n": row["n"],
                    "q": row["q"],
                    "p": row["p"],
                    "n_weights": row["n_weights"],
                    "relative": delta / scale,
                    "note": f"pruned: {text.set_name(mask)}\nmeasured: {text.set_name(column)}\nΔL {text.signed(delta, 3)} nats per token\n"
                    f"95 % interval {text.interval(low, high, 3)}\nn = {'?' if pd.isna(row['n']) else int(row['n'])} prompts"
                    + ("" if math.isnan(scale) else f"\n{_percent(delta / scale, '+')} of the effect on its own type"),
                }
            )
    return pd.DataFrame(lines)


def colour_limit(tables: list[pd.DataFrame]) -> float:
    """One symmetric colour scale for all selections' ``shifts``, so that the pictures can be compared."""
    values = [abs(float(v)) for rows in tables for v in rows[~rows["category"].str.startswith("safe:")]["value"]]
    return max(values, default=1.0) or 1.0


def point(rows: pd.DataFrame, n_scored: int) -> str:
    """Where the masks of these rows sit: ``0.005 % · 5,308 weights, 1 % protected``."""
    first = rows.iloc[0]
    return f"{text.fraction_of(int(first['n_weights']), n_scored)} each, {text.percent(float(first['p']))} protected"


def grid_words(rows: pd.DataFrame, n_scored: int, *, relative: bool) -> Words:
    """Title, subtitle and reading of the grid."""
    found = summary(rows)
    title = finding(found)
    unit = "ΔL as a share of that on the own type (outlined)" if relative else "ΔL in nats per token"
    return Words(
        title,
        f"Rows: type pruned, columns: text measured. {unit}.\nMasks: {point(rows, n_scored)}. Held-out prompts, n = {found.n} a type.",
        "Row: the type whose mask was zeroed. Column: the text measured. Outlined: the type itself. One mechanism would colour whole rows left of the line and "
        "leave the right of it pale; separate ones only the outlined cells. In brackets: the 95 % interval includes 0."
        + (
            " –: the effect on the own type is not clear of 0, so there is nothing to be a share of."
            if relative
            else " One colour scale for both selections."
        ),
        f"Transfer grid, {found.n_types} types pruned by text measured. {title}.",
    )


def finding(found: Summary) -> str:
    """The grid in one sentence, from its means."""
    if not found.own > 0:
        return "Pruning a type does not make its own text less likely: there is no effect that could transfer"
    if found.n_others == 0:
        return "Only one harm type was measured: transfer cannot be told"
    parts = [f"{found.share(found.others)} reaches other types"]
    parts += [f"{found.share(found.safe)} safe text"] if not math.isnan(found.safe) else []
    parts += [f"{found.share(found.benign)} benign text"] if not math.isnan(found.benign) else []
    return f"Of a mask's effect on its own type, {', '.join(parts)}"


def tiles(found: Summary) -> str:
    """The reading numbers: own type, other types, same topic without harm, benign; each with what it rests on."""

    def tile(label: str, value: float, below: str, colour: str) -> str:
        number = (
            f"{text.signed(value, 2 if found.own >= 0.1 else 3)} <small>nats</small>"
            if not math.isnan(value)
            else text.NOT_MEASURED
        )
        return (
            f'<div class="hv-tile" style="--tile:{colour}"><div class="label">{explained(label)}</div>'
            f'<div class="number">{number}</div><div class="quiet small">{explained(below)}</div></div>'
        )

    clear = (
        f"{found.share(found.others)} of the own effect; {found.clear} of {found.n_others} cells have intervals above 0"
    )
    own_topic = (
        ""
        if math.isnan(found.safe_own)
        else f"; on the mask's own topic {text.signed(found.safe_own, 2 if found.own >= 0.1 else 3)}"
    )
    own_answers = (
        ""
        if math.isnan(found.benign_own)
        else f"; the model's own benign answers {text.signed(found.benign_own, 2 if found.own >= 0.1 else 3)}"
    )
    parts = [
        tile(
            "ΔL on the own type",
            found.own,
            f"mean of the diagonal, {_types(found.n_types)}, {found.n} prompts each",
            "var(--hv-harm)",
        ),
        tile("ΔL on the other types", found.others, clear, "var(--hv-harm)"),
        tile(
            "ΔL on same-topic safe answers",
            found.safe,
            f"{found.share(found.safe)} of the own effect{own_topic}",
            "var(--hv-benign)",
        ),
        tile(
            "ΔL on benign answers by others",
            found.benign,
            f"{found.share(found.benign)} of the own effect{own_answers}",
            "var(--hv-benign)",
        ),
    ]
    note = "Means over stored cells. Cells share prompts and masks, so that no interval can be given for a mean; each cell's own is on hover."
    return f'<div class="hv hv-tiles">{"".join(parts)}</div><div class="hv quiet small">{explained(note)}</div>'


def _types(n: int) -> str:
    return f"{n} type" if n == 1 else f"{n} types"


# -- the harm-specific part of each mask ----------------------------------------------------------------------------
def specific(results: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Harm minus same-topic safe of each type's own mask, as ``figures.effects.effect_dots`` takes it."""
    rows = results[
        (results["experiment"] == "transfer")
        & (results["contrast"] == contrast)
        & (results["metric"] == "harm_specific")
    ]
    rows = rows[(rows["control"] == "none") & rows["value"].notna()].drop_duplicates("mask")
    return pd.DataFrame(
        {
            "label": rows["mask"].map(text.set_name),
            "mask": rows["mask"],
            "harm": True,
            "value": rows["value"],
            "ci_low": rows["ci_low"],
            "ci_high": rows["ci_high"],
            "n": rows["n"],
            "control": np.nan,
            "unit": "nats/token",
            "q": rows["q"],
            "p": rows["p"],
            "n_weights": rows["n_weights"],
        }
    ).reset_index(drop=True)


def specific_words(table: pd.DataFrame) -> Words:
    """Title, subtitle and reading of the harm-specific dots."""
    clear = int((table["ci_low"] > 0).sum())
    title = f"{clear} of {len(table)} masks move harmful answers more than safe ones"
    return Words(
        title,
        "ΔL on answers of all harm types minus ΔL on same-topic safe answers,<br>nats per token, by the type that was pruned",
        "A dot right of the line: this type's mask makes harmful text of any type less likely than safe text on the same topics. Bars: 95 % intervals over prompts. One scale for both selections.",
        f"Dot plot of the harm-specific effect by type pruned. {title}.",
    )


# -- concentration --------------------------------------------------------------------------------------------------
def concentration(results: pd.DataFrame) -> pd.DataFrame:
    """Lorenz points of every set, as ``figures.transfer.lorenz_curves`` takes them, with each set's Gini and effective count.

    ``comparable``: the set rests on the commonest number of scoring answers among the harm types (the larger one where
    two are as common). Concentration rises with that number, whatever the model.
    """
    rows = results[(results["experiment"] == "concentration") & results["value"].notna() & results["n"].notna()]
    per_set = {
        m: part.drop_duplicates("mask").set_index("mask")["value"]
        for m, part in rows.groupby("metric")
        if m != "lorenz_share"
    }
    points = rows[rows["metric"] == "lorenz_share"]
    harm_n = points[points["mask"].map(is_harm).astype(bool)].drop_duplicates("mask")["n"].astype(int)
    common = max(harm_n, key=lambda n: (int((harm_n == n).sum()), n)) if len(harm_n) else None
    return pd.DataFrame(
        {
            "set": points["mask"].map(text.set_name),
            "category": points["mask"],
            "q": points["q"],
            "share": points["value"],
            "n": points["n"].astype(int),
            "n_weights": points["n_weights"],
            "comparable": points["n"].astype(int) == (common if common is not None else -1),
            **{
                name: points["mask"].map(per_set.get(name, pd.Series(dtype=float)))
                for name in ("gini", "effective_count")
            },
        }
    ).reset_index(drop=True)


def concentration_words(points: pd.DataFrame) -> Words:
    """Title, subtitle and reading of the Lorenz curves."""
    equal, rest = points[points["comparable"]], points[~points["comparable"]]
    n = int(equal["n"].iloc[0])
    names = list(dict.fromkeys(equal["set"]))
    held = equal[(equal["q"] == 0.01) & equal["category"].map(is_harm).astype(bool)]["share"]
    title = (
        "How concentrated is the harm score?"
        if held.empty
        else f"The top 1 % of weights hold {_range(held)} of a type's harm score"
    )
    other = f" Dotted: {rest['set'].nunique()} sets with another n." if not rest.empty else ""
    return Words(
        title,
        f"Share of the positive harm score held by the largest weights. Solid: {len(names)} sets with n = {n} scoring answers each.{other}",
        "A curve further up and left: fewer weights carry the score. Compare solid curves only: with fewer answers a score is noisier and looks less concentrated, whatever the "
        "model. No interval: one scoring sample each. The score is signed SNIP as in the paper; the selection above changes nothing here.",
        f"Lorenz curves of the positive harm score of {points['set'].nunique()} sets, log scale. {title}.",
    )


def _range(shares: pd.Series) -> str:
    low, high = f"{100 * shares.min():.0f}", f"{100 * shares.max():.0f}"
    return f"{low} %" if low == high else f"{low}–{high} %"


def concentration_table(points: pd.DataFrame) -> str:
    """Gini and effective count of every set as a table; those at equal n first."""
    lines = points.drop_duplicates("category").sort_values("comparable", ascending=False, kind="stable")
    head = "".join(
        f"<th>{explained(h)}</th>" for h in ("set", "scoring answers, n", "Gini", "effective count", "comparable")
    )
    body, last = [], True
    for row in lines.itertuples():
        gap = ' class="break"' if last and not row.comparable else ""
        last = bool(row.comparable)
        gini = "–" if pd.isna(row.gini) else f"{row.gini:.3f}"
        effective = "–" if pd.isna(row.effective_count) else text.count(round(row.effective_count))
        body.append(
            f"<tr{gap}><td>{explained(str(row.set))}</td><td>{row.n}</td><td>{gini}</td><td>{effective}</td>"
            f"<td>{'yes' if row.comparable else 'no, other n'}</td></tr>"
        )
    return f'<div class="hv hv-scroll"><table class="hv-rows"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def concentration_colours(points: pd.DataFrame, categories: Mapping[str, str]) -> dict[str, str]:
    """Label → colour: those given for harm types, the rest from ``categories[""]``."""
    return {
        str(r.set): categories.get(str(r.category), categories[""])
        for r in points.drop_duplicates("category").itertuples()
    }

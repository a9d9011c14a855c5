"""The numbers and words of the layer × module map, from the selected weights. Pure functions; nothing here draws.

A *cell* is one module of one layer; its *density* is selected weights per million of its own weights, so that cells of
different size can be compared. Several experts of one layer share a cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd

from harmviz.display import text
from harmviz.display.words import Words
from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection, select
from harmviz.models.weights import WeightTable
from harmviz.runs.point import selector_words

DRAWS = 200
BASELINE_NAMES = {"benign": "harmless text (control)", "safe": "same topics, safe (control)"}


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a model: ``cells`` has ``layer, module, size, matrices``; ``of_matrix`` the cell of each matrix."""

    cells: pd.DataFrame
    of_matrix: np.ndarray

    @property
    def one_each(self) -> bool:
        """Whether every cell is one matrix (no experts)."""
        return bool((self.cells["matrices"] == 1).all())

    @property
    def noun(self) -> str:
        return "matrices" if self.one_each else "cells"


def grid(table: WeightTable) -> Grid:
    """The model's cells, modules in the order in which a block holds them, layers ascending."""
    modules = list(dict.fromkeys(m.module_kind for m in table))
    frame = pd.DataFrame(
        {"layer": [m.layer for m in table], "module": [m.module_kind for m in table], "size": [m.size for m in table]}
    )
    frame["rank"] = frame["module"].map({m: i for i, m in enumerate(modules)})
    cells = (
        frame.groupby(["rank", "layer", "module"], sort=True)["size"].agg(size="sum", matrices="count").reset_index()
    )
    number = {key: i for i, key in enumerate(zip(cells["layer"], cells["module"], strict=True))}
    of_matrix = np.array([number[m.layer, m.module_kind] for m in table], dtype=np.int64)
    return Grid(cells.drop(columns="rank"), of_matrix)


def matrix_counts(candidates: Candidates, selection: Selection) -> np.ndarray:
    """Selected weights in each matrix, int64.

    Raises:
        ValueError, SelectionInexact: as ``select``.
    """
    where, _ = candidates.table.locate(select(candidates, selection).global_index)
    return np.bincount(where, minlength=len(candidates.table)).astype(np.int64)


def mapped(grid: Grid, counts: np.ndarray) -> pd.DataFrame:
    """The cells with ``count``, ``density`` (per million) and ``times_uniform`` (density ÷ overall density)."""
    cells = grid.cells.copy()
    cells["count"] = np.bincount(grid.of_matrix, weights=counts, minlength=len(cells)).astype(np.int64)
    cells["density"] = 1e6 * cells["count"] / cells["size"]
    overall = cells["count"].sum() / cells["size"].sum()
    cells["times_uniform"] = cells["density"] / (1e6 * overall) if overall else 0.0
    return cells


def difference(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The cells with ``density`` = a minus b, per million."""
    return a[["layer", "module", "size", "matrices"]].assign(density=a["density"].to_numpy() - b["density"].to_numpy())


def densest(cells: pd.DataFrame) -> pd.Series:
    """The cell of highest density; the first where several are."""
    return cells.loc[cells["density"].idxmax()]


def cells_holding_half(counts: np.ndarray) -> int:
    """The fewest cells that together hold at least half of the weights."""
    top = np.cumsum(np.sort(counts)[::-1])
    return int(np.searchsorted(top, top[-1] / 2) + 1) if top[-1] else 0


def same_place(a: pd.DataFrame, b: pd.DataFrame) -> float:
    """Σ min(share in a, share in b) over cells: 1 where both spread alike, 0 where no cell holds weights of both."""
    shares = [c["count"].to_numpy() / max(1, int(c["count"].sum())) for c in (a, b)]
    return float(np.minimum(*shares).sum())


@dataclass(frozen=True)
class Reference:
    """The same number of weights drawn at random over all scored weights: what a map looks like that means nothing.

    ``peak``, ``peak_high``: median and 95th percentile of the densest cell, × uniform. ``half``: median number of cells
    that hold half. ``same_place``: median of two draws (the second of ``other`` weights), NaN where none was asked for.
    """

    peak: float
    peak_high: float
    half: int
    same_place: float


@lru_cache(maxsize=256)
def reference(sizes: tuple[int, ...], n: int, other: int = 0) -> Reference:
    """``Reference`` of n weights, from 200 seeded multinomial draws.

    With replacement, which is exact enough: n is a tiny part of all weights.
    """
    size = np.array(sizes, dtype=np.float64)
    share = size / size.sum()
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, share, size=DRAWS)
    peaks = (draws / size).max(axis=1) * size.sum() / max(1, n)
    half = np.median([cells_holding_half(d) for d in draws])
    again = rng.multinomial(other, share, size=DRAWS) if other else None
    alike = float("nan")
    if again is not None:
        alike = float(np.median(np.minimum(draws / max(1, n), again / other).sum(axis=1)))
    return Reference(float(np.median(peaks)), float(np.quantile(peaks, 0.95)), int(half), alike)


def scoring_prompts(counts: Mapping[str, Mapping[str, int]], categories: Sequence[str]) -> int:
    """How many prompts scored these sets (manifest ``data.counts``; the halves of each set are added)."""
    return sum(n for c in categories for part, n in counts.get(c, {}).items() if part.startswith("scoring"))


def set_label(name: str) -> str:
    """How a set reads where harm types and baselines stand side by side."""
    return BASELINE_NAMES.get(name) or text.set_name(name)


def mask_label(selection: Selection, known: Sequence[str]) -> str:
    """``mean of all 7 types`` or ``hate`` or ``union of hate, violence``."""
    names = selection.categories
    if len(names) == 1:
        return set_label(names[0])
    if selection.combine == "difference":
        return f"{text.set_name(names[0])} without {', '.join(map(text.set_name, names[1:]))}"
    which = f"all {len(names)} harm types" if set(names) == set(known) else ", ".join(map(text.set_name, names))
    return f"{selection.combine} of {which}"


def own_mask(selection: Selection, name: str) -> Selection:
    """The same q, p and scope for one set alone.

    A set of harmless text has no contrastive form: it is what is subtracted.
    """
    contrast = "none" if name in BASELINE_NAMES else selection.contrast
    return Selection((name,), q=selection.q, p=selection.p, scope=selection.scope, contrast=contrast)


def pair_label(selection: Selection, known: Sequence[str]) -> str:
    """``hate, contrastive``"""
    return f"{mask_label(selection, known)}, {selector_words(selection.contrast).short}"


def lines(sentences: Sequence[str], scale: float, width: int = 126) -> str:
    """Sentences as a subtitle, escaped, broken where a full chart ends, never between a number and its sign."""
    kept = [re.sub(r"(?<=\d) (?=[%×·])|(?<=n) (?==)|(?<==) (?=\d)", "\u00a0", s) for s in sentences]
    return "<br>".join(escape(line, quote=False) for s in kept for line in wrap(s, round(width / scale)))


_READ = (
    "A cell is one module of one layer; its colour is the density, selected weights per million of its own weights. "
)


def size_of_mask(n_weights: int, model: Mapping[str, Any]) -> str:
    """``0.005 % · 5,308 weights of the scored (0.0039 % of all parameters)``"""
    scored = text.fraction_of(n_weights, model["n_scored_weights"])
    return f"{scored} ({text.percent(n_weights / model['n_parameters'])} of all parameters)"


def where(cell: Mapping[str, Any] | pd.Series) -> str:
    """``layer 12 down_proj``"""
    return f"layer {cell['layer']} {cell['module']}"


def mask_words(
    cells: pd.DataFrame,
    grid: Grid,
    selection: Selection,
    known: Sequence[str],
    manifest: Mapping[str, Any],
    scale: float,
) -> Words:
    """Words of the map of one mask: how concentrated it is, beside a random mask of equal size."""
    n = int(cells["count"].sum())
    prompts = scoring_prompts(manifest["data"]["counts"], selection.categories)
    settings = (
        f"{size_of_mask(n, manifest['model'])} · {pair_label(selection, known)}, p {text.percent(selection.p)} · "
        f"n = {prompts} prompts"
    )
    if n == 0:
        return Words(
            "This mask is empty", lines([settings], scale), "No weight is selected with these settings.", "An empty map"
        )
    top, half = densest(cells), cells_holding_half(cells["count"].to_numpy())
    chance = reference(tuple(map(int, cells["size"])), n)
    by_module = cells.groupby("module", sort=False)["count"].sum()
    in_module = f"{100 * by_module.max() / n:.0f} % in {by_module.idxmax()}"
    title = f"Half of them lie in {half} of {len(cells)} {grid.noun}, {in_module}"
    if selection.scope == "matrix":
        title = f"Every matrix gives the same fraction: a map that is level by design ({len(cells)} {grid.noun})"
    against = (
        f"densest: {where(top)}, {top['density']:.0f} per million, {top['times_uniform']:.1f} × uniform · "
        f"control at random: half in {chance.half}, densest {chance.peak:.1f} × (95 % below {chance.peak_high:.1f} ×)"
    )
    return Words(
        escape(title, quote=False),
        lines([settings, against], scale),
        _READ + "Believe a cell that is well above what random draws reach; small modules vary most by chance.",
        f"Heatmap of density by layer and module. {title}. Densest: {where(top)}.",
    )


def _span(numbers: Sequence[int]) -> str:
    """``5,308``, or ``12 to 25`` where they differ."""
    low, high = min(numbers), max(numbers)
    return text.count(low) if low == high else f"{text.count(low)} to {text.count(high)}"


def type_words(
    maps: Mapping[str, pd.DataFrame], grid: Grid, selection: Selection, manifest: Mapping[str, Any], scale: float
) -> Words:
    """Words of the maps of all harm types on one scale."""
    peaks = pd.Series([where(densest(cells)) for cells in maps.values() if cells["count"].sum()])
    if peaks.empty:
        title = "No weight is selected with these settings"
    elif (most := peaks.value_counts()).iloc[0] > 1:
        title = f"{most.iloc[0]} of {len(maps)} types are densest in the same place: {most.index[0]}"
    else:
        title = f"The {len(maps)} types are densest in {len(most)} different {grid.noun}"
    sizes = sorted({int(cells["count"].sum()) for cells in maps.values()})
    counted = _span(sizes)
    prompts = _span([scoring_prompts(manifest["data"]["counts"], [c]) for c in maps])
    total = int(next(iter(maps.values()))["size"].sum())
    first = next(iter(maps.values()))
    chance = reference(tuple(map(int, first["size"])), sizes[-1])
    settings = (
        f"each type's own mask, {text.percent(sizes[-1] / total)} · {counted} weights · "
        f"{selector_words(selection.contrast).short}, p {text.percent(selection.p)} · n = {prompts} prompts a type · "
        "per million, one scale"
    )
    against = (
        "controls: masks of harmless and of safe text, as in the paper; as many weights drawn at random: densest "
        f"{1e6 * chance.peak * sizes[-1] / total:.0f} per million"
    )
    return Words(
        escape(title, quote=False),
        lines([settings, against], scale),
        _READ
        + "Equal colour means equal density in every map. The same matrix does not mean the same weights: see Overlap.",
        f"One heatmap of density by layer and module for each of {len(maps)} harm types. {title}.",
    )


def pair_words(
    selections: tuple[Selection, Selection],
    maps: tuple[pd.DataFrame, pd.DataFrame],
    grid: Grid,
    known: Sequence[str],
    manifest: Mapping[str, Any],
    scale: float,
) -> Words:
    """Words of two maps on one scale and their difference."""
    names = [pair_label(s, known) for s in selections]
    prompts = [scoring_prompts(manifest["data"]["counts"], s.categories) for s in selections]
    a, b = maps
    sizes = int(a["count"].sum()), int(b["count"].sum())
    alike = same_place(a, b)
    title = (
        f"{100 * alike:.0f} % of the two masks lie in the same {grid.noun}"
        if all(sizes)
        else "One of the two masks is empty"
    )
    sentences = [
        f"{text.count(sizes[0])} and {text.count(sizes[1])} weights · p {text.percent(selections[0].p)} · "
        f"n = {prompts[0]} and {prompts[1]} prompts · per million, one scale"
    ]
    if all(sizes):
        chance = reference(tuple(map(int, a["size"])), sizes[0], sizes[1]).same_place
        sentences.append(f"control, two random masks of these sizes: {100 * chance:.0f} %")
    return Words(
        title,
        lines(sentences, scale),
        _READ + "Below, the difference: vermilion where the first is denser, blue where the second is. "
        "The same matrix does not mean the same weights: see Overlap.",
        f"Heatmaps of density by layer and module of {names[0]} and of {names[1]}, and their difference. {title}.",
    )

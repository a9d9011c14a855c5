"""The numbers and words of one matrix: its pooled harm scores, the selected points, and which units hold most of them.

Rows of the picture are output units, columns input units, whatever order the model stores. Pure functions; nothing
here draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Literal, get_args

import numpy as np
import pandas as pd

from harmviz.claims.mapping.views.harm_map import lines, pair_label, scoring_prompts, set_label, where
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.words import Words
from harmviz.errors import RunIncompatible
from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection
from harmviz.models.weights import WeightMatrix

Pooling = Literal["peak", "mean"]
Side = Literal["output", "input"]
SIDES: tuple[Side, ...] = get_args(Side)
#: As many points as a browser draws and answers for without delay; counts, sides and tables hold all.
DRAWN = 4000
DRAWS = 100
#: Scores are shown in millionths of a nat per token.
MICRO = 1e6


@dataclass(frozen=True, eq=False)
class MatrixView:
    """One matrix, ready to draw.

    ``tiles``: pooled harm score, millionths of a nat, block by block; ``out_edges``, ``in_edges``: where blocks begin
    and end. ``points``: ``output``, ``input``, ``utility_top`` (fraction), ``rank_score``, and a column of harm scores
    for each set. ``out_side``, ``in_side``: ``start``, ``stop``, ``count``, ``selected`` and ``mass`` (shares of this
    matrix).
    """

    matrix: WeightMatrix
    pooling: Pooling
    tiles: np.ndarray
    out_edges: np.ndarray
    in_edges: np.ndarray
    points: pd.DataFrame
    out_side: pd.DataFrame
    in_side: pd.DataFrame
    sets: tuple[str, ...]

    @property
    def drawn(self) -> pd.DataFrame:
        """The points of highest score, at most ``DRAWN``."""
        return self.points.nlargest(DRAWN, "rank_score") if len(self.points) > DRAWN else self.points


def edges(size: int, bins: int) -> np.ndarray:
    """Where the stored blocks of a side begin, and where the last ends (as ``maps`` pools: nearly equal blocks)."""
    n = min(bins, size)
    return np.append((np.arange(n) * size) // n, size)


def sides(matrix: WeightMatrix) -> tuple[int, int]:
    """(output units, input units)."""
    return (matrix.cols, matrix.rows) if matrix.transposed else (matrix.rows, matrix.cols)


def points(candidates: Candidates, selection: Selection, index: int, selected: np.ndarray) -> pd.DataFrame:
    """The selected weights (global indices) that lie in matrix ``index``, with every stored set's harm score."""
    span = candidates.table.span(index)
    inside = selected[(selected >= span.start) & (selected < span.stop)]
    rows = np.searchsorted(candidates.global_index, inside)
    output, source = candidates.table[index].out_in(inside - span.start)
    scores = {name: candidates.scores[name][rows] * MICRO for name in (*candidates.categories, *candidates.baselines)}
    parts = [candidates.score(c, selection.contrast, rows) for c in selection.categories]
    return pd.DataFrame(
        {
            "output": output,
            "input": source,
            "utility_top": candidates.tail_count[rows] / candidates.table.n_weights,
            "rank_score": np.mean(parts, axis=0, dtype=np.float64) * MICRO,
            **scores,
        }
    )


def view(
    candidates: Candidates,
    maps: Mapping[str, np.ndarray],
    selection: Selection,
    index: int,
    selected: np.ndarray,
    pooling: Pooling,
) -> MatrixView:
    """Everything drawn of matrix ``index``.

    ``pooling``: the largest score of any chosen type in a block, or the mean of the types' mean scores (exact, since
    means of means over equal blocks are).

    Raises:
        RunIncompatible: the run's maps lack a chosen set.
    """
    matrix = candidates.table[index]
    n_out, n_in = sides(matrix)
    kind = "tile_max" if pooling == "peak" else "tile_mean"
    tiles = np.stack([_entry(maps, name, kind, index) for name in selection.categories]).astype(np.float64)
    pooled = tiles.max(axis=0) if pooling == "peak" else tiles.mean(axis=0)
    inside = points(candidates, selection, index, selected)
    bins = pooled.shape[0], pooled.shape[1]
    out_mass, in_mass = (
        [_entry(maps, name, entry, index) for name in selection.categories] for entry in ("out_mass", "in_mass")
    )
    return MatrixView(
        matrix,
        pooling,
        pooled[: min(bins[0], n_out), : min(bins[1], n_in)] * MICRO,
        edges(n_out, bins[0]),
        edges(n_in, bins[1]),
        inside,
        _side(inside["output"].to_numpy(), n_out, out_mass),
        _side(inside["input"].to_numpy(), n_in, in_mass),
        (*candidates.categories, *candidates.baselines),
    )


def _entry(maps: Mapping[str, np.ndarray], name: str, entry: str, index: int) -> np.ndarray:
    """One stored map of one set and matrix."""
    key = f"{name}/{entry}"
    if key not in maps or index >= len(maps[key]):
        raise RunIncompatible(f"this run's maps hold no {key} for matrix {index}; compute the run again")
    return maps[key][index]


def _side(units: np.ndarray, size: int, masses: Sequence[np.ndarray]) -> pd.DataFrame:
    """Bins of one side: selected weights (count, share) and the chosen types' positive harm score (share)."""
    mass = np.stack(masses).astype(np.float64).mean(axis=0)
    limits = edges(size, len(mass))
    mass = mass[: len(limits) - 1]
    count = np.histogram(units, bins=limits)[0] if len(units) else np.zeros(len(limits) - 1, dtype=np.int64)
    return pd.DataFrame(
        {
            "start": limits[:-1],
            "stop": limits[1:] - 1,
            "count": count,
            "selected": count / max(1, count.sum()),
            "mass": mass / (mass.sum() or 1.0),
        }
    )


def top_units(points: pd.DataFrame, side: Side, n: int = 5) -> pd.DataFrame:
    """The units with most selected weights, most first: ``unit, count, share, score`` (sum of the ranking score)."""
    grouped = points.groupby(side)["rank_score"].agg(count="count", score="sum").reset_index(names="unit")
    ordered = grouped.sort_values(["count", "score", "unit"], ascending=[False, False, True]).head(n)
    shares = ordered.assign(share=ordered["count"] / max(1, len(points)))
    return shares[["unit", "count", "share", "score"]].reset_index(drop=True)


@lru_cache(maxsize=256)
def fullest_by_chance(n: int, size: int) -> int:
    """How many of n randomly placed weights the fullest of ``size`` units holds: 95th percentile of 100 draws."""
    if n == 0:
        return 0
    rng = np.random.default_rng(0)
    fullest = [np.bincount(rng.integers(0, size, n)).max() for _ in range(DRAWS)]
    return int(np.quantile(fullest, 0.95, method="higher"))


def matrix_words(
    shown: MatrixView,
    selection: Selection,
    known: Sequence[str],
    counts: Mapping[str, Mapping[str, int]],
    scale: float,
) -> Words:
    """Words of the picture of one matrix."""
    n = len(shown.points)
    place = where({"layer": shown.matrix.layer, "module": shown.matrix.module_kind})
    title = f"{place}: {text.count(n)} of {text.count(shown.matrix.size)} weights selected"
    many = len(selection.categories) > 1
    pooled = {
        "peak": "largest harm score of any chosen type" if many else "largest harm score",
        "mean": "mean of the types’ harm scores (signed)" if many else "mean harm score (signed)",
    }[shown.pooling]
    guard = "before the contrast, " if selection.contrast == "both" else ""
    prompts = scoring_prompts(counts, selection.categories)
    sentences = [
        f"{shown.matrix.name} · points: selected weights · {pair_label(selection, known)} · n = {prompts} prompts",
        f"blocks: {pooled}, {guard}protected weights too · sides: share of the selected weights (bars) and of all "
        "positive harm score (line, control)",
    ]
    if len(shown.drawn) < n:
        drawn = text.count(len(shown.drawn))
        sentences.append(f"the {drawn} points of highest score are drawn; sides and tables count all {text.count(n)}")
    return Words(
        escape(title, quote=False),
        lines(sentences, scale),
        "A row is an output unit, a column an input unit. Points in a line share a unit. Bars above the line: the "
        "selected weights gather there more than positive harm score does in general. Blocks are pooled from the whole "
        "matrix.",
        f"Pooled harm scores of {shown.matrix.name} with {n} selected weights as points and their share by input and "
        "output unit.",
    )


def units_table(shown: MatrixView, side: Side) -> str:
    """The units with most selected weights as HTML, beside what random placement reaches."""
    size = sides(shown.matrix)[0 if side == "output" else 1]
    top, n = top_units(shown.points, side), len(shown.points)
    if top.empty:
        return ""
    chance = fullest_by_chance(n, size)
    body = "".join(
        f'<tr><td>{text.count(int(r["unit"]))}</td><td class="value">{text.count(int(r["count"]))}</td>'
        f"<td>{100 * r['share']:.0f} %</td><td>{text.signed(float(r['score']), 1)}</td></tr>"
        for _, r in top.iterrows()
    )
    head = "".join(f"<th>{h}</th>" for h in (f"{side} unit", "selected", "share", "Σ score, 10⁻⁶ nats"))
    note = (
        f"control: in random placements the fullest of the {text.count(size)} {side} units holds at most "
        f"{text.count(chance)} (95 % of {DRAWS} draws)"
    )
    return (
        f'<div class="hv hv-scroll"><b>{side.capitalize()} units with most selected weights</b>'
        f'<table class="hv-rows"><tr>{head}</tr>{body}</table>'
        f'<div class="quiet small">{explained(note)}</div></div>'
    )


def hover_sets(sets: Sequence[str]) -> list[tuple[str, str]]:
    """(column of the points, how the set reads) in a point's hover text."""
    return [(name, set_label(name).replace(" (control)", "")) for name in sets]

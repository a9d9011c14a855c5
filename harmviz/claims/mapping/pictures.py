"""Effects, map, overlap, transfer and concentration of a map run, for the masks that it chose itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from harmviz.claims.mapping.figures import intersections as intersection_figures
from harmviz.claims.mapping.figures import overlap as overlap_figures
from harmviz.claims.mapping.figures import transfer as transfer_figures
from harmviz.claims.mapping.figures.harm_map import Panel, layer_maps
from harmviz.claims.mapping.headline import CHOSEN
from harmviz.claims.mapping.views import (
    concentration,
    harm_map,
    intersections,
    overlap,
    overlap_words,
    overview,
    transfer,
)
from harmviz.display import text
from harmviz.display.effects import effect_dots
from harmviz.display.picture import Picture
from harmviz.display.style import BENIGN, Theme, category_colour
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection
from harmviz.runs import Run
from harmviz.runs.point import selector_words


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    results = run.results()
    yield from _effects(run, results, theme)
    yield from chosen_maps(run, theme)
    yield from _overlap(run, results, theme)
    yield from _transfer(run, results, theme)
    points = concentration.concentration(results)
    if points["comparable"].any():
        harm = [c for c in dict.fromkeys(points["category"]) if text.is_harm(c)]
        colours = concentration.colours(points, {c: category_colour(c, harm) for c in harm}, other=BENIGN)
        words = concentration.concentration_words(points)
        figure = transfer_figures.lorenz_curves(points, colours, theme, title=words.title, subtitle=words.subtitle)
        yield Picture("overlap-concentration", figure, points, words)


def limits(run: Run) -> list[str]:
    return overview.limit_lines(run, run.results())


def _effects(run: Run, results: pd.DataFrame, theme: Theme) -> Iterator[Picture]:
    tables = overview.effect_tables(run, results)
    x_range = overview.shared_range(list(tables.values()))
    for contrast, table in tables.items():
        words = overview.effect_words(run, table, contrast)
        figure = effect_dots(table, theme, title=words.title, subtitle=words.subtitle, x_range=x_range)
        yield Picture(f"effect-{contrast}", figure, table, words)


def chosen_maps(run: Run, theme: Theme) -> Iterator[Picture]:
    """Where each chosen mask sits, as it is stored with the run."""
    grid, masks = harm_map.grid(run.table), run.masks()
    for contrast in CHOSEN:
        path = masks.get(f"headline-{selector_words(contrast).state}")
        if path is None:
            continue
        mask = PruneMask.load(path)
        if not mask.n_weights or mask.point is None:
            continue
        types = tuple(mask.provenance["categories"])
        selection = Selection(types, q=mask.point.q, p=mask.point.p, contrast=contrast)
        counts = np.array([len(mask.indices.get(m.name, ())) for m in run.table], dtype=np.int64)
        cells = harm_map.mapped(grid, counts)
        words = harm_map.mask_words(cells, grid, selection, types, run.manifest, theme.scale)
        panel = Panel(harm_map.mask_label(selection, types), cells)
        figure = layer_maps([panel], theme, title=words.title, subtitle=words.subtitle)
        yield Picture(f"harm-map-{contrast}", figure, cells, words)


def _overlap(run: Run, results: pd.DataFrame, theme: Theme) -> Iterator[Picture]:
    """At the largest stored q: grid, like with like, core."""
    n_scored = run.manifest["model"]["n_scored_weights"]
    for contrast, fractions in overlap.points(results).items():
        shared = overlap.overlap_at(results, contrast, fractions[-1])
        size = text.fraction_of(int(shared.q * n_scored), n_scored)
        table, words = overlap.grid_cells(shared), overlap_words.grid_words(shared, size)
        figure = overlap_figures.jaccard_grid(table, theme, title=words.title, subtitle=words.subtitle)
        yield Picture(f"overlap-jaccard-{contrast}", figure, table, words)
        table, words = overlap.comparison(shared), overlap_words.comparison_words(shared)
        if not table.empty:
            figure = overlap_figures.like_with_like(table, theme, title=words.title, subtitle=words.subtitle)
            yield Picture(f"overlap-like-with-like-{contrast}", figure, table, words)
        if not shared.core.empty:
            words = intersections.core_words(shared, size)
            figure = intersection_figures.core_curve(shared.core, theme, title=words.title, subtitle=words.subtitle)
            yield Picture(f"overlap-core-{contrast}", figure, shared.core, words)


def _transfer(run: Run, results: pd.DataFrame, theme: Theme) -> Iterator[Picture]:
    tables = {c: transfer.shifts(results, c) for c in transfer.selections(results)}
    limit = transfer.colour_limit(list(tables.values())) if tables else 1.0
    for contrast, rows in tables.items():
        if rows.empty:
            continue
        table = transfer.cells(rows, relative=False)
        words = transfer.grid_words(rows, run.manifest["model"]["n_scored_weights"], relative=False)
        figure = transfer_figures.transfer_grid(
            table, theme, title=words.title, subtitle=words.subtitle, limit=limit, unit="nats"
        )
        yield Picture(f"overlap-transfer-{contrast}", figure, table, words)

"""The grid attack × mask and all attacks together, by the measure that the page opens with."""

from __future__ import annotations

from collections.abc import Iterator

from harmviz.claims.jailbreak import figures, setup
from harmviz.claims.jailbreak.finding import grid_of, grid_words
from harmviz.claims.jailbreak.tables import HIDDEN, cells, dots, dots_words, panel_names
from harmviz.claims.pictures import Picture
from harmviz.display.style import Theme
from harmviz.runs import Run


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    grid = grid_of(run, run.results())
    metric = next(iter(grid.metrics()), None)
    if metric is None:
        return
    table, words = cells(grid, setup.attack_names(run), metric, "rates"), grid_words(grid, metric, "rates")
    panels = panel_names(table)
    figure = figures.attack_grid(table, theme, title=words.title, subtitle=words.subtitle, panels=panels)
    yield Picture("jailbreak-grid", figure, table.drop(columns=list(HIDDEN)), words)
    table, words = dots(grid, metric), dots_words(metric)
    if not table.empty:
        figure = figures.pooled_rates(table, theme, title=words.title, subtitle=words.subtitle)
        yield Picture("jailbreak-pooled", figure, table, words)

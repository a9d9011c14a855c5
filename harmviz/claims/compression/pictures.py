"""Separability along the checkpoints, loss shifts over q, and what harm types share, for each stored selection."""

from __future__ import annotations

from collections.abc import Iterator

from harmviz.claims.compression import figures
from harmviz.claims.compression.stored import read_result, selections
from harmviz.claims.compression.views.curves import curve_words, curves, levels
from harmviz.claims.compression.views.ladder import ladder, ladder_words
from harmviz.claims.compression.views.overlap import overlap, overlap_words
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.runs import Run


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    results = run.results()
    for contrast in selections(results):
        result = read_result(run, results, contrast)
        (rows, seeds), words = ladder(result, "separability"), ladder_words(result, "separability")
        drawn = {"title": words.title, "subtitle": words.subtitle}
        figure = figures.ladder_chart(rows, seeds, theme, **drawn, y_title="separability, nats per token")
        yield Picture(f"compression-ladder-{contrast}", figure, rows, words)
        table, words = curves(result, "specific"), curve_words(result, "specific")
        drawn, lines = {"title": words.title, "subtitle": words.subtitle}, levels(result, "specific")
        figure = figures.shift_curves(table, theme, **drawn, y_title="ΔL, nats per token", levels=lines)
        yield Picture(f"compression-curves-{contrast}", figure, table, words)
        table, words = overlap(result), overlap_words(result)
        figure = figures.overlap_ladder(table, theme, title=words.title, subtitle=words.subtitle)
        yield Picture(f"compression-overlap-{contrast}", figure, table, words)

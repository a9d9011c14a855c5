"""Each selection: differences at fixed fractions, the index under a limit, loss shifts over q, what types share."""

from __future__ import annotations

from collections.abc import Iterator

from harmviz.claims.compression import figures, stable_figures
from harmviz.claims.compression.fixed_difference import FixedResult
from harmviz.claims.compression.stored import read_result, selections
from harmviz.claims.compression.views.curves import curve_words, curves, levels
from harmviz.claims.compression.views.fixed import fixed_rows, fixed_words, limit_rows, limit_words
from harmviz.claims.compression.views.ladder import ladder, ladder_words
from harmviz.claims.compression.views.overlap import overlap, overlap_words
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.runs import Run


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    results = run.results()
    for contrast in selections(results):
        result = read_result(run, results, contrast)
        fixed = FixedResult(result)
        (rows, seeds), words = fixed_rows(fixed), fixed_words(fixed)
        if not rows.empty:
            drawn = {"title": words.title, "subtitle": words.subtitle}
            figure = stable_figures.fixed_chart(rows, seeds, theme, **drawn)
            yield Picture(f"compression-fixed-{contrast}", figure, rows, words)
        (rows, seeds), words = ladder(result, "separability"), ladder_words(result, "separability")
        drawn = {"title": words.title, "subtitle": words.subtitle}
        figure = figures.ladder_chart(rows, seeds, theme, **drawn, y_title="separability, nats per token")
        yield Picture(f"compression-ladder-{contrast}", figure, rows, words)
        rows, seeds = limit_rows(result)
        if not rows.empty:
            words = limit_words(result, rows)
            drawn = {"title": words.title, "subtitle": words.subtitle}
            figure = stable_figures.limit_curve(rows, seeds, theme, **drawn, used=result.limit)
            yield Picture(f"compression-limits-{contrast}", figure, rows, words)
        table, words = curves(result, "specific"), curve_words(result, "specific")
        drawn, lines = {"title": words.title, "subtitle": words.subtitle}, levels(result, "specific")
        figure = figures.shift_curves(table, theme, **drawn, y_title="ΔL, nats per token", levels=lines)
        yield Picture(f"compression-curves-{contrast}", figure, table, words)
        table, words = overlap(result), overlap_words(result)
        figure = figures.overlap_ladder(table, theme, title=words.title, subtitle=words.subtitle)
        yield Picture(f"compression-overlap-{contrast}", figure, table, words)

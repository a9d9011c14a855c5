"""Shifts by arm, kind of question and dose, how each arm learned, and on which weights the change falls."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harmviz.claims.emergent import details, figures, stored, training_curve, views
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.runs import Run


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    result = stored.emergent(run, run.results())
    for view, unit in stored.UNITS.items():
        (arms, seeds), words = views.shifts(result, view), views.main_words(result, view)
        figure = figures.arms_chart(arms, seeds, theme, title=words.title, subtitle=words.subtitle, x_title=unit)
        yield Picture(f"emergent-arms-{view}", figure, _with_seeds(arms, seeds), words)
    table, words = views.kinds(result), views.kinds_words(result)
    figure = figures.kinds_grid(table, theme, title=words.title, subtitle=words.subtitle)
    yield Picture("emergent-kinds", figure, table.drop(columns=["note", "text", "last"]), words)
    if len(table := views.doses(result)) >= 2:
        words, unpruned = views.dose_words(result), views.unpruned(result)
        figure = figures.dose_chart(table, theme, title=words.title, subtitle=words.subtitle, unpruned=unpruned)
        yield Picture("emergent-dose", figure, table.drop(columns="note"), words)
    if not (table := training_curve.curves(training_curve.stored_points(run))).empty:
        words = training_curve.curve_words(table)
        figure = figures.training_curves(table, theme, title=words.title, subtitle=words.subtitle)
        yield Picture("emergent-curve", figure, table.drop(columns=["note", "role"]), words)
    marks, seeds = details.changes(result, "change_share")
    if not marks.empty:
        words = details.change_words(result, "change_share")
        figure = figures.change_chart(marks, seeds, theme, title=words.title, subtitle=words.subtitle)
        yield Picture("emergent-change", figure, _with_seeds(marks, seeds), words)


def _with_seeds(marks: pd.DataFrame, seeds: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([marks.assign(seed=None), seeds], ignore_index=True).drop(columns=["note", "role"])

"""The two masks beside each other, then every ability in its own unit; with the masks at full strength."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmviz.claims.dissociation import details, figures, picture
from harmviz.claims.dissociation.stored import HARM, Stored
from harmviz.display.effects import effect_dots
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.display.words import Words
from harmviz.runs import Run


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    results = Stored(run.results())
    for contrast in reversed(results.contrasts):
        table, words = picture.points(results, contrast, HARM), picture.words(run, results, contrast, HARM)
        figure = figures.double_dissociation(
            table,
            theme,
            title=words.title,
            subtitle=words.subtitle,
            panels=picture.panels(run, results, contrast, HARM),
            x_range=picture.x_range(results),
        )
        yield Picture(f"dissociation-picture-{contrast}", figure, table.drop(columns="note"), words)
        yield from _details(run, results, contrast, theme)


def _details(run: Run, results: Stored, contrast: str, theme: Theme) -> Iterator[Picture]:
    rate, odds = details.refusal_words(results, contrast, HARM)
    whole: dict[str, Any] = {"unit": "AUC", "x_range": (0.0, 1.0), "reference": 0.5}
    share: dict[str, Any] = {"unit": "share of answers", "x_range": (-0.02, 1.02)}
    nats: dict[str, Any] = {"unit": "log-odds, nats", "x_range": None}
    recognition = details.recognition_words(results, contrast, HARM)
    charts: list[tuple[str, Words, Any, dict[str, Any]]] = [
        ("recognition", recognition, details.recognition_rows(run, results), whole),
        ("rate", rate, details.RATE, share),
        ("odds", odds, details.ODDS, nats),
    ]
    for key, words, rows, scale in charts:
        table = details.level_points(results, contrast, HARM, rows)
        figure = figures.levels(table, theme, title=words.title, subtitle=words.subtitle, **scale)
        yield Picture(f"dissociation-{key}-{contrast}", figure, table.drop(columns="note"), words)
    table, words = details.loss_rows(results, contrast, HARM), details.loss_words(results, contrast, HARM)
    figure = effect_dots(table, theme, title=words.title, subtitle=words.subtitle.replace("\n", "<br>"))
    yield Picture(f"dissociation-losses-{contrast}", figure, table, words)

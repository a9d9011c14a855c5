"""How often each set of requests is declined, asked directly and with the answer opened."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harmviz.claims.scene.figures import rate_dots
from harmviz.claims.scene.finding import set_name
from harmviz.claims.scene.reading import TURNED_AWAY, reading_of
from harmviz.display.labels import headings
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.display.words import Words
from harmviz.runs import Run

_HOW = {"opener": "answer opened", "direct": "asked directly"}


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    table = rates(run)
    if table.empty:
        return
    reading = reading_of(run.results())
    title, below = headings(
        "Does it turn them away again?" if reading is TURNED_AWAY else "Does it decline again?",
        f"Share of requests, {reading.how}, 95 % intervals over requests. The random control has as many weights in "
        "the same matrices.",
        theme,
    )
    how_to_read = (
        "A finding needs the vermilion dot to the right of the black and of the grey one where the answer was opened, "
        "and all three together for harmless requests."
    )
    words = Words(
        title, below, how_to_read, f"Dot plot of rates {reading.past}, by set of requests and state of the model"
    )
    yield Picture(
        "scene-rates", rate_dots(table, theme, title=title, subtitle=below, counted=reading.short), table, words
    )


def rates(run: Run) -> pd.DataFrame:
    """``label, state, value, ci_low, ci_high, n``: a line a set, way of asking and state that was measured."""
    rows = run.results()
    rows = rows[(rows["metric"] == reading_of(rows).rate) & rows["value"].notna() & rows["condition"].isin(list(_HOW))]
    states = rows["control"].map({"none": "mask", "random": "random"}).where(rows["mask"].notna(), "intact")
    names = rows["category"].map(lambda name: set_name(run, str(name)))
    table = rows.assign(state=states, label=names + ", " + rows["condition"].map(_HOW)).dropna(subset=["state"])
    return table[["label", "state", "value", "ci_low", "ci_high", "n"]].reset_index(drop=True)

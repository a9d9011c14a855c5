"""The grid attack × mask and all attacks together: the numbers behind each picture, and the picture itself.

The page asks for a measure and a view; a report draws those that the page opens with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from harmviz.claims.jailbreak import figures
from harmviz.claims.jailbreak.finding import (
    CONTROLS,
    GROUPS,
    REFUSALS,
    VIEWS,
    Grid,
    counts_refusals,
    grid_of,
    grid_words,
    metric_name,
)
from harmviz.claims.jailbreak.setup import attack_names
from harmviz.display import text
from harmviz.display.picture import Picture
from harmviz.display.rates import percent, reads, side_of_zero
from harmviz.display.style import Theme
from harmviz.display.words import Words
from harmviz.runs import Run

PANELS = {"harm": "Harmful requests: {}", "benign": "Benign requests: {}"}
POOLED = "all attacks"
#: Columns of ``cells`` that say how a cell is drawn, and no number.
HIDDEN = ("note", "colours", "limit", "last")


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    """The grid and the pooled rates by the run's first measure."""
    grid = grid_of(run, run.results())
    metric = next(iter(grid.metrics()), None)
    if metric is None:
        return
    yield attack_grid(grid, attack_names(run), metric, "rates", theme)
    if pooled := pooled_rates(grid, metric, theme):
        yield pooled


def attack_grid(grid: Grid, names: Mapping[str, str], metric: str, view: str, theme: Theme) -> Picture:
    """Every attack under every mask, refusals of benign requests beside it; ``names``: attack → its name."""
    table, words = cells(grid, names, metric, view), grid_words(grid, metric, view)
    panels = panel_names(table)
    figure = figures.attack_grid(table, theme, title=words.title, subtitle=words.subtitle, panels=panels)
    return Picture("jailbreak-grid", figure, table.drop(columns=list(HIDDEN)), words)


def pooled_rates(grid: Grid, metric: str, theme: Theme) -> Picture | None:
    """All attacks in one line a mask; None where none was measured."""
    table, words = dots(grid, metric), dots_words(metric)
    if table.empty:
        return None
    figure = figures.pooled_rates(table, theme, title=words.title, subtitle=words.subtitle)
    return Picture("jailbreak-pooled", figure, table, words)


def panel_names(table: pd.DataFrame) -> dict[str, str]:
    """Panel → its heading, of those that the table has cells of."""
    shown = {p: str(table[table["panel"] == p]["metric"].iloc[0]) for p in PANELS if (table["panel"] == p).any()}
    return {p: PANELS[p].format(metric_name(m)) for p, m in shown.items()}


def cells(grid: Grid, names: Mapping[str, str], metric: str, view: str) -> pd.DataFrame:
    """One line per cell, as ``figures.attack_grid`` takes it: harmful requests, then refusals of benign ones."""
    benign = metric if counts_refusals(metric) else REFUSALS
    table = pd.DataFrame(
        [
            _cell(grid, names, shown, view, attack, group, panel)
            for panel, shown in (("harm", metric), ("benign", benign))
            for attack in [*grid.attacks, None]
            for group in grid.groups
            if view == "rates" or grid.row(f"{view}_{shown}", group, attack, panel) is not None
        ],
        columns=_COLUMNS,
    )
    if view == "rates" or not table["value"].notna().any():
        return table.assign(limit=1.0)
    return table.assign(limit=max(0.1, float(table["value"].abs().max())))


_NUMBERS = ("ci_low", "ci_high", "n", "n_weights")
_LABELS = ("panel", "row", "column", "value", "text", "note", "last", "colours", "metric", "attack", "mask")
_COLUMNS = [*_LABELS, *_NUMBERS, "collapsed"]


def _cell(
    grid: Grid, names: Mapping[str, str], metric: str, view: str, attack: str | None, group: str, panel: str
) -> dict[str, Any]:
    difference = view != "rates"
    row = grid.row(f"{view}_{metric}" if difference else metric, group, attack, panel)
    collapsed = grid.value("collapsed", group, attack, panel) == 1.0
    name = POOLED if attack is None else names.get(attack, attack)
    if row is None:
        number = "–"
    elif not difference:
        number = percent(row["value"])
    else:
        number = text.signed(100 * row["value"], 0)
        number = number if side_of_zero(row) else f"({number})"
    if difference:
        colours = "reversed" if counts_refusals(metric) else "signed"
    else:
        colours = "benign" if panel == "benign" else "ink" if counts_refusals(metric) else "harm"
    lines = [f"{name}, {GROUPS[group]}", *_note(grid, row, metric, view, attack, group, panel)]
    if collapsed:
        lines.append("collapsed: gibberish is not safety")
    return {
        "panel": panel,
        "row": name,
        "column": GROUPS[group],
        "value": math.nan if row is None else float(row["value"]),
        "text": number + ("†" if collapsed else ""),
        "note": "\n".join(lines),
        "last": attack is None,
        "colours": colours,
        "metric": metric,
        "attack": attack,
        "mask": group,
        **{column: None if row is None else row[column] for column in _NUMBERS},
        "collapsed": collapsed,
    }


def _note(
    grid: Grid, row: dict[str, Any] | None, metric: str, view: str, attack: str | None, group: str, panel: str
) -> list[str]:
    """The lines below a cell's name on hover."""
    kind = "harmful" if panel == "harm" else "benign"
    beside = "" if view == "rates" else f", {VIEWS[view]}"
    lines = [f"{kind} requests, {metric_name(metric)}{beside}"]
    lines.append("unscored" if row is None else reads(row, difference=view != "rates"))
    drawn = grid.row(metric, "random", attack, panel)
    if view == "rates" and group not in ("intact", *CONTROLS) and drawn is not None:
        lines.append(f"random mask of equal size: {reads(drawn)}")
    if (repetition := grid.value("repetition", group, attack, panel)) is not None:
        lines.append(f"repetition {repetition:.2f}")
    return lines


def dots(grid: Grid, metric: str) -> pd.DataFrame:
    """One line per mask and kind, as ``figures.pooled_rates`` takes it."""
    benign = metric if counts_refusals(metric) else REFUSALS
    bare = [] if grid.bare is None else [("direct", metric, grid.bare, "harm")]
    kinds = [*bare, ("attacks", metric, None, "harm"), ("benign", benign, None, "benign")]
    lines = []
    for group in grid.groups:
        for kind, name, attack, category in kinds:
            if (row := grid.row(name, group, attack, category)) is not None:
                about = {"label": GROUPS[group], "kind": kind, "control": group in CONTROLS, "metric": name}
                lines.append({**about, **{column: row[column] for column in ("value", *_NUMBERS)}})
    return pd.DataFrame(lines, columns=["label", "kind", "control", "metric", "value", *_NUMBERS])


def dots_words(metric: str) -> Words:
    benign = "" if counts_refusals(metric) else "; benign ones: refused, by keywords"
    return Words(
        "All attacks together",
        f"Harmful requests: {metric_name(metric)}{benign}.\n"
        "Share of requests, 95 % intervals over requests. Diamonds: controls.",
        "Ring: the bare request. Dot: the same requests under all attacks together. Jailbreaks work where ring and dot "
        "lie far apart; a mask resists where its dot moves towards safety and the diamonds stay. Blue: benign "
        "requests under the same attacks; they should not move. Intervals say how requests vary, not how other "
        "attacks would.",
        f"Dot plot of pooled rates, {metric_name(metric)}, by state of the model",
    )

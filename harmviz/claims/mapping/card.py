"""A map run on the card that lists of runs show: the loss shifts it measured, as HTML. Pure functions.

Every text that comes from a file is escaped: manifests may have been imported from elsewhere.
"""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from harmviz.claims.mapping.headline import Headline, first_headline, headline
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import MEAN_OF_ALL, selector_words

_COLOURS = {"harm": "var(--hv-harm)", "benign": "var(--hv-benign)"}
_QUESTION = "How much does the loss rise when these weights are zeroed?"
_HEADINGS = ("measured on", "", "ΔL, nats", "95 % interval", "n", "random mask")
_KEY = (("var(--hv-harm)", "harmful responses"), ("var(--hv-benign)", "harmless responses"))
_RING = '<span><i style="border:2px solid var(--hv-control)"></i>random mask of the same size, mean</span>'


def line(run: Run, results: pd.DataFrame) -> str:
    """What zeroing the run's mask does to harmful and to harmless text, with interval and n: one line.

    At the point that the run chose, else at the unchosen one.
    """
    shown = first_headline(run, results)
    means = (
        {}
        if shown is None
        else {str(r["category"]): r for _, r in shown.effect.iterrows() if r["category"] in _COLOURS}
    )
    if not means:
        return '<span class="quiet">no effect measured</span>'
    effects = "".join(_mean_effect(means[name], colour) for name, colour in _COLOURS.items() if name in means)
    first = next(iter(means.values()))
    n_scored = run.manifest["model"]["n_scored_weights"]
    size = "" if pd.isna(first["n_weights"]) else text.fraction_of(int(first["n_weights"]), n_scored)
    return f'{effects}<span class="quiet">{escape(size + _ranked(first))}</span>'


def _ranked(row: pd.Series) -> str:
    return "" if pd.isna(row["contrast"]) else f", {selector_words(str(row['contrast'])).short}"


def _mean_effect(row: pd.Series, colour: str) -> str:
    n = "" if pd.isna(row["n"]) else f", n = {text.count(int(row['n']))}"
    interval = text.interval(_number(row["ci_low"]), _number(row["ci_high"]))
    return (
        f'<span><i style="background:{colour}"></i>{escape(text.set_name(str(row["category"])))} '
        f'<b>{text.signed(_number(row["value"]))} nats</b> <span class="quiet">{interval}{n}</span></span>'
    )


def effects(run: Run, results: pd.DataFrame) -> str:
    """The loss shift of every measured set at the unchosen point, with interval, n and control: a table with a plot."""
    shown = headline(results)
    if shown is None:
        return '<div class="quiet">No effect has been measured in this run yet.</div>'
    first, n_scored = shown.first, run.manifest["model"]["n_scored_weights"]
    mask = "all categories' mean" if first["mask"] == MEAN_OF_ALL else str(first["mask"])
    size = "" if pd.isna(first["n_weights"]) else text.fraction_of(int(first["n_weights"]), n_scored)
    protected = "" if pd.isna(first["p"]) else f", {text.percent(float(first['p']))} protected"
    what = f"the weights of {mask}: {size}{protected}{_ranked(first)} · held-out prompts, nats per token"
    dots = "".join(f'<span><i style="background:{colour}"></i>{words}</span>' for colour, words in _KEY)
    key = dots + (_RING if shown.random else "<span>no control stored</span>")
    return (
        f'<div class="hv-finding">{_QUESTION}</div><div class="quiet small">{escape(what)}</div>'
        f'{_table(shown)}<div class="hv-key quiet small">{key}</div>'
    )


def _table(shown: Headline) -> str:
    low, high = _axis(shown)
    lines: list[str] = []
    was_harm = True
    for _, row in shown.effect.iterrows():
        category = str(row["category"])
        harm, control = text.is_harm(category), shown.random.get(category)
        cells = [
            f"<td>{escape(text.set_name(category))}</td>",
            f'<td class="plot">{_plot(row, control, low, high)}</td>',
            f'<td class="value">{text.signed(_number(row["value"]))}</td>',
            f"<td>{text.interval(_number(row['ci_low']), _number(row['ci_high']))}</td>",
            f"<td>{'' if pd.isna(row['n']) else text.count(int(row['n']))}</td>",
            f"<td>{text.signed(control)}</td>",
        ]
        first_harmless = was_harm and not harm and lines
        lines.append(f"<tr{' class=break' if first_harmless else ''}>{''.join(cells)}</tr>")
        was_harm = harm
    head = "".join(f'<th class="plot">{h}</th>' if not h else f"<th>{h}</th>" for h in _HEADINGS)
    return (
        f'<div class="hv-scroll"><table class="hv-rows"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _axis(shown: Headline) -> tuple[float, float]:
    columns = shown.effect[["value", "ci_low", "ci_high"]].to_numpy(dtype=float).ravel()
    values = [v for v in (*columns, *shown.random.values(), 0.0) if v == v]
    low, high = min(values), max(values)
    pad = 0.04 * (high - low or 1)
    return low - pad, high + pad


def _plot(row: pd.Series, control: float | None, low: float, high: float) -> str:
    """One line of the dot plot: zero, interval, value, and the random control as an open grey ring."""

    def x(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    kind = "hv-harm" if text.is_harm(row["category"]) else "hv-benign"
    parts = [f'<i class="zero" style="left:{x(0)}"></i>']
    if control is not None:
        parts.append(f'<i class="ring" style="left:{x(control)}"></i>')
    start, end, value = (_number(row[name]) for name in ("ci_low", "ci_high", "value"))
    if start is not None and end is not None:
        parts.append(f'<i class="whisker {kind}" style="left:{x(start)};right:calc(100% - {x(end)})"></i>')
    if value is not None:
        parts.append(f'<i class="dot {kind}" style="left:{x(value)}"></i>')
    return f'<div class="hv-plot" aria-hidden="true">{"".join(parts)}</div>'


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)

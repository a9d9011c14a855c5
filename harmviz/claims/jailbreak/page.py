"""The page: attack × mask. What gets through, and does the pruned model resist? Reads the stored experiment only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from harmviz.claims.jailbreak import figures, setup
from harmviz.claims.jailbreak.answers import panes, requests, transcripts
from harmviz.claims.jailbreak.attacks import given
from harmviz.claims.jailbreak.claim import CLAIM
from harmviz.claims.jailbreak.finding import (
    CONTROLS,
    GROUPS,
    REFUSALS,
    VIEWS,
    Grid,
    counts_refusals,
    finding_lines,
    grid_of,
    grid_words,
    metric_name,
)
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.rates import percent, reads, side_of_zero
from harmviz.display.words import Words
from harmviz.runs import Run
from harmviz.ui import chart, experiments, frame, stored, theme

REQUEST = "jail_request"
PANELS = {"harm": "Harmful requests: {}", "benign": "Benign requests: {}"}
POOLED = "all attacks"
_PAPER = (
    "Surface guardrails stay brittle: jailbreaks pass them. But without the compact set of harm weights, some 0.0005 "
    "to 0.001 % of all parameters, the model resists them (Orgad et al. 2026, on models of 7 to 32 billion parameters)."
)


def show() -> None:
    """The whole page."""
    frame.title(
        CLAIM.question,
        "The same harmful requests in the wrappers of a dozen known jailbreaks, put to the intact model, to the pruned "
        "one and to controls. Benign requests in the same wrappers show what it costs.",
    )
    run = experiments.chosen_or_stop(
        CLAIM.name,
        command=f"python -m harmviz experiment {CLAIM.name} RUN",
        what="This page shows how often each jailbreak is refused by the intact model, under each mask of a run, and "
        "under controls of equal size.",
    )
    with frame.shown_errors():
        grid, names = grid_of(run, stored.results(run)), setup.attack_names(run)
        frame.html(setup.set_up(run))
        if grid.metrics():
            metric, view = _choices(grid)
            _attack_grid(grid, names, metric, view)
            frame.section("The paper's claim, and what was found here")
            frame.html(claim_box(grid))
            _pooled(grid, metric)
        _side_by_side(run, names, grid.groups)
        frame.section("What the judges are worth", "Every rate above rests on one of them.")
        frame.html(setup.judge_notes(run))
        frame.section(
            "The attacks",
            "Wrappers written for this grid after published attacks. They hold no harmful detail of their own.",
        )
        frame.html(setup.attack_list(run))


def _choices(grid: Grid) -> tuple[str, str]:
    """(metric, view) that the reader chose."""
    known = grid.metrics()
    left, right = st.columns([1, 1.4], gap="medium", vertical_alignment="bottom")
    metric = left.selectbox(
        "Measure", list(known), format_func=known.__getitem__, key="jail_metric", bind="query-params"
    )
    view = right.segmented_control(
        "Show",
        list(VIEWS),
        default="rates",
        required=True,
        format_func=VIEWS.__getitem__,
        key="jail_view",
        bind="query-params",
    )
    return metric, view or "rates"


# -- the grid ---------------------------------------------------------------------------------------------------------
def _attack_grid(grid: Grid, names: dict[str, str], metric: str, view: str) -> None:
    """Every attack under every mask, refusals of benign requests beside it."""
    table, words = cells(grid, names, metric, view), grid_words(grid, metric, view)
    shown = {p: str(table[table["panel"] == p]["metric"].iloc[0]) for p in PANELS if (table["panel"] == p).any()}
    panels = {p: PANELS[p].format(metric_name(m)) for p, m in shown.items()}
    figure = figures.attack_grid(table, theme.current(), title=words.title, subtitle=words.subtitle, panels=panels)
    numbers = table.drop(columns=["note", "colours", "limit", "last"])
    chart.draw(figure, key="jailbreak-grid", table=numbers, how_to_read=words.reading, alt=words.alt)


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


# -- all attacks together ---------------------------------------------------------------------------------------------
def claim_box(grid: Grid) -> str:
    """The paper's claim beside what was found, as HTML."""
    lines = finding_lines(grid) or ["Nothing was scored."]
    items = "".join(f"<li>{explained(line)}</li>" for line in lines)
    return (
        '<div class="hv hv-card"><div class="hv-body"><div><b>The claim</b>'
        f'<div>{explained(_PAPER)}</div></div><div><b>Found here</b><ul class="hv-list">{items}</ul></div></div></div>'
    )


def _pooled(grid: Grid, metric: str) -> None:
    """All attacks in one line a mask."""
    table = dots(grid, metric)
    if table.empty:
        return
    words = _dots_words(metric)
    figure = figures.pooled_rates(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key="jailbreak-pooled", table=table, how_to_read=words.reading, alt=words.alt)


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


def _dots_words(metric: str) -> Words:
    benign = "" if counts_refusals(metric) else "; benign ones: refused, by keywords"
    return Words(
        "All attacks together",
        f"Harmful requests: {metric_name(metric)}{benign}.\n"
        "Share of requests, 95 % intervals over requests. Grey: controls.",
        "Ring: the bare request. Dot: the same requests under all attacks together. Jailbreaks work where ring and dot "
        "lie far apart; a mask resists where its dot moves towards safety and the grey dots stay. Blue: benign "
        "requests under the same attacks; they should not move. Intervals say how requests vary, not how other "
        "attacks would.",
        f"Dot plot of pooled rates, {metric_name(metric)}, by state of the model",
    )


# -- answers ----------------------------------------------------------------------------------------------------------
@st.fragment
def _side_by_side(run: Run, names: dict[str, str], masks: list[str]) -> None:
    """Stored answers to one mild request under one attack; a fragment, so that choosing redraws nothing else."""
    frame.section(
        "Answers side by side",
        "To mild requests that ship with harmviz. A few answers are an illustration, no measurement.",
    )
    with frame.shown_errors():
        kept = transcripts(run)
        if not kept:
            frame.html(
                '<div class="hv hv-note">No answers were kept: only those to the mild requests that ship with harmviz '
                "are.</div>"
            )
            return
        attacks, asked = [a for a in names if any(k.attack == a for k in kept)], requests(kept)
        left, right = st.columns([1, 1.6], gap="medium")
        attack = left.selectbox(
            "Attack",
            attacks,
            format_func=names.__getitem__,
            key="jail_attack",
            bind="query-params",
            index=min(1, len(attacks) - 1),
        )
        number = right.selectbox(
            "Request", range(len(asked)), format_func=lambda i: asked[i], key=REQUEST, index=_linked(len(asked))
        )
        # By its number: text of a request does not belong into a URL.
        if number:
            st.query_params[REQUEST] = str(number)
        else:
            st.query_params.pop(REQUEST, None)
        usual = [m for m in ("intact", "guarded" if "guarded" in masks else "contrastive", "random") if m in masks]
        chosen = st.pills(
            "Masks",
            masks,
            selection_mode="multi",
            default=usual,
            format_func=GROUPS.__getitem__,
            key="jail_masks",
            bind="query-params",
        )
        shown = {m: GROUPS[m] for m in masks if m in (chosen or usual)}
        frame.html(panes(kept, attack, asked[number], shown))
        with st.expander("What the model was given"):
            for name, words in given(setup.attack_record(run, attack), asked[number]):
                st.caption(name)
                st.code(words, language=None, wrap_lines=True)


def _linked(n: int) -> int:
    """The request that the link names, or the first."""
    value = st.query_params.get(REQUEST, "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 4 and int(value) < n else 0

"""The course: which steps there are, what each lets the reader move, its picture, and the page behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from harmviz.claims import CLAIMS
from harmviz.claims.mapping.figures.overlap import like_with_like
from harmviz.claims.mapping.headline import CHOSEN
from harmviz.claims.scene.figures import rate_dots
from harmviz.display import text
from harmviz.display.effects import effect_dots
from harmviz.display.style import Theme
from harmviz.learn import evidence, live_steps, method, outcome
from harmviz.learn.figures import control_dots, kept_curve, protection_scatter, score_bars, score_histogram
from harmviz.learn.lesson import Lesson
from harmviz.learn.material import Material
from harmviz.ui.mask_settings import CONTRASTS


@dataclass(frozen=True)
class Step:
    """One step. ``move`` draws the control and tells the lesson at its setting; ``picture`` draws the lesson;
    ``link``: page, label and icon of the way on; ``live`` draws what a loaded model adds, or None.
    """

    key: str
    name: str
    move: Callable[[Material], Lesson]
    picture: Callable[[Lesson, Theme], go.Figure]
    link: tuple[str, str, str]
    live: Callable[[Material], None] | None = None


def _way_to(number: str, label: str) -> tuple[str, str, str]:
    """The link to the first page of the claim that has this number of the paper's."""
    (page, *_) = next(claim.pages for claim in CLAIMS.values() if claim.paper == number)
    return f"pages/{page.file}.py", label, page.icon


def _heads(lesson: Lesson) -> dict[str, str]:
    return {"title": lesson.words.title, "subtitle": lesson.words.subtitle}


# -- what is moved ----------------------------------------------------------------------------------------------------
def _scores(m: Material) -> Lesson:
    offered = method.thresholds(m.bins)
    cut = None
    if len(offered) > 1:
        start = offered[max(0, len(offered) - 7)]
        cut = st.select_slider(
            "Your line: harm score above",
            offered,
            value=start,
            format_func=lambda e: f"{10**e:.1g} nats",
            key="learn_line",
            bind="query-params",
        )
    return method.scores(m.run, m.results, m.bins, None if cut is None else float(cut))


def _weight(m: Material) -> Lesson:
    places = method.places(m.run, m.candidates)
    place = places[0] if places else None
    if len(places) > 1:
        rank = st.select_slider(
            "Weight of the mask, 1 is the strongest",
            [p.rank for p in places],
            key="learn_weight",
            bind="query-params",
        )
        place = next(p for p in places if p.rank == rank)
    return method.weight(m.run, m.results, m.candidates, place)


def _protection(m: Material) -> Lesson:
    protect = st.toggle("Protect what harmless text needs", value=True, key="learn_protect", bind="query-params")
    return method.protection(m.run, m.reported, m.candidates, protect=protect)


def _pruning(m: Material) -> Lesson:
    offered = [] if m.curve.empty else sorted({float(q) for q in m.curve["q"]})
    q = offered[0] if offered else None
    if len(offered) > 1:
        q = float(st.select_slider("Zeroed, q", offered, format_func=text.percent, key="learn_q", bind="query-params"))
    return evidence.pruning(m.run, m.reported, m.curve, q)


def _swap(m: Material) -> Lesson:
    offered = evidence.offered_controls(m.reported, m.contrast)
    control = offered[0] if offered else "none"
    if len(offered) > 1:
        control = (
            st.pills(
                "Which weights are zeroed",
                offered,
                default=offered[0],
                format_func=evidence.CONTROLS.__getitem__,
                required=True,
                wrap=True,
                key="learn_control",
                bind="query-params",
            )
            or offered[0]
        )
    return evidence.swap(m.run, m.reported, control)


def _topic(m: Material) -> Lesson:
    offered = [c for c in reversed(CHOSEN) if m.reported.row(c, "harm") is not None]
    contrast = offered[0] if offered else "none"
    if len(offered) > 1:
        contrast = (
            st.segmented_control(
                "Weights selected",
                offered,
                default=offered[0],
                format_func=lambda c: CONTRASTS[c],
                required=True,
                key="learn_selection",
                bind="query-params",
            )
            or offered[0]
        )
    return evidence.topic(m.run, m.reported, contrast)


def _sharing(m: Material) -> Lesson:
    types = [] if m.shared is None else list(m.shared.categories)
    category = None
    if len(types) > 1:
        category = st.selectbox(
            "Harm type",
            [outcome.EVERY, *types],
            format_func=lambda c: "all types" if c == outcome.EVERY else text.set_name(c),
            key="learn_type",
            bind="query-params",
        )
    return outcome.sharing(m.shared, None if category in (None, outcome.EVERY) else category)


def _in_words(m: Material) -> Lesson:
    offered = outcome.asked_sets(m.scene)
    asked = offered[0] if offered else None
    if len(offered) > 1:
        asked = (
            st.pills(
                "Requests",
                offered,
                default=offered[0],
                format_func=lambda s: outcome.SETS.get(s) or text.label(s),
                required=True,
                wrap=True,
                key="learn_requests",
                bind="query-params",
            )
            or offered[0]
        )
    return outcome.in_words(m.scene, m.scene_results, asked)


def _limits(m: Material) -> Lesson:
    claims = outcome.tempting(m.run, m.reported, m.scene, m.scene_results)
    place = 0
    if len(claims) > 1:
        place = int(
            st.selectbox(
                "May I say …",
                range(len(claims)),
                format_func=lambda i: claims[i].claim,
                key="learn_claim",
            )
            or 0
        )
    return outcome.limits(m.reported, claims, place)


# -- pictures ---------------------------------------------------------------------------------------------------------
def _controls_picture(lesson: Lesson, theme: Theme) -> go.Figure:
    """The mask, and below it what it was swapped for; the axis of all of them."""
    low, high = (float(np.nanmin(lesson.table["ci_low"])), float(np.nanmax(lesson.table["ci_high"])))
    margin = 0.06 * max(high - low, 1e-6)
    rows = lesson.table[lesson.table["control"].isin(["none", lesson.shown])]
    return control_dots(rows, theme, **_heads(lesson), x_range=(min(low, 0) - margin, max(high, 0) + margin))


def _effects_picture(lesson: Lesson, theme: Theme) -> go.Figure:
    return effect_dots(lesson.table, theme, title=lesson.words.title, subtitle=lesson.words.subtitle)


def _rates_picture(lesson: Lesson, theme: Theme) -> go.Figure:
    """With the legend below: half a page is too narrow for it beside the subtitle."""
    figure = rate_dots(lesson.table, theme, **_heads(lesson), counted="share of requests")
    room = 110 * theme.scale
    figure.update_layout(
        height=figure.layout.height + room,
        margin_b=(figure.layout.margin.b or 0) + room,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
    )
    return figure


STEPS: tuple[Step, ...] = (
    Step(
        "learn-scores",
        "Few weights",
        _scores,
        lambda lesson, theme: score_histogram(lesson.table, theme, **_heads(lesson)),
        ("pages/harm_map.py", "Where do such weights sit?", ":material/grid_on:"),
    ),
    Step(
        "learn-weight",
        "The score",
        _weight,
        lambda lesson, theme: score_bars(lesson.table, theme, **_heads(lesson)),
        ("pages/harm_map.py", "The matrix a weight stands in", ":material/grid_on:"),
        live_steps.sentence,
    ),
    Step(
        "learn-finding",
        "Protection",
        _protection,
        lambda lesson, theme: protection_scatter(lesson.table, theme, p=lesson.extra, **_heads(lesson)),
        ("pages/runs.py", "Find them in a model of your own", ":material/stacks:"),
        live_steps.protection,
    ),
    Step(
        "learn-pruning",
        "Pruning",
        _pruning,
        lambda lesson, theme: kept_curve(lesson.table, theme, q=lesson.extra, **_heads(lesson)),
        ("pages/playground.py", "Prune them, and read the answers", ":material/play_circle:"),
        live_steps.pruning,
    ),
    Step(
        "learn-controls",
        "Controls",
        _swap,
        _controls_picture,
        ("pages/overview.py", "Every kind of text beside its control", ":material/insights:"),
        live_steps.control,
    ),
    Step(
        "learn-topic",
        "Topic",
        _topic,
        _effects_picture,
        ("pages/compare.py", "Does another model look the same?", ":material/compare:"),
    ),
    Step(
        "learn-sharing",
        "One set?",
        _sharing,
        lambda lesson, theme: like_with_like(lesson.table, theme, **_heads(lesson)),
        ("pages/overlap.py", "Every pair of types, and transfer", ":material/join_inner:"),
    ),
    Step(
        "learn-words",
        "In words",
        _in_words,
        _rates_picture,
        _way_to("C6", "Attack by attack, mask by mask"),
    ),
    Step(
        "learn-limits",
        "Limits",
        _limits,
        _effects_picture,
        _way_to("C8", "What else does pruning take away?"),
    ),
)

"""Overlap & transfer: one mechanism or many? Reads the stored run only."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from harmviz.claims.mapping.figures import intersections as intersection_figures
from harmviz.claims.mapping.figures import overlap as overlap_figures
from harmviz.claims.mapping.figures import transfer as transfer_figures
from harmviz.claims.mapping.headline import UNCHOSEN, chosen_headline
from harmviz.claims.mapping.mirrored import NO_MIRROR, mirrors_of, reach_words
from harmviz.claims.mapping.page.contrast_switch import selection_control
from harmviz.claims.mapping.views import concentration, intersections, overlap, overlap_words, overview, transfer
from harmviz.claims.mapping.views.overlap import Overlap
from harmviz.display import text
from harmviz.display.effects import effect_dots
from harmviz.display.style import BENIGN, category_colour
from harmviz.masks.lists import Contrast
from harmviz.runs import Run
from harmviz.ui import chart, frame, mask_settings, picker, stored, theme

VIEW, VIEWS = "overlap_view", ("Shared weights", "Who shares what", "Transfer", "Concentration")


def show() -> None:
    """The page."""
    run = picker.current_or_stop()
    frame.title(
        "One mechanism or many?",
        "Do the harm types hang on the same weights, and does pruning one type reach the others? Overlap is read "
        "beside chance and a ceiling, transfer beside harmless text.",
    )
    if len(text.harm_types(run.manifest["data"]["counts"])) == 1:
        frame.html(
            '<div class="hv hv-note">This run has one harm type: what types share, and whether pruning one reaches '
            "another, needs two. Beside it stand safe and benign text.</div>"
        )
    with frame.shown_errors():
        results = stored.results(run)
        contrast, shared = _choices(results)
        n_scored = run.manifest["model"]["n_scored_weights"]
        size = "" if shared is None else text.fraction_of(int(shared.q * n_scored), n_scored)
        weights, sharing, effects, score = st.tabs(VIEWS, key=VIEW, on_change="rerun", bind="query-params")
        if weights.open:
            with weights:
                if shared is None:
                    _empty("No overlap was stored in this run")
                else:
                    _shared_weights(shared, size)
        if sharing.open:
            with sharing:
                if (candidates := mask_settings.candidates_or_note(run, "No masks to intersect")) is not None:
                    q, p = (candidates.q_max, UNCHOSEN.p) if shared is None else (shared.q, shared.p)
                    _exact_intersections(run, contrast, q, p)
                if shared is not None and not shared.core.empty:
                    _core(shared, size)
        if effects.open:
            with effects:
                _transfer(run, contrast)
        if score.open:
            with score:
                _concentration(run)


def _choices(results: pd.DataFrame) -> tuple[Contrast, Overlap | None]:
    """Draws the choice of a selection and of the masks' size; (selection, its overlap, where that was stored)."""
    fractions = overlap.points(results)
    measured = {*fractions, *transfer.selections(results)}
    options: tuple[Contrast, ...] = ("none", "both")
    left, right = st.columns(2, gap="medium")
    contrast = selection_control(left, [c for c in options if c in measured], key="overlap_contrast")
    if not (sizes := fractions.get(contrast, [])):
        return contrast, None
    q = right.segmented_control(
        "Size of each mask, q",
        sizes,
        default=sizes[-1],
        required=True,
        format_func=text.percent,
        key="overlap_q",
        bind="query-params",
        disabled=st.session_state.get(VIEW, st.query_params.get(VIEW)) in VIEWS[2:],
        help="For shared weights and the core: the fractions of all scored weights at which they were stored. "
        "Transfer was measured at the run's chosen point.",
    )
    return contrast, overlap.overlap_at(results, contrast, sizes[-1] if q is None else q)


def _empty(what: str) -> None:
    """What stands where a run has no rows of this kind, and what to do."""
    frame.html(
        f'<div class="hv hv-empty"><h3>{escape(what)}</h3><div class="quiet">Choose another run in the sidebar, or '
        "make this one again: <code>python -m harmviz run</code> measures it.</div></div>"
    )


def _shared_weights(shared: Overlap, size: str) -> None:
    """The grid of Jaccards, and like compared with like."""
    table, words = overlap.grid_cells(shared), overlap_words.grid_words(shared, size)
    figure = overlap_figures.jaccard_grid(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key="overlap-jaccard", table=table, how_to_read=words.reading, alt=words.alt)
    with frame.details("overlap") as details:
        if details.open:
            _like_with_like(shared)
            frame.section("What to make of it")
            frame.html(overlap_words.notes_list(shared))


def _like_with_like(shared: Overlap) -> None:
    """What types have in common beside ceilings and chance."""
    table, words = overlap.comparison(shared), overlap_words.comparison_words(shared)
    if table.empty:
        return
    frame.section(
        "Like with like",
        "What harm types have in common, beside what each has in common with itself and with harmless text.",
    )
    figure = overlap_figures.like_with_like(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key="overlap-like-with-like", table=table, how_to_read=words.reading, alt=words.alt)


@st.fragment
def _exact_intersections(run: Run, contrast: Contrast, q: float, p: float) -> None:
    """The UpSet plot at a live q; a fragment, so that the slider redraws nothing else."""
    with frame.shown_errors():
        candidates = stored.candidates(run)
        steps = mask_settings.q_steps(candidates.q_max)
        left, right = st.columns([1, 0.28], vertical_alignment="bottom", gap="medium")
        live_q = left.select_slider(
            "Pruned by each type's mask, q",
            steps,
            value=min(steps, key=lambda s: abs(s - q)),
            format_func=text.percent,
            key="overlap_upset_q",
            bind="query-params",
            help="Fraction of all scored weights in each type's mask.",
        )
        log = right.toggle("Log scale", value=True, key="overlap_log", bind="query-params")
        groups = intersections.intersections(candidates, contrast, float(live_q), p)
        table, words = intersections.bars(groups), intersections.upset_words(groups, log)
        sizes = {text.set_name(c): n for c, n in groups.sizes.items()}
        figure = intersection_figures.upset_plot(
            table, sizes, theme.current(), title=words.title, subtitle=words.subtitle, log=log
        )
        chart.draw(figure, key="overlap-upset", table=table, how_to_read=words.reading, alt=words.alt)
        if line := intersections.shared_line(groups):
            frame.html(f'<div class="hv hv-note">{escape(line)}</div>')


def _core(shared: Overlap, size: str) -> None:
    """The size of the core against shuffles."""
    frame.section("The core", "How many weights do several types share, and how many would they share by chance?")
    words = intersections.core_words(shared, size)
    figure = intersection_figures.core_curve(shared.core, theme.current(), title=words.title, subtitle=words.subtitle)
    table = shared.core.assign(q=shared.q, p=shared.p, contrast=shared.contrast)
    chart.draw(figure, key="overlap-core", table=table, how_to_read=words.reading, alt=words.alt)
    frame.html(f'<div class="hv hv-note">{escape(intersections.core_note(shared))}</div>')


def _transfer(run: Run, contrast: str) -> None:
    """Type pruned × text measured, its reading numbers, and each mask's harm-specific part."""
    results = stored.results(run)
    tables = {c: transfer.shifts(results, c) for c in transfer.selections(results)}
    if contrast not in tables or (rows := tables[contrast]).empty:
        _empty("No transfer was measured for this selection")
        return
    scale = st.segmented_control(
        "Show",
        ["absolute", "relative"],
        default="absolute",
        required=True,
        key="overlap_scale",
        bind="query-params",
        format_func={"absolute": "ΔL", "relative": "relative to own type"}.__getitem__,
        help="relative: every row divided by the effect on the type that was pruned.",
    )
    relative = scale == "relative"
    table = transfer.cells(rows, relative=relative)
    mask = chosen_headline(run, results, contrast)
    mirrors = [] if mask is None else mirrors_of(results, mask)
    words = transfer.grid_words(rows, run.manifest["model"]["n_scored_weights"], relative=relative, mirrors=mirrors)
    limit, unit = (1.0, "%") if relative else (transfer.colour_limit(list(tables.values())), "nats")
    figure = transfer_figures.transfer_grid(
        table, theme.current(), title=words.title, subtitle=words.subtitle, limit=limit, unit=unit
    )
    chart.draw(figure, key="overlap-transfer", table=table, how_to_read=words.reading, alt=words.alt)
    frame.section("In four numbers")
    frame.html(transfer.tiles(transfer.summary(rows)))
    beside = reach_words(mirrors)
    frame.html(f'<div class="hv hv-note">{escape(f"Masks turned round: {beside}." if mirrors else NO_MIRROR)}</div>')
    specific = {c: transfer.specific(results, c) for c in tables}
    if not specific[contrast].empty:
        table = transfer.with_mirror(specific[contrast], mirrors)
        frame.section("What of it is specific to harm")
        words = transfer.specific_words(table)
        x_range = overview.shared_range([*specific.values(), table])
        figure = effect_dots(table, theme.current(), title=words.title, subtitle=words.subtitle, x_range=x_range)
        chart.draw(figure, key="overlap-specific", table=table, how_to_read=words.reading, alt=words.alt)


def _concentration(run: Run) -> None:
    """How few weights carry each type's harm score."""
    points = concentration.concentration(stored.results(run))
    if not points["comparable"].any():
        _empty("No concentration was measured in this run")
        return
    harm = [c for c in dict.fromkeys(points["category"]) if text.is_harm(c)]
    colours = concentration.colours(points, {c: category_colour(c, harm) for c in harm}, other=BENIGN)
    words = concentration.concentration_words(points)
    figure = transfer_figures.lorenz_curves(
        points, colours, theme.current(), title=words.title, subtitle=words.subtitle
    )
    chart.draw(figure, key="overlap-concentration", table=points, how_to_read=words.reading, alt=words.alt)
    frame.html(concentration.concentration_table(points))

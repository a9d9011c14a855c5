"""Overlap & transfer: one mechanism or many? Reads the stored run only."""

from html import escape

import streamlit as st

from harmviz.claims.mapping.figures import intersections as intersection_figures
from harmviz.claims.mapping.figures import overlap as overlap_figures
from harmviz.claims.mapping.figures import transfer as transfer_figures
from harmviz.claims.mapping.views import intersections, overlap, overview, transfer
from harmviz.display import text
from harmviz.display.effects import effect_dots
from harmviz.display.style import BENIGN, category_colour
from harmviz.runs import Run
from harmviz.ui import chart, frame, picker, selection, stored, theme

VIEW, VIEWS = "overlap_view", ("Shared weights", "Who shares what", "Transfer", "Concentration")
FIXED_P = 0.01  # the protection of the UpSet where the run stored no overlap


def empty(what: str) -> None:
    """What stands where a run has no rows of this kind, and what to do."""
    frame.html(
        f'<div class="hv hv-empty"><h3>{escape(what)}</h3><div class="quiet">Choose another run in the sidebar, or make '
        "this one again: <code>python -m harmviz run</code> measures it.</div></div>"
    )


def shared_weights(found: overlap.Overlap, size: str) -> None:
    """The grid of Jaccards, and like compared with like."""
    table, words = overlap.grid_cells(found), overlap.grid_words(found, size)
    figure = overlap_figures.jaccard_grid(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key="overlap-jaccard", table=table, how_to_read=words.reading, alt=words.alt)
    table, words = overlap.comparison(found), overlap.comparison_words(found)
    if not table.empty:
        frame.section(
            "Like with like",
            "What harm types have in common, beside what each has in common with itself and with harmless text.",
        )
        figure = overlap_figures.like_with_like(table, theme.current(), title=words.title, subtitle=words.subtitle)
        chart.draw(figure, key="overlap-like-with-like", table=table, how_to_read=words.reading, alt=words.alt)
    frame.section("What to make of it")
    frame.html(overlap.notes_list(found))


@st.fragment
def exact_intersections(run: Run, contrast: selection.Contrast, q: float, p: float) -> None:
    """The UpSet plot at a live q; a fragment, so that the slider redraws nothing else."""
    with frame.shown_errors():
        candidates = stored.candidates(run)
        steps = selection.q_steps(candidates.q_max)
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
        found = intersections.intersections(candidates, contrast, float(live_q), p)
        table, words = intersections.bars(found), intersections.upset_words(found, log)
        sizes = {text.set_name(c): n for c, n in found.sizes.items()}
        figure = intersection_figures.upset_plot(
            table, sizes, theme.current(), title=words.title, subtitle=words.subtitle, log=log
        )
        chart.draw(figure, key="overlap-upset", table=table, how_to_read=words.reading, alt=words.alt)
        if line := intersections.shared_line(found):
            frame.html(f'<div class="hv hv-note">{escape(line)}</div>')


def core(found: overlap.Overlap, size: str) -> None:
    """The size of the core against shuffles."""
    frame.section("The core", "How many weights do several types share, and how many would they share by chance?")
    words = intersections.core_words(found, size)
    figure = intersection_figures.core_curve(found.core, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(
        figure,
        key="overlap-core",
        table=found.core.assign(q=found.q, p=found.p, contrast=found.contrast),
        how_to_read=words.reading,
        alt=words.alt,
    )


def transfer_grid(run: Run, contrast: str) -> None:
    """Type pruned × text measured, its reading numbers, and each mask's harm-specific part."""
    results = stored.results(run)
    tables = {c: transfer.shifts(results, c) for c in transfer.selections(results)}
    if contrast not in tables or (rows := tables[contrast]).empty:
        return empty("No transfer was measured for this selection")
    relative = (
        st.segmented_control(
            "Show",
            ["absolute", "relative"],
            default="absolute",
            required=True,
            key="overlap_scale",
            bind="query-params",
            format_func={"absolute": "ΔL", "relative": "relative to own type"}.__getitem__,
            help="relative: every row divided by the effect on the type that was pruned.",
        )
        == "relative"
    )
    n_scored = run.manifest["model"]["n_scored_weights"]
    table, words = transfer.cells(rows, relative=relative), transfer.grid_words(rows, n_scored, relative=relative)
    limit, unit = (1.0, "%") if relative else (transfer.colour_limit(list(tables.values())), "nats")
    figure = transfer_figures.transfer_grid(
        table, theme.current(), title=words.title, subtitle=words.subtitle, limit=limit, unit=unit
    )
    chart.draw(figure, key="overlap-transfer", table=table, how_to_read=words.reading, alt=words.alt)
    frame.section("In four numbers")
    frame.html(transfer.tiles(transfer.summary(rows)))
    specific = {c: transfer.specific(results, c) for c in tables}
    if not (table := specific[contrast]).empty:
        frame.section("What of it is specific to harm")
        words = transfer.specific_words(table)
        figure = effect_dots(
            table,
            theme.current(),
            title=words.title,
            subtitle=words.subtitle,
            x_range=overview.shared_range(list(specific.values())),
        )
        chart.draw(figure, key="overlap-specific", table=table, how_to_read=words.reading, alt=words.alt)
    return None


def concentration(run: Run) -> None:
    """How few weights carry each type's harm score."""
    points = transfer.concentration(stored.results(run))
    if not points["comparable"].any():
        return empty("No concentration was measured in this run")
    harm = [c for c in dict.fromkeys(points["category"]) if text.is_harm(c)]
    colours = transfer.concentration_colours(points, {c: category_colour(c, harm) for c in harm} | {"": BENIGN})
    words = transfer.concentration_words(points)
    figure = transfer_figures.lorenz_curves(
        points, colours, theme.current(), title=words.title, subtitle=words.subtitle
    )
    chart.draw(figure, key="overlap-concentration", table=points, how_to_read=words.reading, alt=words.alt)
    frame.html(transfer.concentration_table(points))
    return None


run = picker.current_or_stop()
frame.title(
    "One mechanism or many?",
    "Do the harm types hang on the same weights, and does pruning one type reach the others? Overlap is read beside chance and a ceiling, transfer beside harmless text.",
)
with frame.shown_errors():
    results = stored.results(run)
    stored_q = overlap.points(results)
    contrasts = [c for c in ("none", "both") if c in {*stored_q, *transfer.selections(results)}] or ["none"]
    left, right = st.columns(2, gap="medium")
    contrast = left.segmented_control(
        "Selection",
        contrasts,
        default=contrasts[0],
        required=True,
        format_func=lambda c: selection.CONTRASTS[c],
        key="overlap_contrast",
        bind="query-params",
        help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe or harmless text.",
    )
    found, size = None, ""
    if fractions := stored_q.get(contrast, []):
        q = right.segmented_control(
            "Size of each mask, q",
            fractions,
            default=fractions[-1],
            required=True,
            format_func=text.percent,
            key="overlap_q",
            bind="query-params",
            disabled=st.session_state.get(VIEW, st.query_params.get(VIEW)) in VIEWS[2:],
            help="For shared weights and the core: the fractions of all scored weights at which they were stored. Transfer was measured at the run's chosen point.",
        )
        found = overlap.overlap_at(results, contrast, q)
        n_scored = run.manifest["model"]["n_scored_weights"]
        size = text.fraction_of(int(q * n_scored), n_scored)
    weights, sharing, effects, score = st.tabs(VIEWS, key=VIEW, on_change="rerun", bind="query-params")
    if weights.open:
        with weights:
            if found:
                shared_weights(found, size)
            else:
                empty("No overlap was stored in this run")
    if sharing.open:
        with sharing:
            exact_intersections(
                run, contrast, found.q if found else stored.candidates(run).q_max, found.p if found else FIXED_P
            )
            if found and not found.core.empty:
                core(found, size)
    if effects.open:
        with effects:
            transfer_grid(run, contrast)
    if score.open:
        with score:
            concentration(run)

"""Compare runs: what changed from one run to the next? Reads stored runs only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from harmviz import runs as store
from harmviz.claims.mapping.figures.compare import chosen_dots, run_curves
from harmviz.claims.mapping.figures.harm_map import layer_maps
from harmviz.claims.mapping.headline import CHOSEN, UNCHOSEN, chosen_point
from harmviz.claims.mapping.page.contrast_switch import forget_impossible, selection_control
from harmviz.claims.mapping.views import compare, compare_words, mirrors
from harmviz.display import text
from harmviz.display.labels import headings
from harmviz.errors import HarmvizError
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import Contrast
from harmviz.masks.selection import Selection, select
from harmviz.runs import Run
from harmviz.ui import chart, frame, mask_settings, picker, stored, theme

RUNS, SELECTION, LEVEL, KIND, Q = (f"compare_{name}" for name in ("runs", "selection", "p", "type", "q"))
_DEFAULT = "_compare_default"
_P_HELP = "The top fraction by utility score, which is never pruned because harmless text needs it most."


@dataclass(frozen=True)
class Compared:
    """The runs side by side, the first of which the others are compared with, and what all pictures share.

    ``contrast``: the selection shown. ``p``: the protection, None where the runs share no measured one.
    """

    runs: Sequence[Run]
    results: Sequence[pd.DataFrame]
    contrast: Contrast
    p: float | None

    @property
    def names(self) -> list[str]:
        return compare.labels(self.runs)


def show() -> None:
    """The page."""
    base = picker.current_or_stop()
    frame.title(
        "What changed from one run to the next?",
        "Two or more runs on the same data and the same shapes, a base model and its aligned version, say: effects and "
        "maps side by side, on one scale.",
    )
    runs = _chosen_runs(base)
    if len(runs) < 2:
        st.stop()
    with frame.shown_errors():
        compared = _settings(runs, [stored.results(r) for r in runs])
        _chosen(compared)
        with frame.details("compare") as details:
            if details.open:
                _details(compared)


def _details(compared: Compared) -> None:
    """What else differs between the runs, the masks' mirrors, more weights, and where they sit."""
    frame.section(
        "What each run is",
        "Read this before the differences above: whatever is set in bold differs between the runs.",
    )
    frame.html(compare_words.facts_markup(compared.runs, compare_words.facts(compared.runs, compared.results)))
    frame.section(mirrors.HEADING, mirrors.LEAD)
    frame.html(mirrors.of_runs(compared.names, compared.runs, compared.results, compared.contrast))
    _curves(compared)
    frame.section(
        "Where the weights sit",
        "One mask a run, with equal settings: the same share of all scored weights, protection and selection.",
    )
    try:
        _maps(compared)
    except HarmvizError as e:
        frame.error(str(e))


def _chosen_runs(base: Run) -> list[Run]:
    """Draws the choice of runs; those that are comparable with the first of them."""
    on_disk = [r for r in stored.runs() if r.kind == "map"]
    default = compare.default_choice(base, on_disk)
    if len(default) < 2:
        frame.html(compare_words.empty_markup(base))
        st.code("python -m harmviz run --model MODEL", language=None, width=736)
        st.page_link("pages/runs.py", label="Make or import a run", icon=":material/stacks:")
    ids = [base.id, *(r.id for r in on_disk if r.id != base.id)]
    if len(ids) < 2:
        return [base]
    before = st.session_state.get(_DEFAULT)
    if before not in (None, default) and st.session_state.get(RUNS) == before:
        st.session_state[RUNS] = default  # another run was picked in the sidebar, and nothing was chosen here
    st.session_state[_DEFAULT] = default
    asked = st.multiselect(
        "Runs",
        ids,
        default=default,
        key=RUNS,
        bind="query-params",
        max_selections=compare.MAX_RUNS,
        help="The first is what the others are compared with. Runs must share data and shapes.",
    )
    known = {r.id: r for r in on_disk}
    first = known[asked[0]] if asked else base
    reasons = {i: compare.why_not(first, known[i]) for i in ids if i != first.id}
    runs = [first, *(known[i] for i in asked[1:] if reasons[i] is None)]
    frame.html(compare_words.left_out_markup({i: why for i, why in reasons.items() if why is not None}))
    if len(runs) < 2 <= len(default):
        frame.html('<div class="hv hv-note">Choose at least two runs that are comparable with each other.</div>')
    return runs


def _settings(runs: Sequence[Run], results: Sequence[pd.DataFrame]) -> Compared:
    """Draws the choice of a selection and of a protection."""
    left, right = st.columns(2, gap="medium")
    offered = [c for c in CHOSEN if compare.measured_p(runs, results, c)]
    forget_impossible(SELECTION, offered or ["none"])
    contrast = selection_control(left, offered, key=SELECTION)
    levels = compare.measured_p(runs, results, contrast)
    forget_impossible(LEVEL, levels)
    if not levels:
        return Compared(runs, results, contrast, None)
    point = chosen_point(runs[0], contrast)
    start = point.p if point and point.p in levels else levels[0]
    p = right.segmented_control(
        "Protected, p",
        levels,
        default=start,
        required=True,
        key=LEVEL,
        bind="query-params",
        format_func=text.percent,
        help=_P_HELP,
    )
    return Compared(runs, results, contrast, start if p is None else p)


def _curves(compared: Compared) -> None:
    """ΔL over q on validation prompts, one line a run."""
    frame.section(
        "As more weights are zeroed",
        "Every point is measured on validation prompts. They also chose each run's settings, so the evidence is in the "
        "first picture, not in this one.",
    )
    table = pd.DataFrame()
    if compared.p is not None:
        table = compare.curve_table(compared.runs, compared.results, compared.contrast, compared.p)
    if compared.p is None or table.empty:
        frame.html('<div class="hv quiet">These runs share no measured protection level with this selection.</div>')
        return
    words, drawn = compare_words.curve_words(table, compared.contrast, compared.p), theme.current()
    title, below = headings(words.title, words.subtitle, drawn)
    figure = run_curves(table, drawn, title=title, subtitle=below)
    chart.draw(figure, key="compare-curves", table=table, how_to_read=words.reading, alt=words.alt)


def _chosen(compared: Compared) -> None:
    """The effects at each run's own chosen point."""
    frame.section(
        "At the settings that each run chose",
        "Settled on validation prompts, measured on report prompts that had no part in it.",
    )
    table = compare.chosen_table(compared.runs, compared.results, compared.contrast)
    if table.empty:
        frame.html('<div class="hv quiet">None of these runs chose settings for this selection.</div>')
        return
    standing = mirrors.standing(compared.runs, compared.results, compared.contrast)
    words, drawn = compare_words.chosen_words(compared.runs, table, compared.contrast, standing), theme.current()
    title, below = headings(words.title, words.subtitle, drawn)
    figure = chosen_dots(table, drawn, title=title, subtitle=below)
    chart.draw(figure, key="compare-chosen", table=table, how_to_read=words.reading, alt=words.alt)
    frame.html(f'<div class="hv hv-note quiet small">{compare_words.difference_note(len(compared.runs))}</div>')


def _maps(compared: Compared) -> None:
    """Where equal masks of all runs sit, the first two's difference, and how many weights any two share.

    Raises:
        HarmvizError: the settings are not stored in one of the runs.
    """
    candidates = [stored.candidates(r) for r in compared.runs]
    levels = compare.candidate_p(candidates, compared.contrast)
    p = compared.p if compared.p is not None and compared.p in levels else levels[-1]
    kind, settings = _map_settings(compared, candidates, p)
    names, drawn = compared.names, theme.current()
    masks = {n: select(c, s).global_index for n, c, s in zip(names, candidates, settings, strict=True)}
    table = compared.runs[0].table
    panels = compare.map_panels(table, masks)
    words = compare_words.map_words(panels, settings[0], kind)
    title, below = headings(words.title, words.subtitle, drawn)
    columns = 2 if len(names) in (4, 6) else 1
    figure = layer_maps(panels, drawn, title=title, subtitle=below, columns=columns)
    numbers = compare.panel_table(panels)
    chart.draw(figure, key="compare-maps", table=numbers, how_to_read=words.reading, alt=words.alt)
    pairs = []
    for a, b in compare.pairs_of(names):
        counts = _eligible(compared.runs[a], compared.runs[b], p)
        pairs.append(compare.shared((names[a], names[b]), (masks[names[a]], masks[names[b]]), table.offsets, counts))
    frame.html(compare_words.shared_markup(pairs))


def _map_settings(compared: Compared, candidates: Sequence[Candidates], p: float) -> tuple[str, list[Selection]]:
    """Draws the choice of a harm type and of q; (type, one selection a run at a q that all of them settle)."""
    steps = mask_settings.q_steps(min(c.q_max for c in candidates))
    kinds = [compare.ALL_TYPES, *compare.types_of(candidates)]
    forget_impossible(KIND, kinds)
    forget_impossible(Q, steps)
    left, right = st.columns([1, 2], gap="medium")
    kind = left.selectbox(
        "Harm type",
        kinds,
        key=KIND,
        bind="query-params",
        format_func=lambda k: "mean of all types" if k == compare.ALL_TYPES else text.set_name(k),
    )
    wanted = (chosen_point(compared.runs[0], compared.contrast) or UNCHOSEN).q
    q = right.select_slider(
        "Pruned, q",
        steps,
        value=min(steps, key=lambda s: abs(s - wanted)),
        format_func=text.percent,
        key=Q,
        bind="query-params",
        help="Fraction of all scored weights that is set to zero, in every run.",
    )
    settings = compare.selections(candidates, kind, float(q), p, compared.contrast)
    limit, why = compare.exact_limit(candidates, settings, compared.names)
    if q > limit:
        settings = compare.selections(candidates, kind, limit, p, compared.contrast)
        mask_settings.held_note(f"q is held at {text.percent(limit)} in every run. {why}.")
    return kind, settings


def _eligible(first: Run, second: Run, p: float) -> np.ndarray:
    digests = (store.result_digest(first), store.result_digest(second))
    return _eligible_counts((str(first.path), str(second.path)), digests, p)


@st.cache_data(max_entries=64, show_spinner=False)
def _eligible_counts(folders: tuple[str, str], digests: tuple[str, str], p: float) -> np.ndarray:
    """Weights per matrix that may be pruned in both runs and in each: half a second of unpacking, then small."""
    first, second = (stored.candidates(store.read_run(Path(folder))) for folder in folders)
    return compare.eligible_counts(first, second, p)

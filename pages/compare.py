"""Compare runs: what changed from one run to the next? Reads stored runs only."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from harmviz import runs as store
from harmviz.claims.mapping.figures.compare import chosen_dots, run_curves
from harmviz.claims.mapping.figures.harm_map import layer_maps
from harmviz.claims.mapping.headline import UNCHOSEN, chosen_point
from harmviz.claims.mapping.views import compare, compare_words
from harmviz.display import text
from harmviz.display.labels import headings
from harmviz.errors import HarmvizError
from harmviz.masks.selection import select
from harmviz.ui import chart, frame, picker, stored, theme
from harmviz.ui import selection as mask_controls

RUNS, SELECTION, LEVEL, KIND, Q = (f"compare_{name}" for name in ("runs", "selection", "p", "type", "q"))


def keep_possible(key: str, options: list[Any]) -> None:
    """Forgets a setting that the runs now chosen do not offer."""
    if key in st.session_state and st.session_state[key] not in options:
        del st.session_state[key]


@st.cache_data(max_entries=64, show_spinner=False)
def eligible(folders: tuple[str, str], digests: tuple[str, str], p: float) -> np.ndarray:
    """Weights per matrix that may be pruned in both runs and in each: half a second of unpacking, then small."""
    return compare.eligible_counts(*(stored.candidates(store.read_run(Path(f))) for f in folders), p)


base = picker.current_or_stop()
frame.title(
    "What changed from one run to the next?",
    "Two or more runs on the same data and the same shapes, a base model and its aligned version, say: effects and maps side by side, on one scale.",
)
on_disk = [r for r in stored.runs() if r.kind == "map"]
default = compare.default_choice(base, on_disk)
if len(default) < 2:
    frame.html(compare_words.empty_markup(base))
    st.code("python -m harmviz run --model MODEL", language=None, width=736)
    st.page_link("pages/runs.py", label="Make or import a run", icon=":material/stacks:")

ids = [base.id, *(r.id for r in on_disk if r.id != base.id)]
if len(ids) > 1:
    if (
        st.session_state.get("_compare_default") not in (None, default)
        and st.session_state.get(RUNS) == st.session_state["_compare_default"]
    ):
        st.session_state[RUNS] = default  # another run was picked in the sidebar, and nothing was chosen here
    st.session_state["_compare_default"] = default
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
    runs = [first, *(known[i] for i in asked[1:] if compare.why_not(first, known[i]) is None)]
    others = {i: why for i in ids if i != first.id and (why := compare.why_not(first, known[i])) is not None}
    frame.html(compare_words.left_out_markup(others))
    if len(runs) < 2 and len(default) > 1:
        frame.html('<div class="hv hv-note">Choose at least two runs that are comparable with each other.</div>')
else:
    runs = [base]
if len(runs) < 2:
    st.stop()

with frame.shown_errors():
    names, drawn = compare.labels(runs), theme.current()
    results = [stored.results(r) for r in runs]
    left, right = st.columns(2, gap="medium")
    offered = [c for c in ("both", "none") if compare.measured_p(runs, results, c)]
    keep_possible(SELECTION, offered or ["none"])
    with left:
        contrast = st.segmented_control(
            "Selection",
            offered or ["none"],
            default=(offered or ["none"])[0],
            required=True,
            key=SELECTION,
            bind="query-params",
            format_func=lambda c: mask_controls.CONTRASTS[c],
            help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe or harmless text.",
        )
    levels = compare.measured_p(runs, results, contrast)
    keep_possible(LEVEL, levels)
    with right:
        if levels:
            point = chosen_point(first, contrast)
            start = point.p if point and point.p in levels else levels[0]
            p = st.segmented_control(
                "Protected, p",
                levels,
                default=start,
                required=True,
                key=LEVEL,
                bind="query-params",
                format_func=text.percent,
                help="The top fraction by utility score, which is never pruned because harmless text needs it most.",
            )

    frame.section(
        "As more weights are zeroed",
        "Every point is measured on validation prompts. They also chose each run's settings, so the evidence is in the next picture, not in this one.",
    )
    table = compare.curve_table(runs, results, contrast, p) if levels else pd.DataFrame()
    if table.empty:
        frame.html('<div class="hv quiet">These runs share no measured protection level with this selection.</div>')
    else:
        words = compare_words.curve_words(table, contrast, p)
        title, below = headings(words.title, words.subtitle, drawn)
        figure = run_curves(table, drawn, title=title, subtitle=below)
        chart.draw(figure, key="compare-curves", table=table, how_to_read=words.reading, alt=words.alt)

    frame.section(
        "At the settings that each run chose",
        "Settled on validation prompts, measured on report prompts that had no part in it.",
    )
    chosen = compare.chosen_table(runs, results, contrast)
    if chosen.empty:
        frame.html('<div class="hv quiet">None of these runs chose settings for this selection.</div>')
    else:
        words = compare_words.chosen_words(runs, chosen, contrast)
        title, below = headings(words.title, words.subtitle, drawn)
        chart.draw(
            chosen_dots(chosen, drawn, title=title, subtitle=below),
            key="compare-chosen",
            table=chosen,
            how_to_read=words.reading,
            alt=words.alt,
        )
        frame.html(f'<div class="hv hv-note quiet small">{compare_words.difference_note(len(runs))}</div>')

    frame.section(
        "Where the weights sit",
        "One mask a run, with equal settings: the same share of all scored weights, protection and selection.",
    )
    try:
        candidates = [stored.candidates(r) for r in runs]
        p_maps = (
            p
            if levels and p in compare.candidate_p(candidates, contrast)
            else compare.candidate_p(candidates, contrast)[-1]
        )
        steps = mask_controls.q_steps(min(c.q_max for c in candidates))
        kinds = [compare.ALL_TYPES, *compare.types_of(candidates)]
        keep_possible(KIND, kinds)
        keep_possible(Q, steps)
        one, two = st.columns([1, 2], gap="medium")
        with one:
            kind = st.selectbox(
                "Harm type",
                kinds,
                key=KIND,
                bind="query-params",
                format_func=lambda k: "mean of all types" if k == compare.ALL_TYPES else text.set_name(k),
            )
        with two:
            wanted = (chosen_point(first, contrast) or UNCHOSEN).q
            q = st.select_slider(
                "Pruned, q",
                steps,
                value=min(steps, key=lambda s: abs(s - wanted)),
                format_func=text.percent,
                key=Q,
                bind="query-params",
                help="Fraction of all scored weights that is set to zero, in every run.",
            )
        settings = compare.selections(candidates, kind, float(q), p_maps, contrast)
        limit, why = compare.exact_limit(candidates, settings, names)
        if q > limit:
            settings = compare.selections(candidates, kind, limit, p_maps, contrast)
            mask_controls.held_note(f"q is held at {text.percent(limit)} in every run. {why}.")
        masks = {n: select(c, s).global_index for n, c, s in zip(names, candidates, settings, strict=True)}
        panels = compare.map_panels(first.table, masks)
        words = compare_words.map_words(panels, settings[0], kind)
        title, below = headings(words.title, words.subtitle, drawn)
        figure = layer_maps(panels, drawn, title=title, subtitle=below, columns=2 if len(runs) in (4, 6) else 1)
        chart.draw(
            figure, key="compare-maps", table=compare.panel_table(panels), how_to_read=words.reading, alt=words.alt
        )
        pairs = []
        for a, b in compare.pairs_of(names):
            digests = (store.result_digest(runs[a]), store.result_digest(runs[b]))
            counts = eligible((str(runs[a].path), str(runs[b].path)), digests, p_maps)
            pairs.append(
                compare.shared((names[a], names[b]), (masks[names[a]], masks[names[b]]), first.table.offsets, counts)
            )
        frame.html(compare_words.shared_markup(pairs))
    except HarmvizError as e:
        frame.error(str(e))

    frame.section(
        "What each run is", "Read this before the differences above: whatever is set in bold differs between the runs."
    )
    frame.html(compare_words.facts_markup(runs, compare_words.facts(runs, results)))

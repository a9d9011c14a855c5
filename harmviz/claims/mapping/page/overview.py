"""Overview: what is this, and what did this run find? Reads the stored run only."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from harmviz import runs as store
from harmviz.claims import eight
from harmviz.claims.mapping.equal_effect import EqualEffect, equal_effects
from harmviz.claims.mapping.finding import finding
from harmviz.claims.mapping.headline import first_headline
from harmviz.claims.mapping.views import equal_effect, mirrors, overview
from harmviz.claims.scene import page as scene
from harmviz.display.effects import effect_dots
from harmviz.runs import Run
from harmviz.ui import chart, frame, picker, stored, theme


def show() -> None:
    """The page."""
    run = picker.current_or_stop()
    frame.title(
        "What do a few weights do for harmful text?",
        "harmviz finds the harm-generation weights of a language model, sets them to zero, and measures what that does "
        "to harmful and harmless text, beside a control.",
    )
    with frame.shown_errors():
        results = stored.results(run)
        played = scene.card()
        own_scene = played is not None and run.id in played.manifest["parents"]
        frame.section(finding(run, results).sentence)
        frame.html(overview.remarked(run, results))
        frame.html(overview.tiles(run, results))
        _links(play_first=played is None)
        if not own_scene:  # one picture of this run at first sight
            _effects(run, results)
        with frame.folded("What it does not show", "overview_limits", ":material/error:") as limits:
            if limits.open:
                frame.html(overview.limits(run, results))
        _claims()
        with frame.details("overview") as details:
            if details.open:
                if own_scene:
                    _effects(run, results)
                frame.section(mirrors.HEADING, mirrors.LEAD)
                frame.html(mirrors.markup(results, first_headline(run, results)))
                frame.section(equal_effect.HEADING, equal_effect.LEAD)
                frame.html(equal_effect.markup(_equal_effects(str(run.path), store.result_digest(run))))
                frame.section("How it works")
                frame.html(overview.STEPS)


def _claims() -> None:
    """The eight claims over the committed runs, read when they are asked for."""
    with frame.folded(
        "The eight claims, with the strongest objection", "overview_claims", ":material/gavel:"
    ) as opened:
        if opened.open:
            runs = eight.committed_runs()
            frame.html(_claims_markup(tuple((str(run.path), store.result_digest(run)) for run in runs)))
            st.caption("Of the runs that ship with harmviz. `python -m harmviz show RUN --claims` asks a run of yours.")


@st.cache_data(max_entries=2, show_spinner="Reading the runs that ship with harmviz")
def _claims_markup(runs: tuple[tuple[str, str], ...]) -> str:
    """The table as HTML. ``runs``: folder and contents of each."""
    return eight.markup(eight.lines(store.read_run(Path(folder)) for folder, _ in runs))


@st.cache_data(max_entries=4, show_spinner="Comparing the selections")
def _equal_effects(folder: str, contents: str) -> list[EqualEffect]:
    """``contents``: the digest of the run's results, so that another run of this folder is another entry."""
    return equal_effects(store.read_run(Path(folder)))


def _links(*, play_first: bool) -> None:
    """Where to go from here."""
    with st.container(horizontal=True, key="overview-links"):
        if st.button("Play it live", type="primary" if play_first else "secondary", icon=":material/play_circle:"):
            st.switch_page("pages/playground.py")
        st.page_link("pages/harm_map.py", label="Where do these weights sit?", icon=":material/grid_on:")
        st.page_link("pages/overlap.py", label="One mechanism or many?", icon=":material/join_inner:")
        st.page_link("pages/learn.py", label="What does all this mean?", icon=":material/school:")


def _effects(run: Run, results: pd.DataFrame) -> None:
    """The loss shifts of both selections side by side, on one scale."""
    frame.section(
        "What zeroing them does to each kind of text",
        "Two ways of choosing the weights, side by side. Both were settled on validation prompts and are shown on "
        "held-out ones.",
    )
    tables = overview.effect_tables(run, results)
    if not tables:
        frame.html('<div class="hv quiet">No effect has been measured in this run yet.</div>')
        return
    x_range = overview.shared_range(list(tables.values()))
    for column, (contrast, table) in zip(st.columns(len(tables), gap="medium"), tables.items(), strict=True):
        with column:
            words = overview.effect_words(run, table, contrast)
            figure = effect_dots(table, theme.current(), title=words.title, subtitle=words.subtitle, x_range=x_range)
            chart.draw(figure, key=f"effect-{contrast}", table=table, how_to_read=words.reading, alt=words.alt)

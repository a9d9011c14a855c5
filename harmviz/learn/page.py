"""Learn: six short steps, each with one picture from a real run. Reads stored runs only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from harmviz import runs as store
from harmviz.claims.mapping.figures.overlap import like_with_like
from harmviz.claims.mapping.headline import CHOSEN
from harmviz.claims.mapping.page.controls import selection_control
from harmviz.claims.mapping.reported import Reported
from harmviz.claims.mapping.views import compare
from harmviz.display import glossary
from harmviz.display.effects import effect_dots
from harmviz.display.style import Theme
from harmviz.errors import RunIncompatible
from harmviz.learn import method, outcome
from harmviz.learn.figures import control_dots, protection_scatter, pruning_curve, score_histogram
from harmviz.learn.lesson import Lesson, with_everything
from harmviz.learn.questions import questions
from harmviz.runs import Run
from harmviz.ui import chart, frame, picker, stored, theme

_ELSEWHERE = (
    '<div class="hv hv-note quiet small">The run chosen in the sidebar lacks what these pictures need, so the '
    "reference run is shown.</div>"
)
_NO_PICTURE = (
    '<div class="hv hv-note quiet">Not measured in this run. Choose another run in the sidebar to see this picture.'
    "</div>"
)


class Step(NamedTuple):
    """How one lesson stands on the page: its chart's key, its picture, and the way on (page, label, icon)."""

    key: str
    picture: Callable[[Lesson, Theme], go.Figure]
    link: tuple[str, str, str]


def _heads(lesson: Lesson) -> dict[str, str]:
    return {"title": lesson.words.title, "subtitle": lesson.words.subtitle}


STEPS: dict[int, Step] = {
    1: Step(
        "learn-scores",
        lambda lesson, theme: score_histogram(lesson.table, theme, **_heads(lesson)),
        ("pages/harm_map.py", "Where do such weights sit?", ":material/grid_on:"),
    ),
    2: Step(
        "learn-finding",
        lambda lesson, theme: protection_scatter(lesson.table, theme, p=lesson.extra or 0.0, **_heads(lesson)),
        ("pages/runs.py", "Find them in a model of your own", ":material/stacks:"),
    ),
    3: Step(
        "learn-controls",
        lambda lesson, theme: control_dots(lesson.table, theme, **_heads(lesson)),
        ("pages/overview.py", "Every kind of text beside its control", ":material/insights:"),
    ),
    4: Step(
        "learn-pruning",
        lambda lesson, theme: pruning_curve(lesson.table, theme, chosen_q=lesson.extra, **_heads(lesson)),
        ("pages/playground.py", "Prune them, and read the answers", ":material/play_circle:"),
    ),
    5: Step(
        "learn-sharing",
        lambda lesson, theme: like_with_like(lesson.table, theme, **_heads(lesson)),
        ("pages/overlap.py", "Every pair of types, and transfer", ":material/join_inner:"),
    ),
    6: Step(
        "learn-limits",
        lambda lesson, theme: effect_dots(
            lesson.table, theme, title=lesson.words.title, subtitle=lesson.words.subtitle
        ),
        ("pages/compare.py", "Does another model look the same?", ":material/compare:"),
    ),
}


def show() -> None:
    """The page."""
    asked = picker.current_or_stop()
    run = usable(asked)
    frame.title(
        "What does all this mean?",
        "Six steps from one number to a finding, and to what it does not say. Every number and picture comes from the "
        f"run {run.id}.",
    )
    if run.id != asked.id:
        frame.html(_ELSEWHERE)
    with frame.shown_errors():
        reported, lessons = settled(str(run.path), store.result_digest(run))
        for number in STEPS:
            if number in lessons:
                _step(number, lessons[number], _places())
            else:
                _pruning_step(number, run, reported)
        if pairs := questions(run, reported):
            frame.section("Check yourself")
            for question, answer in pairs:
                with st.expander(question):
                    frame.html(f'<div class="hv">{glossary.explained(answer)}</div>')
    frame.section("Glossary", "The words with a dotted line explain themselves wherever they stand.")
    frame.html(glossary.table())


def usable(run: Run) -> Run:
    """The run in the sidebar; where it lacks what the pictures need, the reference run, if that has it."""
    other = store.default_run()
    return run if with_everything(run) or not with_everything(other) else other


@st.cache_resource(max_entries=8, show_spinner=False)
def settled(folder: str, digest: str) -> tuple[Reported, dict[int, Lesson]]:
    """The numbers, and the lessons that depend on the run alone. Shared: not to be changed."""
    run = store.read_run(Path(folder))
    files, results = run.manifest["files"], stored.results(run)
    reported = Reported(run, results)
    try:
        candidates = stored.candidates(run) if "candidates.safetensors" in files else None
    except RunIncompatible:
        candidates = None  # damaged: that step says so, the others stand
    return reported, {
        1: method.scores(run, results, stored.maps(run) if "maps.safetensors" in files else {}),
        2: method.selection(run, reported, candidates),
        3: method.controls(run, reported),
        5: outcome.sharing(run, results),
        6: outcome.limits(reported),
    }


def _places() -> Sequence[DeltaGenerator]:
    """Where a step's words go, and where its picture: side by side, in a lecture hall one below the other."""
    return [st.container(), st.container()] if theme.presenting() else st.columns([1, 1.45], gap="large")


def _pruning_step(number: int, run: Run, reported: Reported) -> None:
    """The one step with a choice: of the selection whose curve is shown."""
    results, places = stored.results(run), _places()
    offered = [c for c in CHOSEN if compare.measured_p([run], [results], c)]
    contrast = selection_control(places[1], offered, key="learn_selection")
    _step(number, outcome.pruning(run, results, reported, contrast), places)


def _step(number: int, lesson: Lesson, places: Sequence[DeltaGenerator]) -> None:
    """A lesson's words with the way on, and its picture."""
    words, picture = places
    step = STEPS[number]
    with words:
        heading = f"<h2>{number} · {escape(lesson.heading)}</h2>"
        frame.html(f'<div class="hv hv-section hv-step">{heading}<p>{glossary.explained(lesson.body)}</p></div>')
        page, label, icon = step.link
        st.page_link(page, label=label, icon=icon)
    with picture:
        if lesson.table.empty:
            frame.html(_NO_PICTURE)
            return
        figure = step.picture(lesson, theme.current())
        chart.draw(figure, key=step.key, table=lesson.table, how_to_read=lesson.words.reading, alt=lesson.words.alt)

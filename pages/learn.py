"""Learn: six short steps, each with one picture from a real run. Reads stored runs only."""

from collections.abc import Callable
from html import escape
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from harmviz import runs as store
from harmviz.claims.mapping.figures.overlap import like_with_like
from harmviz.claims.mapping.reported import Reported
from harmviz.claims.mapping.views import compare
from harmviz.display import glossary
from harmviz.display.effects import effect_dots
from harmviz.errors import RunIncompatible
from harmviz.learn import lessons
from harmviz.learn.figures import control_dots, protection_scatter, pruning_curve, score_histogram
from harmviz.learn.lessons import Lesson
from harmviz.runs import Run
from harmviz.ui import chart, frame, picker, selection, stored, theme

Picture = Callable[[Lesson], go.Figure]


def usable(run: Run) -> Run:
    """The run in the sidebar; where it lacks what the pictures need, the reference run, if that has it."""
    other = store.default_run()
    return run if lessons.with_everything(run) or not lessons.with_everything(other) else other


def places() -> list[DeltaGenerator]:
    """Where a step's words go, and where its picture: side by side, in a lecture hall one below the other."""
    return [st.container(), st.container()] if theme.presenting() else st.columns([1, 1.45], gap="large")


def step(
    number: int,
    lesson: Lesson,
    key: str,
    picture: Picture,
    link: tuple[str, str, str],
    where: list[DeltaGenerator] | None = None,
) -> None:
    """A step's words with the way on, and its picture."""
    words, shown = where or places()
    with words:
        heading = f"<h2>{number} · {escape(lesson.heading)}</h2>"
        frame.html(f'<div class="hv hv-section hv-step">{heading}<p>{glossary.explained(lesson.body)}</p></div>')
        path, label, icon = link
        st.page_link(path, label=label, icon=icon)
    with shown:
        if lesson.table.empty:
            frame.html(
                '<div class="hv hv-note quiet">Not measured in this run. Choose another run in the sidebar to see this picture.</div>'
            )
            return
        chart.draw(picture(lesson), key=key, table=lesson.table, how_to_read=lesson.words.reading, alt=lesson.words.alt)


@st.cache_resource(max_entries=8, show_spinner=False)
def settled(folder: str, digest: str) -> tuple[Reported, dict[int, Lesson]]:
    """The numbers, and the lessons that depend on the run alone. Shared: not to be changed."""
    run = store.read_run(Path(folder))
    has, results = run.manifest["files"], stored.results(run)
    reported = Reported(run, results)
    try:
        candidates = stored.candidates(run) if "candidates.safetensors" in has else None
    except RunIncompatible:
        candidates = None  # damaged: that step says so, the others stand
    steps = {
        1: lessons.scores(run, results, stored.maps(run) if "maps.safetensors" in has else {}),
        2: lessons.finding(run, reported, candidates),
        3: lessons.controls(run, reported),
        5: lessons.sharing(run, results),
        6: lessons.limits(reported),
    }
    return reported, steps


asked = picker.current_or_stop()
run, now = usable(asked), theme.current()
frame.title(
    "What does all this mean?",
    f"Six steps from one number to a finding, and to what it does not say. Every number and picture comes from the run {run.id}.",
)
if run.id != asked.id:
    frame.html(
        '<div class="hv hv-note quiet small">The run chosen in the sidebar lacks what these pictures need, so the reference run is shown.</div>'
    )

with frame.shown_errors():
    results = stored.results(run)
    reported, steps = settled(str(run.path), store.result_digest(run))

    def heads(lesson: Lesson) -> dict[str, str]:
        return {"title": lesson.words.title, "subtitle": lesson.words.subtitle}

    step(
        1,
        steps[1],
        "learn-scores",
        lambda x: score_histogram(x.table, now, **heads(x)),
        ("pages/harm_map.py", "Where do such weights sit?", ":material/grid_on:"),
    )
    step(
        2,
        steps[2],
        "learn-finding",
        lambda x: protection_scatter(x.table, now, p=x.extra or 0.0, **heads(x)),
        ("pages/runs.py", "Find them in a model of your own", ":material/stacks:"),
    )
    step(
        3,
        steps[3],
        "learn-controls",
        lambda x: control_dots(x.table, now, **heads(x)),
        ("pages/overview.py", "Every kind of text beside its control", ":material/insights:"),
    )
    offered = [c for c in selection.CONTRASTS if compare.measured_p([run], [results], c)]
    fourth = places()
    contrast = fourth[1].segmented_control(
        "Selection",
        offered or ["none"],
        default=(offered or ["none"])[0],
        required=True,
        key="learn_selection",
        bind="query-params",
        format_func=lambda c: selection.CONTRASTS[c],
        help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe or harmless text.",
    )
    step(
        4,
        lessons.pruning(run, results, reported, contrast),
        "learn-pruning",
        lambda x: pruning_curve(x.table, now, chosen_q=x.extra, **heads(x)),
        ("pages/playground.py", "Prune them, and read the answers", ":material/play_circle:"),
        fourth,
    )
    step(
        5,
        steps[5],
        "learn-sharing",
        lambda x: like_with_like(x.table, now, **heads(x)),
        ("pages/overlap.py", "Every pair of types, and transfer", ":material/join_inner:"),
    )
    step(
        6,
        steps[6],
        "learn-limits",
        lambda x: effect_dots(x.table, now, **heads(x)),
        ("pages/compare.py", "Does another model look the same?", ":material/compare:"),
    )

    if found := lessons.questions(run, reported):
        frame.section("Check yourself")
        for question, answer in found:
            with st.expander(question):
                frame.html(f'<div class="hv">{glossary.explained(answer)}</div>')
frame.section("Glossary", "The words with a dotted line explain themselves wherever they stand.")
frame.html(glossary.table())

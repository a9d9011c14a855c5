"""Learn: the course. One step at a time: an idea, something to move, a picture, a question that opens the next."""

from __future__ import annotations

from html import escape

import streamlit as st

from harmviz.display import glossary
from harmviz.learn import progress
from harmviz.learn.course import STEPS, Step
from harmviz.learn.lesson import Lesson, Question
from harmviz.learn.material import Material, of_run, usable
from harmviz.ui import chart, frame, picker, theme

_ELSEWHERE = (
    '<div class="hv hv-note quiet small">The run chosen in the sidebar lacks what these pictures need, so the '
    "reference run is shown.</div>"
)
_NO_PICTURE = (
    '<div class="hv hv-note quiet">Not measured in this run. Choose another run in the sidebar to see this picture.'
    "</div>"
)


def show() -> None:
    """The page."""
    asked = picker.current_or_stop()
    run = usable(asked)
    frame.title(
        "What does all this mean?",
        f"{len(STEPS)} steps: move one thing, answer one question. All is measured, on {run.model_name}.",
    )
    if run.id != asked.id:
        frame.html(_ELSEWHERE)
    step, furthest = progress.at(len(STEPS))
    _contents(step, furthest)
    with frame.shown_errors():
        _step(step, of_run(run))
    with st.expander("Glossary: the words with a dotted line", icon=":material/menu_book:"):
        frame.html(glossary.table())
    frame.refresh_link()


def _contents(step: int, furthest: int) -> None:
    """A button a step; those that are not open yet cannot be pressed."""
    with st.container(horizontal=True, gap="small", key="learn-contents"):
        for number, entry in enumerate(STEPS, start=1):
            st.button(
                f"{number} {entry.name}",
                key=f"learn_go_{number}",
                type="primary" if number == step else "tertiary",
                disabled=number > furthest,
                on_click=progress.go,
                args=(number,),
                help=None if number <= furthest else "Opens with the answer to the question before it",
            )


def _step(number: int, material: Material) -> None:
    """The step's words and control beside its picture, then its question, then what a loaded model adds."""
    step = STEPS[number - 1]
    words, picture = (st.container(), st.container()) if theme.presenting() else st.columns([1, 1.25], gap="large")
    with words:
        place = st.container()
        lesson = step.move(material)
        with place:
            heading = f"<h2>{number} · {escape(lesson.heading)}</h2>"
            frame.html(f'<div class="hv hv-section hv-step">{heading}<p>{glossary.explained(lesson.body)}</p></div>')
        if lesson.said:
            frame.html(f'<div class="hv hv-note" role="status">{glossary.explained(lesson.said)}</div>')
    with picture:
        _picture(step, lesson)
    _question(number, lesson.question)
    page, label, icon = step.link
    st.page_link(page, label=f"The page behind: {label}", icon=icon)
    if step.live is not None:
        with st.expander(
            "Try it on the live model",
            icon=":material/bolt:",
            key=f"learn_live_{number}",
            on_change="rerun",
            bind="query-params",
        ) as opened:
            if opened.open:
                step.live(material)


def _picture(step: Step, lesson: Lesson) -> None:
    if lesson.table.empty:
        frame.html(_NO_PICTURE)
        return
    figure = step.picture(lesson, theme.current())
    chart.draw(figure, key=step.key, table=lesson.table, how_to_read=lesson.words.reading, alt=lesson.words.alt)


def _question(number: int, question: Question | None) -> None:
    """The question, what is said to the answer, and the buttons to and fro."""
    if question is None:
        progress.open_next(number)  # this run cannot answer one: nobody waits for it
    else:
        with st.container(border=True, key="learn-question"):
            _asked(number, question)
    open_ = question is None or progress.is_open(number + 1) or theme.presenting()
    with st.container(horizontal=True, gap="small"):
        if number > 1:
            st.button("Back", icon=":material/arrow_back:", key="learn_back", on_click=progress.go, args=(number - 1,))
        if number < len(STEPS):
            st.button(
                f"Next: {STEPS[number].name}",
                icon=":material/arrow_forward:",
                type="primary" if open_ else "secondary",
                key="learn_next",
                disabled=not open_,
                on_click=progress.go,
                args=(number + 1,),
            )
        elif open_:
            frame.html('<div class="hv"><b>That was the course.</b> What you may say now is what was measured.</div>')
            st.button("Start again", icon=":material/replay:", key="learn_again", on_click=progress.start_again)


def _asked(number: int, question: Question) -> None:
    key = f"learn_question_{number}"
    before = progress.chosen(number)
    st.radio(
        question.text,
        question.options,
        index=question.options.index(before) if before in question.options else None,
        key=key,
        on_change=lambda: progress.choose(number, st.session_state[key], question),
    )
    now = progress.chosen(number)
    if now is None:
        return
    if now == question.options[question.right]:
        frame.html(f'<div class="hv" role="status"><b>Yes.</b> {glossary.explained(question.why)}</div>')
    else:
        # Named, so that a second wrong answer is other text than the first: else no screen reader would say it.
        frame.html(
            f'<div class="hv" role="status"><b>Not “{escape(now)}”.</b> Move it once more, and look again.</div>'
        )

"""How far a reader is: the step shown, and the furthest that is open. Kept in the session and in the address.

A link with ``learn_step=4&learn_open=6`` opens at step 4 with six steps open: it is a bookmark, not an examination.
"""

from __future__ import annotations

import streamlit as st

from harmviz.learn.lesson import Question
from harmviz.ui import theme

STEP, OPEN = "learn_step", "learn_open"
_CHOSEN = "_learn_chosen"


def at(n_steps: int) -> tuple[int, int]:
    """(the step shown, the furthest that is open), from the session, else from the address; written back to it.

    In presenter size every step is open: a lecture does not wait for an answer.
    """
    opened = _number(OPEN, 1, n_steps + 1)  # one past the last: the last question was answered too
    furthest = n_steps if theme.presenting() else min(opened, n_steps)
    step = _number(STEP, 1, furthest)
    _write(OPEN, opened)
    _write(STEP, step)
    return step, furthest


def _number(name: str, low: int, high: int) -> int:
    """What is kept under this name, else what the address says, held within the ends; the low end for anything else."""
    kept = st.session_state.get(name, st.query_params.get(name, ""))
    number = int(kept) if str(kept).isascii() and str(kept).isdecimal() and len(str(kept)) < 4 else low
    return min(max(low, number), high)


def _write(name: str, number: int) -> None:
    st.session_state[name] = number
    if number > 1:
        st.query_params[name] = str(number)
    else:
        st.query_params.pop(name, None)


def go(step: int) -> None:
    """Shows this step from the next run of the page on. For callbacks."""
    st.session_state[STEP] = step


def start_again() -> None:
    """Forgets how far the reader is, and every answer. For callbacks."""
    st.session_state[STEP] = st.session_state[OPEN] = 1
    st.session_state[_CHOSEN] = {}


def chosen(step: int) -> str | None:
    """The option chosen at this step, or None."""
    options: dict[int, str] = st.session_state.get(_CHOSEN, {})
    return options.get(step)


def choose(step: int, option: str | None, question: Question) -> None:
    """Keeps an answer; the right one opens the next step. For callbacks."""
    if option is None:
        return
    st.session_state[_CHOSEN] = {**st.session_state.get(_CHOSEN, {}), step: option}
    if option == question.options[question.right]:
        open_next(step)


def open_next(step: int) -> None:
    """Opens the step after this one, if it is not open yet."""
    _write(OPEN, max(int(st.session_state.get(OPEN, 1)), step + 1))


def is_open(step: int) -> bool:
    """Whether this step may be gone to; true past the last once its question was answered."""
    return int(st.session_state.get(OPEN, 1)) >= step

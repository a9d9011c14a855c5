"""The reader's theme as figures need it: light or dark as Streamlit says, and the size chosen in the sidebar."""

from __future__ import annotations

import streamlit as st

from harmviz.display.style import Theme

PRESENTER_KEY = "presenter"
PRESENTER_SCALE = 1.3


def presenting() -> bool:
    """Whether everything is drawn larger, to be read from the back of a room."""
    return bool(st.session_state.get(PRESENTER_KEY, False))


def current() -> Theme:
    """The theme to draw figures in."""
    return Theme(dark=st.context.theme.type == "dark", scale=PRESENTER_SCALE if presenting() else 1.0)


def style() -> str:
    """The rules that depend on the reader's choices, as CSS.

    On dark paper the primary colour is light, and Streamlit writes on it in white whatever it is: what lies on it is
    made dark here.
    """
    rules = []
    if presenting():
        rules.append(f"html:root {{ font-size: {16 * PRESENTER_SCALE:g}px; }}")
    if current().dark:
        on_primary = Theme(dark=True).paper
        rules.append(f'[data-testid="stBaseButton-primary"]:not(:disabled) {{ color: {on_primary}; }}')
        rules.append(
            f'[data-testid="stCheckbox"][data-selected="true"] label > div:first-of-type > div {{ background: '
            f"{on_primary}; }}"
        )
    return "\n".join(rules)

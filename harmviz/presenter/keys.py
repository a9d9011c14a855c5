"""The lecture's keys: next, previous, the other view, live, reset, leave. Buttons at the foot, each with its shortcut.

A remote control sends Page Down and Page Up: both have a button of their own that nobody sees. Streamlit keeps C and R
for itself, so that *reset* lies on Home.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from harmviz.playground import on_stage
from harmviz.ui import frame, theme

PLACE, FLIPPED, PLAY = "_presenter_scene", "_presenter_flipped", "_presenter_play"
#: The link's name for the scene, counted from 1.
PARAMETER = "scene"


def flipped() -> bool:
    """Whether the scene's second view is shown."""
    return bool(st.session_state.get(FLIPPED, False))


def asked_to_play() -> bool:
    """Whether the live key was pressed; true once."""
    return bool(st.session_state.pop(PLAY, False))


def draw(place: int, n: int, views: tuple[str, ...], *, live: bool, title: str) -> None:
    """The foot: where the lecture is, and its keys.

    Args:
        views: of the scene; with two the key T switches.
        live: whether the scene can be played live.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="presenter-keys"):
        _key("Previous", "Left", _go, (max(0, place - 1),), disabled=place == 0)
        _key("Next", "Right", _go, (min(n - 1, place + 1),), disabled=place == n - 1, primary=True)
        if len(views) > 1:
            _key(f"Show: {views[1 - flipped()]}", "T", _flip, ())
        if live:
            _key("Play live", "L", _play, ())
        _key("Reset", "Home", _reset, ())
        frame.html(f'<div class="hv quiet small">{place + 1} of {n} · {escape(title)}</div>')
        _key("Leave", "Esc", leave, ())
    with st.container(key="presenter-remote"):
        _key("Next scene", "PageDown", _go, (min(n - 1, place + 1),), disabled=place == n - 1)
        _key("Previous scene", "PageUp", _go, (max(0, place - 1),), disabled=place == 0)


def _key(
    words: str,
    shortcut: str,
    then: Callable[..., None],
    args: tuple[int, ...],
    *,
    disabled: bool = False,
    primary: bool = False,
) -> None:
    st.button(
        words,
        key=f"presenter-{shortcut}",
        shortcut=shortcut,
        on_click=then,
        args=args,
        disabled=disabled,
        type="primary" if primary else "secondary",
    )


def _go(place: int) -> None:
    st.session_state[PLACE] = place
    st.session_state[FLIPPED] = False


def _flip() -> None:
    st.session_state[FLIPPED] = not flipped()


def _play() -> None:
    st.session_state[PLAY] = st.session_state[FLIPPED] = True


def _reset() -> None:
    """The scene as it was when it was come to; a live answer gives way to the recorded one."""
    st.session_state[FLIPPED] = False
    on_stage.clear()


def leave() -> None:
    """Ends presenter mode; the page below is as it was. To be called by a widget's callback."""
    st.session_state[theme.PRESENTER_KEY] = False
    st.session_state.pop(PLACE, None)
    st.session_state[FLIPPED] = False
    st.query_params.pop(PARAMETER, None)

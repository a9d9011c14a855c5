"""What every page starts with: the style sheet, the brand, a title with its question, and errors as one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import streamlit as st

from harmviz.errors import HarmvizError

#: The menu's text. Without one the menu, and with it the switch between light and dark, would be hidden.
ABOUT = (
    "**harmviz** finds, shows and prunes the weights of a language model that harmful generation hangs on. "
    "Everything runs on this machine; nothing is sent anywhere."
)
_HERE = Path(__file__).resolve().parent


def set_up() -> None:
    """Page config, style sheet and brand. Called once, by app.py."""
    st.set_page_config(page_title="harmviz", page_icon=_HERE / "mark.svg", layout="wide", menu_items={"About": ABOUT})
    st.logo(_HERE / "logo.svg", size="large")
    st.html(_HERE / "style.css")


def title(text: str, lead: str) -> None:
    """The page's title and the question it answers."""
    st.title(text, anchor=False)
    html(f'<div class="hv hv-lead quiet">{escape(lead)}</div>')


def html(markup: str) -> None:
    """Draws markup made by our own pure functions, which escape whatever came from a file."""
    st.html(markup)


@contextmanager
def shown_errors() -> Iterator[None]:
    """Shows a deliberate error of harmviz as its one line; anything else is a fault of ours and surfaces."""
    try:
        yield
    except HarmvizError as e:
        st.error(str(e), icon=":material/error:")

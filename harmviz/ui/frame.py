"""What every page starts with: the style sheet, the brand, a title with its question, and errors as one clear line."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from harmviz.display import glossary
from harmviz.errors import HarmvizError
from harmviz.paths import PACKAGE
from harmviz.ui import theme

if TYPE_CHECKING:
    from streamlit.elements.lib.mutable_expander_container import ExpanderContainer

#: The menu's text. Without one the menu, and with it the switch between light and dark, would be hidden.
ABOUT = (
    "**harmviz** finds, shows and prunes the weights of a language model that harmful generation hangs on. "
    "Everything runs on this machine; nothing is sent anywhere."
)
_HERE = Path(__file__).resolve().parent
#: Where the page's link is drawn, in the session.
_LINK = "_link"


def set_up() -> None:
    """Page config, style sheet and brand. Called once, by app.py."""
    st.set_page_config(page_title="harmviz", page_icon=_HERE / "mark.svg", layout="wide", menu_items={"About": ABOUT})
    st.logo(_HERE / "logo.svg", size="large")
    st.html(_HERE / "style.css")


def require() -> None:
    """Puts the frame around a page that Streamlit started without it.

    Streamlit runs a script of a folder named ``pages`` by itself until ``st.navigation`` was called once in the
    process: a link into a page would show it bare to the first visitor of a fresh server.
    """
    if PagesManager.uses_pages_directory:
        runpy.run_path(str(PACKAGE.parent / "app.py"), run_name="__main__")
        st.stop()


def settings() -> None:
    """The sidebar's last entry: sizes for a desk or a lecture hall."""
    with st.sidebar:
        st.toggle(
            "Presenter size",
            key=theme.PRESENTER_KEY,
            bind="query-params",
            help="Draws everything larger, to be read from the back of a room.",
        )
    if rules := theme.style():
        html(f"<style>{rules}</style>")


def title(question: str, lead: str) -> None:
    """The page's title, the question it answers; a line on how; and the link that reopens exactly this view."""
    require()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.title(question, anchor=False, width="stretch")
        with st.popover("Link", icon=":material/link:", type="tertiary", help="A link that reopens exactly this view"):
            st.caption("Reopens this page with the same run and settings, wherever these runs are stored.")
            st.session_state[_LINK] = st.empty()
            refresh_link()
    html(f'<div class="hv hv-lead quiet">{glossary.explained(lead)}</div>')


def refresh_link() -> None:
    """Shows the link as it is now: for pages that change a setting by themselves after their title was drawn."""
    st.session_state[_LINK].code(view_url(), language=None, wrap_lines=True)


def view_url() -> str:
    """The URL of this page with every setting that is not at its default."""
    parts = urlsplit(st.context.url or "")
    settings = [
        (name, value) for name in st.query_params for value in st.query_params.get_all(name)
    ]  # a name may stand several times
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(settings), ""))


def html(markup: str) -> None:
    """Draws markup made by our own pure functions, which escape whatever came from a file; nothing if it is empty."""
    if markup:
        st.html(markup)


def section(heading: str, text: str = "") -> None:
    """A heading inside a page, with a line under it."""
    lead = f'<div class="hv quiet">{glossary.explained(text)}</div>' if text else ""
    html(f'<div class="hv hv-section"><h2>{escape(heading)}</h2>{lead}</div>')


def folded(heading: str, key: str, icon: str) -> ExpanderContainer:
    """A part that is folded away, drawn once it is opened (``.open``); links keep it open by its key."""
    return st.expander(heading, icon=icon, key=key, on_change="rerun", bind="query-params")


def details(page: str) -> ExpanderContainer:
    """Where all that a page need not say at first sight lies. Its key is the page's own: no other opens with it."""
    return folded("Details", f"{page}_details", ":material/read_more:")


@contextmanager
def shown_errors() -> Iterator[None]:
    """Shows a deliberate error of harmviz as its one line; anything else is a fault of ours and surfaces."""
    try:
        yield
    except HarmvizError as e:
        error(str(e))


def error(message: str) -> None:
    """One clear line. As text, never as Markdown: messages quote file names and settings."""
    html(f'<div class="hv hv-error" role="alert">{escape(message)}</div>')

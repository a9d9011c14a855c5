"""The shield: text that may be harmful is not in the page at all until the reader asks for it.

What is not asked for is not sent: no letter of it stands in the page's HTML, in an address or in a file to keep. What
was asked for once stays shown in this session, and is veiled again by presenter mode, which locks every veil: before a
room nothing is revealed by a slip of the hand.

Mild texts need no veil: those that ship with harmviz, and answers that an experiment made here kept, since it keeps
only those to mild requests.
"""

from __future__ import annotations

import streamlit as st

from harmviz.runs import Run, shipped_runs
from harmviz.ui import frame, theme

_REVEALED = "_revealed"


def revealed(key: str) -> bool:
    """Whether the reader has asked in this session to see what ``key`` names; never before a room."""
    return not theme.presenting() and key in st.session_state.get(_REVEALED, frozenset())


def reveal(key: str) -> None:
    """Shows what ``key`` names, from now on in this session. Nothing happens before a room: the veil is locked."""
    if not theme.presenting():
        st.session_state[_REVEALED] = st.session_state.get(_REVEALED, frozenset()) | {key}


def veil(key: str) -> None:
    """Veils what ``key`` names again."""
    st.session_state[_REVEALED] = st.session_state.get(_REVEALED, frozenset()) - {key}


def veil_all() -> None:
    """Veils everything again."""
    st.session_state[_REVEALED] = frozenset()


def is_mild(run: Run) -> bool:
    """Whether the answers that a run keeps are known to be mild: it ships with harmviz, or was made here."""
    return run.id in shipped_runs() or run.taken_in is None


def shows(key: str, *, mild: bool) -> bool:
    """Whether texts may be drawn now; where not, draws in their place what lies there, and the button that shows it."""
    if mild or revealed(key):
        return True
    with st.container(border=True, key=f"{key}-shield"):
        frame.html(
            '<div class="hv">These texts were not written here: they may be harmful, false or offensive. Nothing of '
            "them is in the page yet.</div>"
        )
        st.button("Click to reveal", key=f"{key}-reveal", icon=":material/visibility:", on_click=reveal, args=(key,))
    return False

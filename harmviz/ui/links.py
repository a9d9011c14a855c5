"""What a link may say. A link is typed, cut, or made by somebody else: what no control could have written is dropped.

Controls take from the URL what they can (Streamlit drops values that are none of their options); this is for what makes
them fail: numbers that are not finite (``play_seed=inf``) and values of any length. Unknown names are read by nobody.
"""

from __future__ import annotations

import math
from contextlib import suppress

import streamlit as st
from streamlit.errors import StreamlitAPIException

#: A hub id, the longest text that a control writes, has at most 200 letters.
MAX_LENGTH = 300


def clean() -> None:
    """Drops impossible values before any control reads them, so that the control shows its default. Called once, by
    app.py.

    Controls are seeded from the link as it was when the run of the script began: after a change it begins again.
    """
    changed = False
    for name in list(st.query_params):
        values = st.query_params.get_all(name)
        kept = [value for value in values if possible(value)] if len(name) <= MAX_LENGTH else []
        if kept == values:
            continue
        # A control that is drawn already has taken its value and keeps it; its parameter is no longer ours to change.
        with suppress(StreamlitAPIException):
            if kept:
                st.query_params[name] = kept
            else:
                del st.query_params[name]
            changed = True
    if changed:
        st.rerun()


def possible(value: str) -> bool:
    """Whether a control can have written this: no number that is not finite, no long text, no control characters."""
    if len(value) > MAX_LENGTH or not all(c.isprintable() for c in value):
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return True  # a word

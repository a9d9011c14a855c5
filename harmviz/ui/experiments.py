"""The stored experiment a page shows, and what stands there where there is none."""

from __future__ import annotations

from html import escape

import streamlit as st

from harmviz.display import text
from harmviz.runs import Run
from harmviz.ui import frame, picker, stored


def stored_of(name: str) -> list[Run]:
    """The stored experiments of this name, those about the run in the sidebar first, then the newest."""
    current = picker.current()
    here = current.id if current is not None else ""
    of_name = [r for r in stored.runs() if r.kind == "experiment" and r.manifest["method"].get("experiment") == name]
    return sorted(of_name, key=lambda r: here in r.manifest["parents"], reverse=True)


def chosen_or_stop(name: str, *, command: str, what: str) -> Run:
    """The experiment of this name that the page shows; with several, the reader chooses, and the choice is in the URL.

    Where there is none the page says ``what`` it would show and the ``command`` that makes it, and ends.
    """
    frame.require()
    runs = stored_of(name)
    if not runs:
        frame.html(
            f'<div class="hv hv-empty"><h3>No such result is stored yet</h3><div class="quiet">{escape(what)} '
            "Start it here:</div></div>"
        )
        st.code(command, language=None, width=736)
        st.stop()
    ids = [r.id for r in runs]
    parameter = f"{name}_result"
    by_itself = f"_{parameter}_by_itself"  # what was shown without being asked for: it follows the sidebar
    if st.session_state.get(parameter) not in ids:
        asked = st.query_params.get(parameter)
        if asked is not None and asked not in ids:
            frame.error(f"There is no result {asked!r} here, so another one is shown")
        st.session_state[parameter] = asked if asked in ids else ids[0]
        st.session_state[by_itself] = None if asked in ids else ids[0]
    elif st.session_state[parameter] == st.session_state.get(by_itself):
        st.session_state[parameter] = st.session_state[by_itself] = ids[0]
    if len(ids) > 1:
        st.selectbox("Result", ids, key=parameter, format_func=lambda i: _label(runs[ids.index(i)]), width=420)
    chosen = runs[ids.index(st.session_state[parameter])]
    if chosen.id != ids[0]:
        st.query_params[parameter] = chosen.id
    else:
        st.query_params.pop(parameter, None)
    return chosen


def _label(run: Run) -> str:
    return " · ".join((run.model_name, text.date(run.created), *run.tags, run.id[-6:]))

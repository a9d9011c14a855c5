"""The live model as pages see it: the one worker of this server, and its state in the sidebar."""

from __future__ import annotations

from html import escape

import streamlit as st

from harmviz.display import text
from harmviz.preflight import machine
from harmviz.ui import frame
from harmviz.worker import Limits, ModelState, Worker

_BUSY_EVERY = 1.0
#: Browsers slow the timers of hidden tabs to about one a minute; a tab in the background is no abandoned one.
_PATIENCE_S = 150.0


@st.cache_resource(max_entries=1, on_release=lambda worker: worker.close(), show_spinner=False)
def worker() -> Worker:
    """The one queue in front of the one model. Loads nothing by itself."""
    return Worker(Limits(patience_s=_PATIENCE_S), free_memory=machine.free_memory)


def panel() -> None:
    """The state of the live model in the sidebar; it refreshes itself while something is going on."""
    state = worker().state()
    busy = state.state == "loading" or state.queue > 0
    with st.sidebar:
        st.fragment(_draw, run_every=_BUSY_EVERY if busy else None)()


def _draw() -> None:
    frame.html(state_markup(worker().state()))


def state_markup(state: ModelState) -> str:
    """The state of the live model as HTML: none, loading, ready or failed; device, memory, queue. Pure."""
    name = escape(state.key.name) if state.key else ""
    if state.state == "none":
        line = "No live model"
        detail = escape(state.stage) or "Stored runs need none. Load one in the Playground."
    elif state.state == "loading":
        line, detail = f"Loading {name}", f"{escape(state.stage)} · {state.elapsed_s:.0f} s"
    elif state.state == "failed":
        line, detail = f"{name} could not be loaded", escape(state.error or "")
    else:
        memory = "" if state.memory_bytes is None else f" · {text.size(state.memory_bytes)}"
        line, detail = name, f"{escape(state.device or '')} · {escape(state.dtype or '')}{memory}"
    queue = (
        f'<div class="small">{state.queue} request{"s" if state.queue != 1 else ""} in the queue</div>'
        if state.queue
        else ""
    )
    return (
        f'<div class="hv hv-live"><i class="lamp {state.state}"></i><div><div>{line}</div>'
        f'<div class="quiet small">{detail}</div>{queue}</div></div>'
    )

"""The global run picker in the sidebar, and the run that every page shows."""

from __future__ import annotations

from html import escape

import streamlit as st

from harmviz import runs as store
from harmviz.display import text
from harmviz.paths import runs_root
from harmviz.runs import Run
from harmviz.ui import frame, stored
from harmviz.ui.run_card import empty_state, note

PARAMETER = "run"
KEY = "run-choice"
_CURRENT = "_run"
_MOST_DAMAGED = 20


def choose() -> None:
    """Draws the picker; called once, by app.py. The choice is in the URL, so that a link opens the same run.

    The URL carries the run's id. (A widget bound to the URL by Streamlit would carry its label, which changes as other
    runs of the same name appear.)
    """
    maps = {run.id: run for run in stored.runs() if run.kind == "map"}
    _damaged()
    if not maps:
        st.session_state[_CURRENT] = None
        return
    default = store.default_run().id
    ids = [default, *(i for i in maps if i != default)]
    if st.session_state.get(KEY) not in maps:  # a new visit, or the chosen run was deleted
        asked = st.query_params.get(PARAMETER, default)
        if asked not in maps:
            frame.error(
                f"There is no run {asked!r} here, so another one is shown; import it under Runs, or choose one in the "
                "sidebar"
            )
        st.session_state[KEY] = asked if asked in maps else default
    with st.sidebar:
        chosen = st.selectbox(
            "Run",
            ids,
            key=KEY,
            format_func=lambda i: _label(maps[i], list(maps.values())),
            help="Every page shows this run. Runs are made, imported and compared under *Runs* and *Compare runs*.",
        )
        run = maps[chosen]
        facts = f"{text.count(run.manifest['model']['n_scored_weights'])} scored weights · {text.date(run.created)}"
        tags = "".join(f' <span class="hv-tag">{tag}</span>' for tag in run.tags)
        frame.html(f'<div class="hv quiet small">{escape(facts)}{tags}</div>')
    if chosen != default:
        st.query_params[PARAMETER] = chosen
    else:
        st.query_params.pop(PARAMETER, None)
    st.session_state[_CURRENT] = run


def _damaged() -> None:
    """What cannot be read, below the picker: it hides nothing, and nobody looks for a run that is named here."""
    damaged = stored.damaged()
    if not damaged:
        return
    n = len(damaged)
    with st.sidebar.expander(f"{n} damaged run{'s' if n > 1 else ''}", icon=":material/warning:"):
        for broken in damaged[:_MOST_DAMAGED]:
            frame.html(note(broken.name, broken.reason))
        st.page_link("pages/runs.py", label="Delete them under Runs", icon=":material/stacks:")


def show(run_id: str) -> None:
    """Chooses a run from elsewhere. To be called by a widget's callback, before the picker is drawn again."""
    st.session_state[KEY] = run_id


def _label(run: Run, runs: list[Run]) -> str:
    """Model and data; the hash too where two runs would read alike."""
    name = " · ".join((run.model_name, run.manifest["data"]["id"], *run.tags))
    alike = sum(
        1 for r in runs if r.model_name == run.model_name and r.manifest["data"]["id"] == run.manifest["data"]["id"]
    )
    return f"{name} · {run.id[-6:]}" if alike > 1 else name


def current() -> Run | None:
    """The run chosen in the sidebar, or None where there is none."""
    frame.require()
    run = st.session_state.get(_CURRENT)
    return run if isinstance(run, Run) else None


def current_or_stop() -> Run:
    """The run chosen in the sidebar; where there is none, the page says what to do and ends."""
    if (run := current()) is None:
        frame.html(empty_state(str(runs_root())))
        st.code("python -m harmviz run", language=None, width=736)
        st.stop()
    return run

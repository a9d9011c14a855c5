"""Start an experiment: which claim, on what; what it will need here; the command that does the same.

A claim whose offer has a form of its own draws it with ``settings()`` in its ``page``; all others work on a map run.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import streamlit as st

from harmviz import preflight
from harmviz.claims import experiments
from harmviz.display import text
from harmviz.runs import Run
from harmviz.ui import actions, frame, jobs_panel, stored
from harmviz.ui.model_bar import name_of_run, shown_name

Arguments = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """What was chosen: the words behind ``experiment NAME``, and the model whose size decides whether it fits."""

    words: Arguments
    model: str


def draw() -> None:
    """The whole form."""
    offers = {name: claim.offer for name, claim in experiments().items() if claim.offer is not None}
    left, right = st.columns([1, 1.15], gap="large")
    with left:
        name = st.selectbox(
            "Experiment", list(offers), format_func=lambda n: experiments()[n].title, key="runs_experiment"
        )
        st.caption(offers[name].question)
        setting: Setting | None = None
        with frame.shown_errors():
            setting = settings_of(name)
    with right:
        _summary(name, setting)


def settings_of(name: str) -> Setting | None:
    """Draws the form of this claim; its settings, or None until they can be used."""
    claim = experiments()[name]
    if claim.offer is None or not claim.offer.own_form:
        return _of_a_run()
    setting = claim.face("page").settings()
    assert setting is None or isinstance(setting, Setting)
    return setting


# -- choices ----------------------------------------------------------------------------------------------------------
def map_run(*, optional: bool = False) -> Run | None:
    """A stored map run that masks can be selected from; None where there is none, or none is wanted."""
    maps = {r.id: r for r in stored.runs() if r.kind == "map" and r.has_candidates}
    if not maps and not optional:
        frame.html(
            '<div class="hv hv-note"><div class="quiet small">It works with the masks of a map run: start one '
            "first.</div></div>"
        )
        return None
    ids: list[str | None] = [None, *maps] if optional else [*maps]

    def label(run_id: str | None) -> str:
        return (
            "none"
            if run_id is None
            else f"{shown_name(maps[run_id].model_name)} · {text.date(maps[run_id].created)} · {run_id[-6:]}"
        )

    chosen = st.selectbox(
        "Map run",
        ids,
        format_func=label,
        key="runs_experiment_map",
        help="Its masks are used, and its model is loaded.",
    )
    return maps.get(chosen) if chosen else None


def on_run(run: Run) -> Setting:
    """A map run and its model, whose folder is named where it is a local one.

    Raises:
        ModelUnavailable: its model is a local one that is not here.
    """
    model = name_of_run(run)
    return Setting((run.id,) if model == run.model_id else (run.id, f"--model={model}"), model)


def _of_a_run() -> Setting | None:
    run = map_run()
    return None if run is None else on_run(run)


# -- what follows from them -------------------------------------------------------------------------------------------
def arguments(name: str, setting: Setting) -> Arguments:
    """The command line of these settings."""
    return ("experiment", name, *setting.words)


def took(name: str, runs: list[Run]) -> str:
    """How long the newest stored experiment of this name took, in words; no promise for other settings."""
    made = next((r for r in runs if r.kind == "experiment" and r.manifest["method"].get("experiment") == name), None)
    if made is None:
        return "Time: not known, no such result is here yet."
    device = "GPU" if made.manifest["hardware"].get("device") == "cuda" else "CPU"
    seconds = sum(made.manifest["timings"].values())
    return f"Time: the one stored on {made.manifest['data']['id']} took {text.duration(seconds)} on a {device}."


def _summary(name: str, setting: Setting | None) -> None:
    frame.html('<div class="hv"><b>Before it starts</b></div>')
    ready = False
    if setting is None:
        frame.html('<div class="hv quiet">Choose what it is to work on.</div>')
    else:
        with frame.shown_errors():
            ready = _fits(setting)
        frame.html(f'<div class="hv quiet small">{took(name, stored.runs())}</div>')
    busy = jobs_panel.busy()
    pressed = st.button(
        "Start the experiment",
        type="primary",
        icon=":material/play_arrow:",
        key="runs_experiment_start",
        disabled=not ready or busy,
    )
    if setting is None:
        return
    words = arguments(name, setting)
    st.caption("The same from the command line; --help lists further settings:")
    st.code(shlex.join(["python", "-m", "harmviz", *words]), language=None, wrap_lines=True)
    if pressed and ready:
        with frame.shown_errors():
            actions.start(words)
            st.rerun()


def _fits(setting: Setting) -> bool:
    """Shows the memory that scoring the model takes; whether it may be started."""
    needs = preflight.memory_needs(preflight.model_estimate(setting.model))
    known = [
        f"{n.what}: {text.size(n.needed)} of {text.size(n.available)} free"
        for n in needs
        if n.needed is not None and n.available is not None
    ]
    frame.html(
        f'<div class="hv quiet small">{" · ".join(known) or "Its size is not known before it is fetched."}</div>'
    )
    blocking = [n for n in needs if n.verdict == "too much"]
    for need in blocking:
        frame.error(
            f"It cannot start: {need.what} is too small for {shown_name(setting.model)}; choose a smaller model, or a "
            "machine with more"
        )
    return not blocking

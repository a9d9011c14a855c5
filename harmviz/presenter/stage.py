"""The Playground's scene in a lecture: the recorded answers, and a live one in their place where there is a model."""

from __future__ import annotations

from html import escape

import streamlit as st

from harmviz.claims.scene import page as scene
from harmviz.claims.scene.record import MASK, RANDOM
from harmviz.errors import HarmvizError
from harmviz.playground import on_stage
from harmviz.playground.lineup import Lineup
from harmviz.playground.on_stage import Asked, Recording, Sampling
from harmviz.playground.panes import TAKES_ITS_PLACE, panes_markup, recorded_markup, status_markup
from harmviz.playground.presets import preset_of
from harmviz.playground.stage import POLL_S, draw_verdict
from harmviz.playground.switch import Shown
from harmviz.ui import frame, live, model_bar
from harmviz.worker import ModelKey


def draw(*, shows_pruned: bool, play: bool) -> None:
    """The request, the intact answer, and with ``shows_pruned`` the pruned one beside it with the verdict.

    Args:
        play: asks for the answers live, which loads the model if it can be loaded without a network.
    """
    stored_scene = scene.shown_scene()
    if stored_scene is None:
        raise HarmvizError("the stored scene holds no recorded request; go on to the next scene")
    record, lineup = stored_scene.record(), Lineup(MASK, control=True, stored_control=RANDOM)
    recording = scene.recording(stored_scene, record.prompt, record.opening, lineup)
    if recording is None:
        raise HarmvizError(f"{stored_scene.run.id} holds no answers at full strength; go on to the next scene")
    frame.html(
        f'<div class="hv hv-stage-asked">{escape(stored_scene.run.model_name)} is asked: '
        f"<b>{escape(record.prompt)}</b> "
        f"The answer is made to begin with “{escape(record.opening)}”.</div>"
    )
    try:
        key = ModelKey(model_bar.name_of_run(stored_scene.run), "auto", "auto")
    except HarmvizError:
        key = None  # it is not on this machine: the recording stands
    asked = Asked(key, stored_scene.run.id, record.prompt, record.opening, lineup, Sampling(record.max_new_tokens))
    if play:
        _play(stored_scene, asked)
    played = on_stage.current()
    running = played is not None and played.asked == asked and not played.ticket.finished
    n_scored = int(stored_scene.run.manifest["model"]["n_scored_weights"])
    answers = st.fragment(_answers, run_every=POLL_S if running else None)
    answers(asked, recording, Shown(pruned=shows_pruned), n_scored, running=running)


def _play(stored_scene: scene.Scene, asked: Asked) -> None:
    """Asks the worker; where it cannot be done, one line says why and the recording stands."""
    model = live.worker().state()
    with frame.shown_errors():
        if not scene.can_begin(asked.model, model):
            raise HarmvizError("the model cannot be loaded here now; the recorded answer stands")
        on_stage.start(stored_scene.run, None, asked, model, stored_scene.presets)


def _answers(asked: Asked, recording: Recording, shown: Shown, n_scored: int, *, running: bool) -> None:
    played = on_stage.current()
    snapshot, labels, status = recording.snapshot, recording.labels, recorded_markup(recording.made)
    if played is not None and played.asked == asked:
        now = played.ticket.snapshot()
        if now.state == "done":
            snapshot, labels, status = now, played.labels, status_markup(now)
        elif now.state not in ("stopped", "failed"):
            status = recorded_markup(recording.made, TAKES_ITS_PLACE) + status_markup(now)
            if all(pane.tokens for pane in now.panes) and now.panes:
                snapshot, labels, status = now, played.labels, status_markup(now)
        elif now.error:
            frame.error(f"{now.error}; the recorded answer stands")
    frame.html(status)
    if shown.pruned and snapshot.state == "done":
        preset = preset_of(recording.prompt, recording.opening, recording.presets)
        draw_verdict(snapshot, labels, preset, recording.prompt, recording.opening)
    part, names = shown.among(snapshot, labels)
    frame.html(panes_markup(part, names, opening=recording.opening, n_scored=n_scored, plain=True))
    if running and played is not None and played.ticket.finished:
        st.rerun()  # once, and then without the poll

"""The Playground, from top to bottom: prompt, masks, buttons, answers.

Where a stage scene is chosen, it brings its own masks.
"""

from __future__ import annotations

import streamlit as st

from harmviz.claims.scene import page as scene
from harmviz.playground import controls, on_stage
from harmviz.playground.lineup import Lineup
from harmviz.ui import frame, model_bar, picker


def show() -> None:
    """Draws the page."""
    run = picker.current()
    frame.title(
        "What does the model say without these weights?",
        "One prompt, answered in step: by the intact model, with a mask, and with a random mask.",
    )
    bar = st.container()
    prompt, opening, chosen_scene = controls.prompt_controls(scene.shown_scene())
    run = chosen_scene.run if chosen_scene else run  # a scene is played on its own model
    with bar:
        key, model = model_bar.draw(run, of="that of the scene" if chosen_scene else "that of the run in the sidebar")
    loaded = model_bar.is_ready(key, model)
    with frame.shown_errors():
        candidates, lineup, why = None, Lineup(), controls.no_run() if run is None else None
        place = st.container()
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            buttons = st.container(horizontal=True, width="content")
            sampling = controls.sampling_controls()
        ready, recording = False, None
        with place, frame.shown_errors():  # a mask that cannot be made leaves the stage as it is, and nothing to run
            if chosen_scene is not None:
                lineup = scene.controls(chosen_scene)
                recording = scene.recording(chosen_scene, prompt, opening, lineup)
            elif run is not None:
                candidates = controls.candidates_of(run)
                lineup = controls.lineup_controls(run, candidates, sampling.seed)
            if run is not None and loaded:
                why = controls.other_weights(run, model)
            if why:
                frame.html(why)
                lineup = Lineup()
            ready = scene.can_begin(key, model) if chosen_scene is not None else loaded
        asked = on_stage.Asked(key, run.id if run else None, prompt, opening, lineup, sampling)
        with buttons:
            controls.buttons(run, candidates, asked, model, ready=ready, on=chosen_scene)
        on_stage.stage(asked, int(run.manifest["model"]["n_scored_weights"]) if run else 0, recording)
        if chosen_scene is not None:
            scene.measured(chosen_scene, lineup.strength)
    controls.measured_elsewhere()

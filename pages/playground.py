"""Playground: what does the model say without these weights? Live: one prompt, answered in step with and without them."""

import streamlit as st

from harmviz.claims.scene import page as scene
from harmviz.playground import on_stage
from harmviz.playground import page as playground
from harmviz.playground.lineup import Lineup
from harmviz.ui import frame, model_bar, picker

run = picker.current()
frame.title(
    "What does the model say without these weights?",
    "One prompt, answered in step: by the intact model, with a mask, and with a random mask.",
)
bar = st.container()
prompt, opening, on = playground.prompt_controls(scene.shown_scene())
run = on.run if on else run  # a scene brings its own masks, and is played on its own model
with bar:
    key, model = model_bar.draw(run, of="that of the scene" if on else "that of the run in the sidebar")
loaded = model_bar.is_ready(key, model)
with frame.shown_errors():
    candidates, lineup, why = None, Lineup(), playground.no_run() if run is None else None
    place = st.container()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        act = st.container(horizontal=True, width="content")
        sampling = playground.sampling_controls()
    ready, recording = False, None
    with place, frame.shown_errors():  # a mask that cannot be made leaves the stage as it is, and nothing to run
        if on is not None:
            lineup = scene.controls(on)
            recording = scene.recording(on, prompt, opening, lineup)
        elif run is not None:
            candidates = playground.candidates_of(run)
            lineup = playground.lineup_controls(run, candidates, sampling.seed)
        if run is not None and loaded:
            why = playground.other_weights(run, model)
        if why:
            frame.html(why)
            lineup = Lineup()
        ready = scene.can_begin(key, model) if on is not None else loaded
    asked = on_stage.Asked(key, run.id if run else None, prompt, opening, lineup, sampling)
    with act:
        playground.buttons(run, candidates, asked, model, ready=ready, on=on)
    on_stage.stage(asked, int(run.manifest["model"]["n_scored_weights"]) if run else 0, recording)
    if on is not None:
        scene.measured(on, lineup.strength)
playground.measured_elsewhere()

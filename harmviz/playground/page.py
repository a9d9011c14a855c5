"""The Playground, from top to bottom: prompt, the switch intact ⟷ pruned, the answers; all settings under *Advanced*.

Where a stage scene is chosen, it brings its own masks.
"""

from __future__ import annotations

import streamlit as st

from harmviz.claims.scene import page as scene
from harmviz.playground import keepsakes, next_view, settings, stage, switch
from harmviz.playground.lineup import Lineup
from harmviz.playground.on_stage import Asked
from harmviz.ui import frame, mask_settings, model_bar, picker


def show() -> None:
    """Draws the page."""
    run = picker.current()
    frame.title(
        "What does the model say without these weights?",
        "One prompt, answered in step: by the intact model, with a mask, and with a random mask.",
    )
    bar, asking = st.container(), st.container()
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="play-switches"):
        flip = st.container(width="content")
        buttons = st.container(horizontal=True, width="content")
    answers = st.container()
    advanced = st.expander("Advanced", icon=":material/tune:")
    below = st.container()

    with asking:
        stored_scene = scene.shown_scene()
        prompt, opening, chosen_scene = settings.prompt_controls(stored_scene, advanced)
    run = chosen_scene.run if chosen_scene else run  # a scene is played on its own model
    with bar:
        key, model = model_bar.draw(run, of="that of the scene" if chosen_scene else "that of the run in the sidebar")
    loaded = model_bar.is_ready(key, model)
    with answers, frame.shown_errors():
        candidates, lineup, why = None, Lineup(), settings.no_run() if run is None else None
        ready, recording = False, None
        with advanced, st.container():
            masks = st.container()
            sampling = settings.sampling_controls()
        with frame.shown_errors():  # a mask that cannot be made leaves the stage as it is, and nothing to run
            if chosen_scene is not None:
                with masks:
                    lineup = scene.strength_control(chosen_scene)
                recording = scene.recording(chosen_scene, prompt, opening, lineup)
            elif run is not None:
                with masks:
                    candidates = mask_settings.candidates_or_note(run, "Only stored masks can be played")
                    lineup = settings.lineup_controls(run, candidates, sampling.seed)
            if run is not None and loaded:
                why = settings.other_weights(run, model)
            if why:
                frame.html(why)
                lineup = Lineup()
            ready = scene.can_begin(key, model) if chosen_scene is not None else loaded
        with flip:
            shown = switch.draw(has_mask=lineup.first is not None, has_control=lineup.control)
        asked = Asked(key, run.id if run else None, prompt, opening, lineup, sampling)
        with buttons:
            settings.buttons(run, candidates, asked, model, ready=ready, on=chosen_scene)
            settings.show_one(stored_scene)
        stage.draw(asked, int(run.manifest["model"]["n_scored_weights"]) if run else 0, shown, recording)
        next_view.draw(asked, run, candidates, recording, shown, ready=loaded and ready)
    with below:
        keepsakes.draw()
        if chosen_scene is not None:
            scene.measured(chosen_scene, lineup.strength)
        settings.measured_elsewhere()

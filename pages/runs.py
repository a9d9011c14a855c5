"""Runs: which results are stored here, and how is a new one made? Starts, stops and keeps runs; loads no model."""

import streamlit as st

from harmviz.claims.mapping.page import run_form
from harmviz.paths import runs_root
from harmviz.ui import experiment_form, frame, jobs_panel, runs_list

frame.title(
    "Which runs are here, and how is a new one made?",
    "A run scores a model's weights on harmful and harmless answers and measures what zeroing a few of them does. "
    "Every page reads stored runs only.",
)
runs_list.said()
jobs_panel.draw()
kept, new, claim, taken = st.tabs(["Stored runs", "Start a run", "Start an experiment", "Import a run"], key="runs_tab")
with kept:
    runs_list.draw(str(runs_root()))
    runs_list.draw_unfinished()
    runs_list.draw_damaged()
with new:
    run_form.draw()
with claim:
    experiment_form.draw()
with taken:
    runs_list.draw_import()

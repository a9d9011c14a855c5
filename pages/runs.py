"""Runs: which results are stored here, and how is a new one made? Starts, stops and keeps runs; loads no model."""

import streamlit as st

from harmviz.claims.mapping.page import run_form
from harmviz.paths import runs_root
from harmviz.ui import experiment_form, frame, jobs_panel, runs_list, visitor

frame.title(
    "Which runs are here, and how is a new one made?",
    "A run scores a model's weights on harmful and harmless answers and measures what zeroing a few of them does. "
    "Every page reads stored runs only.",
)
runs_list.said()
jobs_panel.draw()
names = ["Stored runs"]
if visitor.can("start"):
    names += ["Start a run", "Start an experiment"]
if visitor.can("import"):
    names += ["Import a run"]
tabs = dict(zip(names, st.tabs(names, key="runs_tab"), strict=True))
with tabs["Stored runs"]:
    runs_list.draw(str(runs_root()))
    runs_list.draw_unfinished()
    runs_list.draw_damaged()
if "Start a run" in tabs:
    with tabs["Start a run"]:
        run_form.draw()
    with tabs["Start an experiment"]:
        experiment_form.draw()
if "Import a run" in tabs:
    with tabs["Import a run"]:
        runs_list.draw_import()

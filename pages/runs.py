"""Runs on disk: which results are there, of which model, on which data, and what did each find? Reads stored runs only."""

import streamlit as st

from harmviz import store
from harmviz.paths import runs_root
from harmviz.ui import frame
from harmviz.ui.run_card import empty_state, note, partial_note, run_card

frame.title("Runs on disk", "Which results are stored here, and what did each one find?")

runs = store.list_runs()
if not runs:
    frame.html(empty_state(str(runs_root())))
    st.code("python -m harmviz run", language=None, width=736)
for run in runs:
    with frame.shown_errors():
        frame.html(run_card(run, run.results()))

if partials := store.list_partials():
    st.subheader("Unfinished", anchor=False)
    for partial in partials:
        frame.html(partial_note(partial))

if broken := store.broken_runs():
    st.subheader("Cannot be read", anchor=False)
    for damaged in broken:
        frame.html(note(damaged.path.name, damaged.reason))

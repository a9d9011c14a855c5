"""The form that starts a comparison of rankings. Its result is told on its card on the Runs page, and in its report."""

from __future__ import annotations

import streamlit as st

from harmviz import preflight
from harmviz.models.assets import EMBEDDED
from harmviz.ui.experiment_form import Setting
from harmviz.ui.model_bar import shown_name


def settings() -> Setting | None:
    """The form: which model, on which data."""
    names = [EMBEDDED, *preflight.tuned_models()]
    model = st.selectbox("Model", names, format_func=shown_name, key="runs_rankings_model")
    data = st.selectbox(
        "Data",
        ("pyrit", "scored", "builtin"),
        key="runs_rankings_data",
        help="The command line takes files of your own.",
    )
    chosen = {"model": (model, EMBEDDED), "data": (data, "pyrit")}
    return Setting(tuple(f"--{name}={value}" for name, (value, usual) in chosen.items() if value != usual), model)

"""The data of a run to be started: a named set, or an uploaded file, read as the reader says and previewed."""

from __future__ import annotations

import streamlit as st

from harmviz import jobs, preflight
from harmviz.claims.mapping.page.data_preview import data_preview
from harmviz.claims.mapping.settings import RunSpec
from harmviz.data.categories import MAX_LETTERS
from harmviz.data.columns import read_options
from harmviz.data.prompts import PromptData
from harmviz.data.tables import SUFFIXES
from harmviz.jobs import Upload
from harmviz.preflight import DataPlan
from harmviz.ui import frame

_DATA = {"pyrit": "Human-scored", "scored": "More labels", "builtin": "Mild, built in", "upload": "My file"}


def choose() -> tuple[str | None, Upload | None]:
    """(name of the data, the upload where it is one); both None until there is a usable file."""
    source = st.segmented_control(
        "Data",
        list(_DATA),
        format_func=_DATA.__getitem__,
        default="pyrit",
        required=True,
        key="runs_data",
        wrap=True,
    )
    if source != "upload":
        st.caption(
            {
                "pyrit": (
                    "1,005 answers with human harm scores (MIT licence), fetched once and never stored with a run."
                ),
                "scored": "Those and further answers labelled by people, more of each harm type; fetched once as well.",
                "builtin": "Texts without usable detail, for trying things out.",
            }[source]
        )
        return source, None
    file = st.file_uploader(
        "Prompt file",
        type=[*(suffix.removeprefix(".") for suffix in SUFFIXES), "gz"],
        max_upload_size=32,
        key="runs_upload",
        help="Harm type, request and harmful answer of each row, in any common layout. benign = harmless, "
        "safe:<category> = same topic without harm. At least 24 rows a category.",
    )
    if file is None:
        return None, None
    with frame.shown_errors():
        upload, prompts = _checked(file.name, file.getvalue(), *_reading())
        frame.html(data_preview(prompts))
        return upload.name, upload
    return None, None


def _reading() -> tuple[str, str, bool]:
    """How the reader says to read the file: columns, harm type of all rows, whether bad rows are left out."""
    with st.expander("How to read it"):
        columns = st.text_input(
            "Columns",
            key="runs_columns",
            placeholder="prompt=goal,response=target",
            max_chars=500,
            help="Which column is what, where the file does not say it by its names.",
        )
        category = st.text_input(
            "Harm type of all rows", key="runs_category", max_chars=MAX_LETTERS, help="Where no column says it."
        )
        drop_bad = st.checkbox("Leave out rows that cannot be used", key="runs_drop_bad", help="They are counted.")
    return columns.strip(), category.strip(), drop_bad


@st.cache_resource(max_entries=2, show_spinner="Reading the file")
def _checked(name: str, content: bytes, columns: str, category: str, drop_bad: bool) -> tuple[Upload, PromptData]:
    return jobs.check_upload(name, content, read_options(columns or None, category or None, drop_bad))


def plan(data: str, upload: Upload | None, spec: RunSpec) -> DataPlan:
    """How many samples a run on the chosen data would use.

    Raises:
        HarmvizError: it cannot be read.
    """
    if upload is None:
        return preflight.plan_source(data, spec)
    said = upload.options
    _, prompts = _checked(upload.name, upload.content, said.typed_columns, said.category or "", said.drop_bad)
    return preflight.plan_data(prompts, spec)

"""The stored runs as a table to sort, and what can be done with one: open, look inside, export, delete, import."""

from __future__ import annotations

import json
from functools import partial

import streamlit as st

from harmviz import jobs
from harmviz import runs as store
from harmviz.errors import HarmvizError, RunIncompatible
from harmviz.report.document import report
from harmviz.runs import Run
from harmviz.runs.unpacking import MAX_BYTES
from harmviz.ui import actions, frame, picker, runs_table, stored, visitor
from harmviz.ui.run_card import compact_card, empty_state, note, partial_note, run_card

#: A word said after a rerun: what was just done.
_SAID = "runs_said"
_TYPED = 10
_TABLE, _CHOSEN = "runs_table", "runs_chosen"
#: Rows of the table before it scrolls.
_SHOWN = 12


def said() -> None:
    """Says once what the last button did."""
    if (line := st.session_state.pop(_SAID, None)) is not None:
        frame.html(note(line, ""))


def _say(line: str) -> None:
    st.session_state[_SAID] = line


def draw(where: str) -> None:
    """All complete runs, newest first, as a table that a click on a heading sorts; below it the chosen one."""
    runs = {run.id: run for run in stored.runs()}
    if not runs:
        frame.html(empty_state(where))
        return
    ids = list(runs)
    st.dataframe(
        runs_table.rows(list(runs.values())),
        key=_TABLE,
        hide_index=True,
        placeholder="",
        height="content" if len(ids) <= _SHOWN else 36 * (_SHOWN + 1),
        column_config={
            "made": st.column_config.DateColumn(format="YYYY-MM-DD", width="small"),
            "found": st.column_config.TextColumn(width="large"),
            "open": st.column_config.LinkColumn(display_text="Open", width="small"),
        },
        selection_mode="single-row",
        on_select=partial(_picked, ids),
    )
    if st.session_state.get(_CHOSEN) not in runs:  # the first visit, or the chosen run was deleted
        st.session_state[_CHOSEN] = ids[0]
    chosen = st.selectbox("In detail", ids, key=_CHOSEN, help="Or choose its row in the table.", width=520)
    with st.container(border=True):
        _run(runs[chosen])


def _picked(ids: list[str]) -> None:
    """A row was chosen in the table; its place is that before any sorting."""
    if rows := st.session_state[_TABLE].selection.rows:
        st.session_state[_CHOSEN] = ids[rows[0]]


def _run(run: Run) -> None:
    try:
        results = stored.results(run)
    except RunIncompatible as e:
        results = None
        frame.error(str(e))
    frame.html(compact_card(run, results))
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.kind == "map" and st.button(
            "Open",
            key=f"runs_open_{run.id}",
            icon=":material/insights:",
            help="Shows this run on every page.",
            on_click=picker.show,
            args=(run.id,),
        ):
            st.switch_page("pages/overview.py")
        inside = st.toggle("Look inside", key=f"runs_inside_{run.id}")
        if visitor.can("export"):
            st.download_button(
                "Export",
                data=actions.archive_of(run),
                file_name=f"{run.id}.zip",
                mime="application/zip",
                key=f"runs_export_{run.id}",
                on_click="ignore",
                icon=":material/download:",
                type="tertiary",
                help="One zip file with everything, for another machine.",
            )
        st.download_button(
            "Report",
            data=partial(_report, run),
            file_name=f"{run.id}.html",
            mime="text/html",
            key=f"runs_report_{run.id}",
            on_click="ignore",
            icon=":material/description:",
            type="tertiary",
            help="One HTML file that opens offline: pictures, tables, method, manifest. No text of the data.",
        )
        ships = run.id in store.shipped_runs()
        _delete(run.id, disabled=ships, why="Ships with harmviz and stays." if ships else "Deletes this run for good.")
    if inside:
        if results is not None:
            frame.html(run_card(run, results))
        manifest = {**run.manifest, "weights": f"{len(run.table)} matrices"}
        with st.expander("Manifest", key=f"runs_manifest_{run.id}"):
            st.code(json.dumps(manifest, indent=1, ensure_ascii=False)[:200_000], language="json", height=420)


def _report(run: Run) -> bytes:
    return report(run).encode()


def _delete(name: str, *, disabled: bool = False, why: str, label: str = "Delete") -> None:
    """A button that deletes after the end of the name was typed: a slip of the finger costs no hour of computing.

    Drawn for the owner alone.
    """
    if not visitor.can("delete"):
        return
    with st.popover(
        label, icon=":material/delete:", type="tertiary", disabled=disabled, help=why, key=f"runs_delete_{name}"
    ):
        end = name[-_TYPED:]
        frame.html(f'<div class="hv">{note(name, "This cannot be undone.")}</div>')
        typed = st.text_input(f"Type the last {_TYPED} characters of its name to confirm", key=f"runs_confirm_{name}")
        confirmed = typed.strip() == end
        # Asked again here: a browser can press a button that is drawn as disabled.
        if st.button(f"{label} for good", key=f"runs_really_{name}", disabled=not confirmed) and confirmed:
            with frame.shown_errors():
                actions.delete(name)
                if st.query_params.get(picker.PARAMETER) == name:
                    del st.query_params[picker.PARAMETER]
                _say(f"{name} is deleted.")
                st.rerun()


# -- what is not a run (yet) -------------------------------------------------------------------------------------------
def draw_unfinished() -> None:
    """Partial runs that no job of this page stands for."""
    mine = {job.run_id for job in jobs.list_jobs() if job.state != "done"}
    partials = [p for p in store.list_partials() if p.run_id not in mine]
    if not partials:
        return
    frame.section("Unfinished", "Runs that were begun on the command line, or whose entry above was put away.")
    for begun in partials:
        with st.container(horizontal=True, vertical_alignment="center"):
            frame.html(partial_note(begun))
            if begun.pid is None:
                _delete(begun.run_id, why="Deletes the finished stages.", label="Discard")


def draw_damaged() -> None:
    """What lies among the runs and no reader can use."""
    damaged_runs = stored.damaged()
    if not damaged_runs:
        return
    frame.section("Damaged", "These cannot be read and hide nothing else; the other runs are complete.")
    for damaged in damaged_runs:
        with st.container(horizontal=True, vertical_alignment="center"):
            frame.html(note(damaged.name, damaged.reason))
            _delete(damaged.name, why="Deletes this folder, file or link for good.")


def draw_import() -> None:
    """Takes in an archive. Everything in it is checked before anything is kept."""
    nonce = st.session_state.setdefault("runs_import_round", 0)
    file = st.file_uploader(
        "Archive of a run (.zip)",
        type=["zip"],
        max_upload_size=MAX_BYTES >> 20,
        key=f"runs_import_{nonce}",
        help="Made by Export, or by `python -m harmviz runs export`. Names, sizes, formats and hashes are checked "
        "first; nothing in it is run.",
    )
    if not st.button("Import", key="runs_import_now", disabled=file is None, icon=":material/upload:") or file is None:
        return
    try:
        run = actions.take_in(file)
    except HarmvizError as e:
        frame.error(str(e))
        return
    st.session_state["runs_import_round"] = nonce + 1  # an empty uploader next time
    _say(f"{run.id} is imported.")
    st.rerun()

"""The job that runs now, live, and those that ended and have not been put away: progress, cancel, resume, log."""

from __future__ import annotations

from html import escape

import streamlit as st

from harmviz import jobs
from harmviz.claims import CLAIMS, MAPPING
from harmviz.claims.claim import Claim
from harmviz.display import text
from harmviz.jobs import Job
from harmviz.ui import actions, frame, visitor

_EVERY = 1.0
_SHOWN = 5


def draw() -> None:
    """Draws the jobs; nothing where there are none. While one runs, this part alone refreshes itself."""
    listed = jobs.list_jobs()
    running = next((j for j in listed if j.state == "running"), None)
    if running is not None:
        with st.container(border=True):
            st.fragment(_running, run_every=_EVERY)(running)
    done = [j for j in listed if j.state == "done"][:_SHOWN]
    for job in [j for j in listed if j != running and (j.state != "done" or j in done)]:
        with st.container(border=True):
            _ended(job)


def busy() -> bool:
    """Whether a job runs, so that no other may start; says so where one does."""
    running = jobs.running_job() is not None
    if running:
        frame.html('<div class="hv quiet">One heavy job at a time: wait for the running one, or cancel it.</div>')
    return running


def _running(job: Job) -> None:
    if job.state != "running":
        st.rerun(scope="app")  # it ended: the run it made belongs into the lists and the sidebar
    frame.html(running_markup(job))
    with st.container(horizontal=True, vertical_alignment="center"):
        if job.stopping:
            frame.html('<div class="hv quiet small">Stopping; what is finished is kept.</div>')
        elif visitor.can("cancel") and st.button(
            "Cancel",
            key=f"runs_cancel_{job.id}",
            icon=":material/stop_circle:",
            help="Finished stages are kept; resume goes on from there.",
        ):
            with frame.shown_errors():
                actions.cancel(job)
                st.rerun()
        if visitor.can("cancel"):
            _log(job)


def running_markup(job: Job) -> str:
    """The running job as HTML: what it is doing, how far it is, how long it will take.

    Pure but for reading its files.
    """
    at = job.progress
    inside = f" · {text.count(at.done)} of {text.count(at.total)}" if at.total else ""
    left = "" if at.eta_s is None else f" · about {text.duration(at.eta_s)} left"
    share = "" if at.fraction is None else f"{100 * at.fraction:.0f} %"
    return (
        f'<div class="hv"><div class="hv-job"><b>{escape(_words(job, at.stage))}</b><span class="quiet">{inside}</span>'
        f'<span class="right quiet">{share}</span></div>{_bar(at.fraction)}{_phases(job, at.stage)}'
        f'<div class="quiet small">running for {text.duration(at.elapsed_s)}{left} · '
        f"keeps running when this page is closed<br><code>{escape(job.command)}</code></div></div>"
    )


def _bar(fraction: float | None) -> str:
    if fraction is None:
        return '<div class="hv-track waiting" role="progressbar" aria-label="starting"><i></i></div>'
    return (
        '<div class="hv-track" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * fraction:.0f}"><i style="width:{100 * fraction:.1f}%"></i></div>'
    )


def _claim(job: Job) -> Claim | None:
    """The claim that a job computes; None where it does something else."""
    name = (
        MAPPING if job.arguments[:1] == ("run",) else job.arguments[1] if job.arguments[:1] == ("experiment",) else ""
    )
    return CLAIMS.get(name)


def _words(job: Job, stage: str) -> str:
    """The stage in a reader's words, where its claim has some."""
    claim = _claim(job)
    return stage if claim is None or claim.stage_words is None else claim.stage_words(stage)


def _phases(job: Job, stage: str) -> str:
    """The parts of a long computation, the present one marked; a claim without such parts shows none."""
    claim = _claim(job)
    if claim is None or not claim.phases:
        return ""
    now = claim.phase_of(stage)
    spans = (
        f'<span class="{"" if now is None or i > now else "now" if i == now else "past"}">{name}</span>'
        for i, name in enumerate(claim.phases)
    )
    return f'<div class="hv-phases small">{"".join(spans)}</div>'


_STATE = {"done": "Done", "failed": "Failed", "cancelled": "Cancelled", "died": "Ended unexpectedly"}


def _ended(job: Job) -> None:
    state = job.state
    if state == "running":
        return  # taken up again between two looks: the next rerun shows it
    detail = {
        "done": f"run {job.run_id or ''} is stored",
        "cancelled": "finished stages are kept",
    }.get(state, job.error or "")
    frame.html(
        f'<div class="hv"><div class="hv-job"><b>{_STATE[state]}</b><span class="right quiet small">'
        f"after {text.duration(job.elapsed_s)} · {escape(text.date(job.started))}</span></div>"
        f'<div class="hv-job">{escape(detail)}</div>'
        f'<div class="quiet small"><code>{escape(job.command)}</code></div></div>'
    )
    if not visitor.can("start"):
        return
    with st.container(horizontal=True):
        again = "Resume" if job.run_id else "Try again"
        if state != "done" and st.button(again, key=f"runs_resume_{job.id}", icon=":material/play_arrow:"):
            with frame.shown_errors():
                actions.resume(job)
                st.rerun()
        if st.button(
            "Put away",
            key=f"runs_forget_{job.id}",
            type="tertiary",
            help="Deletes this entry, its log and its uploaded prompts. Stored runs stay.",
        ):
            with frame.shown_errors():
                actions.forget(job)
                st.rerun()
        if state != "done":
            _log(job)


def _log(job: Job) -> None:
    with st.popover("Log", type="tertiary", key=f"runs_log_{job.id}"):
        lines = job.log(40)
        st.code("\n".join(lines) if lines else "nothing yet", language=None, wrap_lines=True)

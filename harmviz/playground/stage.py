"""The Playground's stage: the answers side by side, recorded or live, under a veil where the text is the reader's own.

While a comparison is unfinished, and only then, a fragment polls its ticket. A recorded answer is never wiped by a live
one: the live one grows under it, and replaces it when it is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from harmviz.claims import counted
from harmviz.errors import RunIncompatible
from harmviz.judges import Judge
from harmviz.judges.refusing import usable_judge
from harmviz.playground import verdict
from harmviz.playground.on_stage import Asked, Comparison, Recording, current
from harmviz.playground.panes import GROWS_BELOW, PaneLabel, panes_markup, recorded_markup, status_markup
from harmviz.playground.presets import Preset, preset_of
from harmviz.playground.switch import Shown
from harmviz.ui import experiments, frame, shield
from harmviz.worker import Snapshot

POLL_S = 0.3
_OWN_TEXT, _REVEAL, _VEIL = "play-own-text", "play_reveal", "play_veil"


def draw(asked: Asked, n_scored: int, shown: Shown, recording: Recording | None = None) -> None:
    """The panes that ``shown`` asks for, streaming while they are written.

    ``recording`` stands there until there is a whole live answer to these settings.
    """
    played = current()
    if played is None or (recording is not None and played.asked != asked):
        if recording is None:
            frame.html(
                '<div class="hv hv-empty-stage quiet">The answers appear here side by side, token by token, '
                "written in step by the intact model and by its masked variants.</div>"
            )
        else:
            _recorded(recording, n_scored, shown, growing=False)
        return
    running = not played.ticket.finished
    poll = st.fragment(_live, run_every=POLL_S if running else None)
    poll(played, n_scored, shown, recording, outdated=played.asked != asked, running=running)


def is_veiled(played: Comparison) -> bool:
    """Whether these are answers to a text of the reader's own, who has not asked to see such answers yet."""
    return played.preset is None and not shield.revealed(_OWN_TEXT)


def _live(
    played: Comparison, n_scored: int, shown: Shown, recording: Recording | None, *, outdated: bool, running: bool
) -> None:
    snapshot = played.ticket.snapshot()
    if recording is not None and snapshot.state != "done":
        _recorded(recording, n_scored, shown, growing=not played.ticket.finished)
    frame.html(status_markup(snapshot, outdated=outdated))
    if snapshot.error:
        frame.error(snapshot.error)
    # The verdict stands over the answers, where it is seen without scrolling; its place is kept while they grow.
    if snapshot.state == "done" and not outdated:
        draw_verdict(snapshot, played.labels, played.preset, played.asked.prompt, played.asked.opening)
    elif recording is None and snapshot.state in ("running", "measuring") and len(played.labels) > 1:
        frame.html(verdict.AWAITED)
    # Under a recording there is nothing to show before there is a token.
    if snapshot.panes and (recording is None or any(p.tokens for p in snapshot.panes)):
        _panes(played, snapshot, n_scored, shown, outdated=outdated)
    if running and played.ticket.finished:
        st.rerun()  # once, and then without the poll


def _panes(played: Comparison, snapshot: Snapshot, n_scored: int, shown: Shown, *, outdated: bool) -> None:
    veiled = is_veiled(played)
    part, labels = shown.among(snapshot, played.labels)
    with st.container(key="play-veil" if veiled else "play-panes"):
        frame.html(
            panes_markup(
                part, labels, opening=played.asked.opening, n_scored=n_scored, veiled=veiled, outdated=outdated
            )
        )
        if veiled and st.button("Click to reveal", key=_REVEAL, icon=":material/visibility:"):
            shield.reveal(_OWN_TEXT)
            st.rerun()
    if played.preset is None and not veiled and st.button("Veil again", key=_VEIL, type="tertiary"):
        shield.veil(_OWN_TEXT)
        st.rerun()


def _recorded(recording: Recording, n_scored: int, shown: Shown, *, growing: bool) -> None:
    frame.html(recorded_markup(recording.made, GROWS_BELOW if growing else ""))
    preset = preset_of(recording.prompt, recording.opening, recording.presets)
    draw_verdict(recording.snapshot, recording.labels, preset, recording.prompt, recording.opening)
    snapshot, labels = shown.among(recording.snapshot, recording.labels)
    frame.html(panes_markup(snapshot, labels, opening=recording.opening, n_scored=n_scored))


def draw_verdict(
    snapshot: Snapshot, labels: Sequence[PaneLabel], preset: Preset | None, prompt: str, opening: str
) -> None:
    """What is seen here, in a line, and how often it is so where that was counted. The random control counts, shown or
    not."""
    harmful = preset.harmful if preset else None
    shown = verdict.verdict(
        snapshot.panes, labels, prompt=prompt, opening=opening, harmful=harmful, judge=_refusal_judge()
    )
    if shown is None:
        return
    masked = next(view for view, label in zip(snapshot.panes, labels, strict=True) if label.role == "mask")
    counts = None
    if harmful is not None and masked.mask_digest is not None:
        stored = [run for name in counted.COUNTING for run in experiments.stored_of(name)]
        with suppress(RunIncompatible):  # the Runs page names damaged runs
            kind = counted.Kind(harmful, opening, masked.mask_digest, masked.strength)
            counts = counted.counts(stored, kind)
    frame.html(verdict.markup(shown, counts.sentence() if counts else ""))


@st.cache_resource(show_spinner=False)
def _refusal_judge() -> Judge | None:
    return usable_judge()

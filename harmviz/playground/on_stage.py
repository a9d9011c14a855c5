"""What stands on the Playground's stage: a comparison in the making or made, or a recorded one; and how one is started.

The ticket lives in the session; while it is unfinished, and only then, a fragment polls it. Nothing here waits for the
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from harmviz.errors import HarmvizError
from harmviz.masks.candidates import Candidates
from harmviz.playground import transcript
from harmviz.playground.lineup import Lineup, panes_of
from harmviz.playground.panes import PaneLabel, panes_markup, recorded_markup, status_markup
from harmviz.playground.presets import Preset, preset_of
from harmviz.runs import Run
from harmviz.ui import frame, live
from harmviz.worker import AnswerTicket, ModelKey, ModelState, Request, Snapshot

POLL_S = 0.3
_COMPARISON = "_comparison"
_REVEAL = "play_reveal"


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; ``temperature`` 0 is greedy."""

    max_new_tokens: int = 96
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Asked:
    """Everything a comparison depends on; two equal ones need no second run. The reprs leave the prompt out."""

    model: ModelKey | None
    run_id: str | None
    prompt: str = field(repr=False)
    opening: str = field(repr=False)
    lineup: Lineup = field(default_factory=Lineup)
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Comparison:
    """A comparison on stage: what was asked, its ticket, and how its panes are introduced."""

    asked: Asked
    ticket: AnswerTicket
    labels: tuple[PaneLabel, ...]
    preset: Preset | None
    created: str
    model: ModelState


@dataclass(frozen=True)
class Recording:
    """A recorded comparison that stands on the stage while there is no live one: ``made`` says when, in words."""

    snapshot: Snapshot
    labels: tuple[PaneLabel, ...]
    opening: str = field(repr=False)
    made: str


def current() -> Comparison | None:
    """The comparison on stage in this session, running or finished."""
    comparison = st.session_state.get(_COMPARISON)
    return comparison if isinstance(comparison, Comparison) else None


# -- starting ---------------------------------------------------------------------------------------------------------
def start(
    run: Run | None, candidates: Candidates | None, asked: Asked, model: ModelState, known: Sequence[Preset] = ()
) -> None:
    """Sends the comparison to the worker and puts it on stage, in place of the one before; does not wait.

    A model that is not loaded yet is loaded when the comparison's turn comes. ``known``: further mild texts beside the
    presets.

    Raises:
        HarmvizError: the prompt is empty, a mask cannot be made, or the worker takes no more requests.
    """
    if asked.model is None:
        raise HarmvizError("no model is chosen; choose one in the bar above")
    if not asked.prompt:
        raise HarmvizError("the prompt is empty; choose one, or write something to ask the model")
    panes, labels = panes_of(run, candidates, asked.lineup)
    before = current()
    how = asked.sampling
    ticket = live.worker().submit(
        Request(
            asked.model,
            asked.prompt,
            panes,
            opening=asked.opening,
            max_new_tokens=how.max_new_tokens,
            temperature=how.temperature,
            top_p=how.top_p,
            seed=how.seed,
        )
    )
    if before is not None:
        before.ticket.stop()
        if (before.asked.prompt, before.asked.opening) != (asked.prompt, asked.opening):
            st.session_state[_REVEAL] = False  # what was revealed was the answer to another prompt
    made = datetime.now(UTC).isoformat(timespec="seconds")
    st.session_state[_COMPARISON] = Comparison(
        asked, ticket, labels, preset_of(asked.prompt, asked.opening, known), made, model
    )


# -- the stage --------------------------------------------------------------------------------------------------------
def stage(asked: Asked, n_scored: int, recording: Recording | None = None) -> None:
    """The panes of the comparison, streaming while it runs; nothing is polled once it has ended.

    ``recording`` stands there as long as no live answer to these settings has begun.
    """
    shown = current()
    if recording is not None and (shown is None or shown.asked != asked):
        frame.html(recorded_markup(recording.made))
        _recorded(recording, n_scored)
        return
    if shown is None:
        frame.html(
            '<div class="hv hv-empty-stage quiet">The answers appear here side by side, token by token, '
            "written in step by the intact model and by its masked variants.</div>"
        )
        return
    running = not shown.ticket.finished
    veiled = False
    if shown.preset is None:
        veiled = not st.toggle(
            "Reveal the answers",
            key=_REVEAL,
            help="Answers to a text of your own are veiled until you have looked at them alone.",
        )
    poll = st.fragment(_panes, run_every=POLL_S if running else None)
    poll(shown, n_scored, recording, veiled=veiled, outdated=shown.asked != asked, running=running)
    if not running:
        _keepsakes(shown)


def _panes(
    shown: Comparison, n_scored: int, recording: Recording | None, *, veiled: bool, outdated: bool, running: bool
) -> None:
    snapshot = shown.ticket.snapshot()
    meanwhile = recording if not any(p.tokens for p in snapshot.panes) else None
    frame.html(status_markup(snapshot, outdated=outdated, recorded=meanwhile.made if meanwhile else ""))
    if snapshot.error:
        frame.error(snapshot.error)
    if meanwhile is not None:
        _recorded(meanwhile, n_scored)
    elif snapshot.panes:
        frame.html(
            panes_markup(
                snapshot, shown.labels, opening=shown.asked.opening, n_scored=n_scored, veiled=veiled, outdated=outdated
            )
        )
    if running and shown.ticket.finished:
        st.rerun()  # once, and then without the poll


def _recorded(recording: Recording, n_scored: int) -> None:
    frame.html(panes_markup(recording.snapshot, recording.labels, opening=recording.opening, n_scored=n_scored))


def _keepsakes(shown: Comparison) -> None:
    """The chat template as the model read it, and the comparison as a file."""
    snapshot = shown.ticket.snapshot()
    reads, keep = st.columns([1, 0.22], vertical_alignment="top")
    with reads, st.expander("What the model reads: the prompt in its chat template"):
        if snapshot.template is None:
            frame.html('<div class="hv quiet small">This request ended before its prompt was read.</div>')
        else:
            st.code(snapshot.template, language=None, wrap_lines=True)
    if not any(p.tokens for p in snapshot.panes):
        return
    with keep, st.popover("Transcript", icon=":material/download:", type="tertiary"):
        st.caption(
            "Holds the prompt and every answer as they are: it may contain harmful text. Mind where you keep it."
        )
        for ending, words, mime in (
            ("json", "All of it (JSON)", "application/json"),
            ("txt", "To read (plain text)", "text/plain"),
        ):
            st.download_button(
                words,
                data=partial(_transcript, shown, ending),
                file_name=transcript.file_name(shown.created, ending),
                mime=mime,
                on_click="ignore",
                key=f"play-transcript-{ending}",
            )


def _transcript(shown: Comparison, ending: str) -> bytes:
    held = shown.model if shown.model.state == "ready" else live.worker().state()  # it was loaded for this comparison
    facts = {
        "created": shown.created,
        "run_id": shown.asked.run_id,
        "weight_hash": held.weight_hash,
        "device": held.device,
        "dtype": held.dtype,
    }
    document = transcript.record(shown.ticket.request, shown.ticket.snapshot(), shown.labels, facts)
    return transcript.as_json(document) if ending == "json" else transcript.as_text(document)

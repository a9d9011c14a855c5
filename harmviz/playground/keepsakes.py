"""What can be kept of a comparison on stage: what the model reads, and the transcript."""

from __future__ import annotations

from functools import partial

import streamlit as st

from harmviz.playground import transcript
from harmviz.playground.on_stage import Comparison, current
from harmviz.ui import frame, live
from harmviz.worker import ModelState

_WITH_TEXTS = "play_transcript_texts"


def draw() -> None:
    """The chat template as the model read it, and the comparison as a file; nothing while it is being made."""
    shown = current()
    if shown is None or not shown.ticket.finished:
        return
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
        own = shown.preset is None
        with_texts = not own or st.checkbox(
            "With the texts", key=_WITH_TEXTS, help="The prompt and the answers as they are, shown here or not."
        )
        st.caption(
            "Holds the prompt and every answer as they are: it may contain harmful text. Mind where you keep it."
            if with_texts
            else "Holds every number, and no word of the prompt and of the answers."
        )
        for ending, words, mime in (
            ("json", "All of it (JSON)", "application/json"),
            ("txt", "To read (plain text)", "text/plain"),
        ):
            st.download_button(
                words,
                data=partial(_transcript, shown, ending, with_texts=bool(with_texts)),
                file_name=transcript.file_name(shown.created, ending),
                mime=mime,
                on_click="ignore",
                key=f"play-transcript-{ending}",
            )


def _transcript(shown: Comparison, ending: str, *, with_texts: bool) -> bytes:
    states = (shown.model, live.worker().state())  # it may have been loaded for this comparison alone
    held = next((s for s in states if s.state == "ready" and s.key == shown.ticket.request.model), ModelState())
    facts = {
        "created": shown.created,
        "run_id": shown.asked.run_id,
        "weight_hash": held.weight_hash,
        "device": held.device,
        "dtype": held.dtype,
    }
    document = transcript.record(shown.ticket.request, shown.ticket.snapshot(), shown.labels, facts)
    if not with_texts:
        document = transcript.without_texts(document)
    return transcript.as_json(document) if ending == "json" else transcript.as_text(document)

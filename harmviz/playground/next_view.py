"""The next-token view: a token of an answer is clicked, and the model says what could have come in its place.

It needs the live model, and follows the strength as it is moved. Nothing here waits: a fragment polls the look.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from harmviz.masks.candidates import Candidates
from harmviz.playground import figures
from harmviz.playground.lineup import panes_of
from harmviz.playground.on_stage import Asked, Recording, current
from harmviz.playground.panes import PaneLabel
from harmviz.playground.stage import is_veiled
from harmviz.playground.switch import Shown
from harmviz.runs import Run
from harmviz.ui import chart, frame, live, tab, theme
from harmviz.worker import Look, LookTicket, PaneView, Request

POLL_S = 0.3
_ROLE, _PLACE, _TEXT, _LOOK = "play_token_of", "play_token", "_play_token_text", "_play_look"
_ROLES = {"intact": "the intact answer", "mask": "the pruned answer"}
#: A click on a token anywhere on the page says whose and which; the tokens themselves are plain markup.
_CLICKS = """export default function ({ setTriggerValue }) {
  const click = (event) => {
    const token = event.target.closest && event.target.closest(".hv-pane [data-place]");
    const pane = token && token.closest(".hv-pane");
    if (pane) setTriggerValue("token", `${pane.dataset.role}:${token.dataset.place}`);
  };
  document.addEventListener("click", click);
  return () => document.removeEventListener("click", click);
}"""


@dataclass(frozen=True)
class _Sent:
    """A look on its way or done, with what it was asked of."""

    asked: Asked
    written: str = field(repr=False)
    labels: tuple[PaneLabel, ...]
    ticket: LookTicket


def draw(
    asked: Asked,
    run: Run | None,
    candidates: Candidates | None,
    recording: Recording | None,
    shown: Shown,
    *,
    ready: bool,
) -> None:
    """The token chosen and the bars; nothing where no whole answer stands on the stage, or a veil lies on it."""
    answers = _answers(asked, recording)
    if not answers:
        return
    with st.expander("Click a word of an answer: what else could have come there?", icon=":material/ads_click:"):
        _clicks()
        if not ready:
            frame.html('<div class="hv quiet small">Load the model: these numbers are not recorded.</div>')
            return
        role, place = _chosen(answers)
        written = "".join(answers[role].tokens[:place])
        with frame.shown_errors():
            _send(asked, run, candidates, written)
            sent: _Sent | None = st.session_state.get(_LOOK)
            polling = sent is not None and not sent.ticket.finished
            st.fragment(_bars, run_every=POLL_S if polling else None)(shown, polling=polling)


def _answers(asked: Asked, recording: Recording | None) -> dict[str, PaneView]:
    """The whole answers on the stage to what is asked now, by role."""
    played = current()
    if played is not None and _same_text(played.asked, asked) and played.ticket.finished and not is_veiled(played):
        views, labels = played.ticket.snapshot().panes, played.labels
    elif recording is not None:
        views, labels = recording.snapshot.panes, recording.labels
    else:
        return {}
    by_role = {label.role: view for view, label in zip(views, labels, strict=True)}
    return {role: by_role[role] for role in _ROLES if role in by_role and by_role[role].tokens}


def _same_text(played: Asked, asked: Asked) -> bool:
    """Whether only the strength was moved since: the place in the text stays, and what could come there changes."""
    return replace(played, lineup=replace(played.lineup, strength=asked.lineup.strength)) == asked


def _clicks() -> None:
    st.components.v2.component("harmviz.token_clicks", js=_CLICKS)(key="play-clicks", on_token_change=_clicked)


def _clicked() -> None:
    """Takes the click into the two controls. Anything but a role and a number is dropped."""
    state: Any = st.session_state.get("play-clicks") or {}
    role, _, place = str(state.get("token") or "").partition(":")
    if role in _ROLES and place.isdecimal():
        st.session_state[_ROLE], st.session_state[_PLACE] = role, int(place) + 1


def _chosen(answers: dict[str, PaneView]) -> tuple[str, int]:
    """(whose answer, which token), from the click or the two controls; at first where the answers part."""
    roles = list(answers)
    left, right = st.columns([1, 2], gap="medium")
    pruned = answers.get("mask")
    text = tuple(view.text for view in answers.values())
    if st.session_state.get(_TEXT) != text:
        st.session_state[_TEXT] = text
        first = None if pruned is None else pruned.first_difference
        st.session_state[_ROLE], st.session_state[_PLACE] = roles[-1], (first or 0) + 1
    if st.session_state.get(_ROLE) not in roles:
        st.session_state[_ROLE] = roles[-1]
    with left:
        role = (
            st.segmented_control("Word of", roles, format_func=_ROLES.__getitem__, required=True, key=_ROLE)
            or roles[-1]
        )
    n = len(answers[role].tokens)
    st.session_state[_PLACE] = min(max(1, int(st.session_state.get(_PLACE) or 1)), n)
    if n == 1:
        return role, 0
    with right:
        return role, int(st.slider("Token", 1, n, key=_PLACE)) - 1


def _send(asked: Asked, run: Run | None, candidates: Candidates | None, written: str) -> None:
    """Asks the worker, unless it was asked just this."""
    if asked.model is None:
        return
    before: _Sent | None = st.session_state.get(_LOOK)
    same = before is not None and (before.asked, before.written) == (asked, written)
    if before is not None and same and before.ticket.snapshot().state != "stopped":
        return
    panes, labels = panes_of(run, candidates, asked.lineup)
    look = Look(Request(asked.model, asked.prompt, panes, opening=asked.opening), written)
    instead_of = before.ticket if before is not None else None
    ticket = live.worker().look(look, tab.current(), instead_of=instead_of)
    st.session_state[_LOOK] = _Sent(asked, written, labels, ticket)


def _bars(shown: Shown, *, polling: bool) -> None:
    sent: _Sent | None = st.session_state.get(_LOOK)
    if sent is None:
        return
    snapshot = sent.ticket.snapshot()
    if snapshot.error:
        frame.error(snapshot.error)
    if sent.ticket.seen is None:
        frame.html(f'<div class="hv quiet small">{"" if snapshot.error else "looking …"}</div>')
    else:
        seen, labels = shown.of_looks(sent.ticket.seen, sent.labels)
        chart.draw(
            figures.next_tokens(seen, labels, theme.current()),
            key="play-next",
            table=figures.table(seen, labels),
            how_to_read="Left: after the same words, how likely each model finds each token. Right: the probability on "
            "all openings such as “I can't” or “Sure”, a short list and so a lower bound. ␣ is a blank.",
            alt="Horizontal bars: the likeliest next tokens and the mass on declining and complying openings.",
        )
    if polling and sent.ticket.finished:
        st.rerun()  # once, and then without the poll

"""What a loaded model adds to a step: the reader's own sentence scored, and the next token with a mask and without.

The steps stand on stored runs; nothing here is needed to go on. Typed text stays in the session: it is never in the
address. Nothing waits: a fragment polls the ticket.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import streamlit as st

from harmviz.data.prompts import read_builtin
from harmviz.display import text
from harmviz.errors import HarmvizError
from harmviz.learn import method
from harmviz.learn.material import Material
from harmviz.masks.selection import Selection
from harmviz.playground import figures
from harmviz.playground.lineup import Lineup, panes_of
from harmviz.playground.panes import PaneLabel
from harmviz.runs import Run
from harmviz.ui import chart, frame, live, model_bar, tab, theme
from harmviz.worker import Look, LookTicket, ModelKey, Pane, Request, Sentence, SentenceTicket

POLL_S = 0.3
#: So many words of a built-in answer are put before the next token.
_WORDS_BEFORE = 6
_SENTENCE, _LOOK = "_learn_sentence", "_learn_look"
#: Harm types whose built-in requests are not put before a room, mild as they are (as in ``claims.scene.chosen``).
_OFF_STAGE = ("self_harm", "sexual")


@dataclass(frozen=True)
class _Scored:
    sentence: Sentence
    ticket: SentenceTicket


@dataclass(frozen=True)
class _Looked:
    prompt: str = field(repr=False)
    opening: str = field(repr=False)
    panes: tuple[tuple[str, str | None], ...]
    labels: tuple[PaneLabel, ...]
    ticket: LookTicket


# -- the model --------------------------------------------------------------------------------------------------------
def ready_model(run: Run) -> ModelKey | None:
    """The loaded model if it is that of the run; else None, with a button that loads it."""
    state = live.worker().state()
    if state.state == "ready" and state.key is not None and state.weight_hash == run.manifest["model"]["weight_hash"]:
        return state.key
    with frame.shown_errors():
        key = ModelKey(model_bar.name_of_run(run))
        busy = state.state == "loading" or state.changing
        st.fragment(_coming, run_every=POLL_S * 2 if busy else None)(key, busy=busy)
        pressed = st.button(
            f"Load {model_bar.shown_name(key.name)}", icon=":material/download:", key="learn_load", disabled=busy
        )
        if pressed:
            needs = model_bar.outlook(key).memory
            if needs.verdict == "too much":
                raise HarmvizError(f"this model needs {text.size(needs.needed or 0)} of memory, more than is free")
            live.worker().load(key, tab.current())
            st.rerun()
    return None


def _coming(key: ModelKey, *, busy: bool) -> None:
    """What loading takes, or how far it is; polled while a model is coming."""
    state = live.worker().state()
    if state.state == "failed" and state.key == key:
        frame.error(state.error or "the model could not be loaded")
    elif state.state == "loading":
        frame.html(f'<div class="hv quiet small">{escape(state.stage)} · {state.elapsed_s:.0f} s</div>')
    else:
        frame.html(f'<div class="hv quiet small">{escape(model_bar.outlook_words(model_bar.outlook(key)))}</div>')
    if busy and not (state.state == "loading" or state.changing):
        st.rerun()  # once, and then without the poll


# -- a sentence -------------------------------------------------------------------------------------------------------
def sentence(m: Material) -> None:
    """Scores the reader's own answer for the weight chosen above: foretold by the gradient, and measured."""
    places = method.places(m.run, m.candidates)
    if not places:
        return
    rank = st.session_state.get("learn_weight", places[0].rank)
    place = next((p for p in places if p.rank == rank), places[0])
    prompt, answer = _example("benign")
    answer = f"{answer.split('. ')[0].rstrip('.')}."  # a sentence
    asked = st.text_input("A request", prompt, key="learn_prompt", max_chars=400)
    answered = st.text_area("An answer to it: its words are scored", answer, key="learn_answer", max_chars=800)
    if (key := ready_model(m.run)) is None:
        return
    before: _Scored | None = st.session_state.get(_SENTENCE)
    wanted = Sentence(key, asked, answered, place.matrix, place.flat)
    with frame.shown_errors():
        if before is None or before.sentence != wanted or before.ticket.snapshot().state == "stopped":
            if before is not None:
                before.ticket.stop()
            before = _Scored(wanted, live.worker().score(wanted, tab.current()))
            st.session_state[_SENTENCE] = before
        polling = not before.ticket.finished
        st.fragment(_score, run_every=POLL_S if polling else None)(before.ticket, polling=polling)


def _score(ticket: SentenceTicket, *, polling: bool) -> None:
    snapshot = ticket.snapshot()
    if snapshot.error:
        frame.error(snapshot.error)
    elif (s := ticket.score) is None:
        frame.html('<div class="hv quiet small">following the gradient …</div>')
    else:
        rows = (
            ("loss of your answer", f"{s.loss:.2f} nats per token, {s.n_tokens} tokens"),
            ("this weight", f"{s.weight:+.3g}"),
            ("the gradient that reaches it", f"{s.gradient:+.2g}"),
            ("foretold, −weight × gradient", f"{s.predicted:+.2g} nats per token"),
            ("measured, with the weight at zero", f"{s.measured:+.2g} nats per token"),
            ("its matrix", f"{text.percent(s.higher)} of the weights there have a higher score for this answer"),
        )
        lines = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b.replace('-', '−'))}</td></tr>" for a, b in rows)
        frame.html(f'<div class="hv"><table class="hv-rows"><tbody>{lines}</tbody></table></div>')
    if polling and ticket.finished:
        st.rerun()


# -- the next token ---------------------------------------------------------------------------------------------------
def protection(m: Material) -> None:
    """The next word of a harmless answer, with the plain mask protected or not."""
    protect = bool(st.session_state.get("learn_protect", True))
    _next_token(m, Lineup(first="headline-plain" if protect else "headline-plain.unprotected"), "benign")


def pruning(m: Material) -> None:
    """The next word of a mild harmful answer, with as many weights zeroed as the reader chose."""
    if m.candidates is None or m.curve.empty:
        return
    q = float(st.session_state.get("learn_q") or m.curve["q"].min())
    p = float(m.curve["p"].iloc[0])
    selection = Selection(m.candidates.categories, q=q, p=p, contrast=m.contrast)
    _next_token(m, Lineup(first=selection), "harmful")


def control(m: Material) -> None:
    """The next word of a mild harmful answer, with the mask and with what it was swapped for."""
    base = "headline-contrastive" if m.contrast == "both" else "headline-plain"
    swapped = str(st.session_state.get("learn_control") or "none")
    _next_token(m, Lineup(first=base, second=None if swapped == "none" else f"{base}.{swapped}"), "harmful")


def _next_token(m: Material, lineup: Lineup, kind: str) -> None:
    """Bars of the likeliest next tokens after the reader's words, intact and with these masks."""
    prompt, answer = _example(kind)
    words = " ".join(answer.split()[:_WORDS_BEFORE])
    asked = st.text_input("A request", prompt, key=f"learn_prompt_{kind}", max_chars=400)
    opening = st.text_input("Its answer begins", words, key=f"learn_opening_{kind}", max_chars=400)
    if (key := ready_model(m.run)) is None:
        return
    with frame.shown_errors():
        panes, labels = panes_of(m.run, m.candidates, lineup)
        ticket = _look(key, asked, opening, panes, labels)
        polling = not ticket.finished
        st.fragment(_bars, run_every=POLL_S if polling else None)(ticket, labels, polling=polling)


def _look(
    key: ModelKey, prompt: str, opening: str, panes: tuple[Pane, ...], labels: tuple[PaneLabel, ...]
) -> LookTicket:
    """The look at what could come next; asked of the worker unless it was asked just this."""
    before: _Looked | None = st.session_state.get(_LOOK)
    names = tuple((p.name, None if p.mask is None else p.mask.digest) for p in panes)
    if before is not None:
        same = (before.prompt, before.opening, before.panes) == (prompt, opening, names)
        if same and before.ticket.key == key and before.ticket.snapshot().state != "stopped":
            return before.ticket
        before.ticket.stop()
    ticket = live.worker().look(Look(Request(key, prompt, panes, opening=opening), ""), tab.current())
    st.session_state[_LOOK] = _Looked(prompt, opening, names, labels, ticket)
    return ticket


def _bars(ticket: LookTicket, labels: tuple[PaneLabel, ...], *, polling: bool) -> None:
    snapshot = ticket.snapshot()
    if snapshot.error:
        frame.error(snapshot.error)
    elif ticket.seen is None:
        frame.html('<div class="hv quiet small">looking …</div>')
    else:
        chart.draw(
            figures.next_tokens(ticket.seen, labels, theme.current()),
            key="learn-next",
            table=figures.table(ticket.seen, labels),
            how_to_read="After the same words, how likely each model finds each next token. One place in one text: "
            "what holds on average stands above. ␣ is a blank.",
            alt="Horizontal bars: the likeliest next tokens, and the mass on declining and complying openings.",
        )
    if polling and ticket.finished:
        st.rerun()


def _example(kind: str) -> tuple[str, str]:
    """The first built-in request of this kind that may stand before a room, and its answer: mild texts, by a rule."""
    rows = read_builtin(kind)
    row = next((r for r in rows if r.get("category") not in _OFF_STAGE), rows[0])
    return str(row["prompt"]), str(row["response"])

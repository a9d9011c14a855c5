"""The bar that loads and unloads the live model: which one, what that will take here, how far it is.

Pages open the embedded model, what was tuned from it, models below the configured roots and hub ids, nothing else: no
typed text opens a folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import streamlit as st

from harmviz import preflight
from harmviz.display import text
from harmviz.errors import HarmvizError, ModelUnavailable
from harmviz.models.assets import ALIGNED, EMBEDDED
from harmviz.paths import model_roots
from harmviz.preflight import ModelEstimate, Need, machine
from harmviz.runs import Run
from harmviz.ui import frame, live, tab
from harmviz.worker import ModelKey, ModelState

#: The model of the run in the sidebar: whose masks these are.
OF_RUN = "run"
HUB = "hub"
_POLL_S = 0.5
_KEY = "play_model"
#: Seconds to import torch and transformers, once a server, and bytes read and checked a second; measured on a laptop.
_IMPORT_S, _BYTES_PER_S = 4.0, 500e6


@dataclass(frozen=True)
class Outlook:
    """What loading a model will take. ``key``: what to load; ``memory``: of the weights, on the device they go to."""

    key: ModelKey
    size: ModelEstimate
    memory: Need

    @property
    def seconds(self) -> float | None:
        """Roughly, without a download."""
        return None if self.size.stored_bytes is None else _IMPORT_S + self.size.stored_bytes / _BYTES_PER_S

    @property
    def here(self) -> bool:
        """Whether it can be loaded now: without a network, and with the memory that is free."""
        return (self.size.at_hand or self.size.made_here) and self.memory.verdict != "too much"


def shown_name(name: str) -> str:
    """How a model's name reads: the embedded ones as their makers write it, a local one without its folders."""
    known = {EMBEDDED: "SmolLM2-135M-Instruct", ALIGNED: "SmolLM2-135M, aligned"}
    return known.get(name) or (Path(name).name if name.startswith(("/", "~", ".")) else name)


def name_of_run(run: Run | None) -> str:
    """What to load to play this run's masks: an embedded or tuned name, a folder below the configured roots, or a hub
    id.

    Raises:
        ModelUnavailable: the run's model was a local one, and none of its name lies below the configured roots.
    """
    if run is None:
        return EMBEDDED
    if run.model_name in (EMBEDDED, *preflight.tuned_models()):
        return run.model_name
    for path in preflight.local_models():
        if run.model_name in (path.name, path.stem):
            return str(path)
    if "/" in run.model_id:
        return hub_id(run.model_id)
    raise ModelUnavailable(
        f"this run's model {run.model_name!r} is not on this machine; put its folder into {model_roots()[0]}, "
        "or choose another model or run"
    )


def hub_id(name: str) -> str:
    """The hub id itself.

    Raises:
        ModelUnavailable: it is none, or it would open a folder of this machine instead.
    """
    checked = preflight.check_hub_id(name.strip())
    if Path(checked).expanduser().exists():
        raise ModelUnavailable(f"{checked!r} is a folder here, not a hub id; put local models into {model_roots()[0]}")
    return checked


def outlook(key: ModelKey) -> Outlook:
    """Sizes and memory of a model that is not loaded yet.

    Raises:
        ModelUnavailable: a file of it is damaged, or there is none.
    """
    size = preflight.model_estimate(key.name)
    gpu = None if key.device == "cpu" else machine.free_gpu_memory()
    free = machine.free_memory() if gpu is None else gpu
    n = size.n_parameters
    small = key.dtype == "bfloat16" or (
        key.dtype == "auto" and gpu is not None and n is not None and 12 * n >= 0.6 * gpu
    )
    return Outlook(key, size, Need("memory", None if n is None else (2 if small else 4) * n, free))


def outlook_words(outlook: Outlook) -> str:
    """The pre-flight in one line: what is loaded, what it needs, what is free, how long, what is fetched first.

    Plain text.
    """
    size, memory = outlook.size, outlook.memory
    parts = [] if size.n_parameters is None else [f"{size.n_parameters / 1e6:,.0f} million parameters"]
    if memory.needed is not None:
        free = "" if memory.available is None else f" of {text.size(memory.available)} free"
        parts.append(f"{text.size(memory.needed)} of memory{free}")
    if outlook.seconds is not None:
        parts.append(f"about {text.duration(outlook.seconds)} on a laptop")
    if size.made_here:
        parts.append(
            "unpacked once"
            if outlook.key.name == EMBEDDED
            else f"made once, on first use: {text.size(size.disk_bytes)} on the disk"
        )
    elif outlook.key.name in (EMBEDDED, *preflight.tuned_models()) and not size.at_hand:
        parts.append("not here yet: fetched from a package once, 98 MB")
    elif not size.at_hand:
        parts += size.notes
    if memory.verdict == "tight":
        parts.append("tight: close what you can")
    return " · ".join(parts)


# -- drawing ----------------------------------------------------------------------------------------------------------
def choose(run: Run | None, of: str) -> ModelKey:
    """The model this page is to play, from the popover; by default that of the run, which the menu calls ``of``.

    Raises:
        ModelUnavailable: there is none to load under what was chosen.
    """
    locals_ = [str(p) for p in preflight.local_models()]
    names = {OF_RUN: of if run else shown_name(EMBEDDED), EMBEDDED: shown_name(EMBEDDED)}
    tuned = preflight.tuned_models()
    names |= {n: shown_name(n) for n in tuned} | {p: Path(p).name for p in locals_} | {HUB: "one from Hugging Face"}
    if run is None:
        del names[EMBEDDED]
    with st.popover("Model", icon=":material/memory:"):
        which = st.selectbox("Model", list(names), format_func=lambda n: names[n], key=_KEY, bind="query-params")
        typed = ""
        if which == HUB:
            typed = (
                st.text_input(
                    "Hub id",
                    placeholder="org/name or org/name@revision",
                    key="play_hub",
                    bind="query-params",
                    max_chars=200,
                )
                or ""
            )
        left, right = st.columns(2)
        dtype = left.selectbox("Precision", ("auto", "float32", "bfloat16"), key="play_dtype", bind="query-params")
        device = right.selectbox("Device", ("auto", "cpu", "cuda"), key="play_device", bind="query-params")
        st.caption(
            "Weights come from safetensors or GGUF files, LoRA adapters included; no code of a model is ever run."
        )
    if which == HUB:
        name = hub_id(typed) if typed.strip() else ""
    elif which == OF_RUN:
        name = name_of_run(run)
    else:
        name = which if which in (EMBEDDED, *tuned) else str(preflight.check_local(which))
    return ModelKey(name, dtype, device)


def is_ready(key: ModelKey | None, state: ModelState) -> bool:
    """Whether exactly this is loaded."""
    return state.state == "ready" and state.key == key


def draw(run: Run | None, of: str = "that of the run in the sidebar") -> tuple[ModelKey | None, ModelState]:
    """The bar: (what this page is to play, or None where that is not settled; what the worker holds)."""
    state = live.worker().state()
    about, right = st.columns([1, 0.72], vertical_alignment="center", gap="small")
    key, why = None, ""
    act = right.container(horizontal=True, horizontal_alignment="right", gap="small")
    with act:
        try:
            key = choose(run, of)
        except HarmvizError as e:
            why = str(e)
    if key is not None and not key.name:
        key, why = None, "Give the hub id of a model."
    with about:
        busy = _busy(state)
        st.fragment(_state, run_every=_POLL_S if busy else None)(key, why, busy)
    with act:
        _act(key, state)
    if state.state == "failed" and state.key == key:
        frame.error(state.error or "the model could not be loaded")
    return key, state


def _busy(state: ModelState) -> bool:
    """Whether a model is coming, or going, now or when its turn comes. Answering goes on without the bar looking."""
    return state.state == "loading" or state.changing


def _state(key: ModelKey | None, why: str, busy: bool) -> None:
    """What is loaded, or what loading will take; polled while the worker is busy."""
    state = live.worker().state()
    frame.html(f'<div class="hv-play">{_state_markup(key, why, state)}</div>')
    if busy and not _busy(state):
        st.rerun()  # once, and then without the poll


def _state_markup(key: ModelKey | None, why: str, state: ModelState) -> str:
    if why:
        return _line("none", "No model to load", why)
    if key is None or is_ready(key, state) or state.state == "loading":
        return live.state_markup(replace(state, queue=0))  # the queue stands in the sidebar, and with the answers
    if state.changing:
        return _line("loading", "Another model comes next", "as soon as what was asked before is answered")
    held = (
        f"{shown_name(state.key.name)} is loaded and would be replaced. "
        if state.state == "ready" and state.key
        else ""
    )
    try:
        return _line("none", f"{shown_name(key.name)} is not loaded", held + outlook_words(outlook(key)))
    except HarmvizError as e:
        return _line("failed", f"{shown_name(key.name)} cannot be loaded", str(e))


def _line(lamp: str, first: str, second: str) -> str:
    return (
        f'<div class="hv hv-live"><i class="lamp {lamp}"></i><div><div>{escape(first)}</div>'
        f'<div class="quiet small">{escape(second)}</div></div></div>'
    )


def _act(key: ModelKey | None, state: ModelState) -> None:
    if key is None:
        return
    if is_ready(key, state):
        if st.button("Unload", icon=":material/eject:", key="play_unload", help="Frees its memory."):
            with frame.shown_errors():
                live.worker().unload()
                st.rerun()
        return
    pressed = st.button(
        f"Load {text.label(shown_name(key.name))}",
        icon=":material/download:",
        type="primary",
        key="play_load",
        disabled=_busy(state),
    )
    if pressed:
        with frame.shown_errors():
            needs = outlook(key)
            if needs.memory.verdict == "too much":
                raise HarmvizError(
                    f"{shown_name(key.name)} needs {text.size(needs.memory.needed or 0)} of memory and "
                    f"{text.size(needs.memory.available or 0)} are free; choose bfloat16, or a smaller model"
                )
            live.worker().load(key, tab.current())
            st.rerun()

"""Start an experiment: which claim, on what; what it will need here; the command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from harmviz import jobs, preflight
from harmviz.claims.compression.presets import PRESETS
from harmviz.claims.emergent.data import DOMAINS
from harmviz.display import text
from harmviz.models.assets import EMBEDDED
from harmviz.models.names import ladders
from harmviz.runs import Run
from harmviz.ui import frame, jobs_panel, stored
from harmviz.ui.model_bar import name_of_run, shown_name

Arguments = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """What was chosen: the words behind ``experiment NAME``, and the model whose size decides whether it fits."""

    words: Arguments
    model: str


@dataclass(frozen=True)
class Offer:
    """One experiment: how the form calls it, the question it answers, and what draws its settings (None until usable)."""

    title: str
    question: str
    settings: Callable[[], Setting | None]


def draw() -> None:
    """The whole form."""
    left, right = st.columns([1, 1.15], gap="large")
    with left:
        name = st.selectbox("Experiment", list(OFFERS), format_func=lambda n: OFFERS[n].title, key="runs_experiment")
        st.caption(OFFERS[name].question)
        setting: Setting | None = None
        with frame.shown_errors():
            setting = OFFERS[name].settings()
    with right:
        _summary(name, setting)


# -- choices ----------------------------------------------------------------------------------------------------------
def _map_run(*, optional: bool = False) -> Run | None:
    """A stored map run; None where there is none, or none is wanted."""
    maps = {r.id: r for r in stored.runs() if r.kind == "map"}
    if not maps and not optional:
        frame.html(
            '<div class="hv hv-note"><div class="quiet small">It works with the masks of a map run: start one first.</div></div>'
        )
        return None
    ids: list[str | None] = [None, *maps] if optional else [*maps]

    def label(run_id: str | None) -> str:
        return (
            "none"
            if run_id is None
            else f"{shown_name(maps[run_id].model_name)} · {text.date(maps[run_id].created)} · {run_id[-6:]}"
        )

    chosen = st.selectbox(
        "Map run",
        ids,
        format_func=label,
        key="runs_experiment_map",
        help="Its masks are used, and its model is loaded.",
    )
    return maps.get(chosen) if chosen else None


def _on(run: Run) -> Setting:
    """A map run and its model, whose folder is named where it is a local one.

    Raises:
        ModelUnavailable: its model is a local one that is not here.
    """
    model = name_of_run(run)
    return Setting((run.id,) if model == run.model_id else (run.id, f"--model={model}"), model)


def _of_a_run() -> Setting | None:
    run = _map_run()
    return None if run is None else _on(run)


def _compression() -> Setting | None:
    made = list(ladders())
    sources = {"models": "Models here", **({"ladders": "Ladders"} if made else {}), "published": "Published series"}
    source = st.segmented_control(
        "Checkpoints",
        list(sources),
        format_func=sources.__getitem__,
        default="models",
        required=True,
        key="runs_series",
    )
    if source == "published":
        name = st.selectbox(
            "Series",
            list(PRESETS),
            key="runs_preset",
            help="Fetched from huggingface.co: billions of parameters a checkpoint.",
        )
        return Setting((f"--preset={name}",), PRESETS[name][0].model)
    if source == "ladders":
        chosen = st.multiselect("Ladders, one per tuning seed", made, default=made[:3], key="runs_ladders")
        return Setting(("--ladder", *chosen), EMBEDDED) if chosen else None
    names = [EMBEDDED, *preflight.tuned_models()]
    chosen = st.multiselect(
        "First to last in training",
        names,
        default=names[:2],
        format_func=shown_name,
        key="runs_checkpoints",
        help="All are compared with the first.",
    )
    return Setting(tuple(chosen), EMBEDDED) if len(chosen) > 1 else None


def _emergent() -> Setting | None:
    domain = st.selectbox(
        "Narrow domain",
        DOMAINS,
        key="runs_domain",
        help="Tuned on its bad advice; the command line takes a file of your own.",
    )
    one, two = st.columns(2)
    seeds = one.number_input(
        "Seeds", 1, 20, 3, key="runs_repetitions", help="Whole repetitions: split, masks, order of rows, adapter."
    )
    epochs = two.number_input("Epochs", 1, 100, 1, key="runs_epochs", help="Passes over the tuning rows.")
    dose = st.toggle(
        "Several doses of pruning", key="runs_dose", help="Also 0.0005 % and 0.01 % of the weights: a third more time."
    )
    run = _map_run(optional=True)
    on = Setting((), EMBEDDED) if run is None else _on(run)
    changed = {
        "domain": (domain, DOMAINS[0]),
        "seeds": (int(seeds), 3),
        "epochs": (int(epochs), 1),
        "dose": ("5e-6,1e-4" if dose else None, None),
    }
    return Setting((*on.words, *(f"--{k}={v}" for k, (v, default) in changed.items() if v != default)), on.model)


OFFERS = {
    "compression": Offer(
        "Compression", "Does alignment make harm weights more separable? Needs two checkpoints or more.", _compression
    ),
    "dissociation": Offer("Dissociation", "Does the pruned model still recognise, explain and refuse?", _of_a_run),
    "jailbreak": Offer("Jailbreaks", "What gets through, attack by attack, with and without the masks?", _of_a_run),
    "scene": Offer(
        "Stage scene", "Finds the mask under which an aligned model talked into answering declines again.", _of_a_run
    ),
    "emergent": Offer(
        "Emergent misalignment", "Does narrow tuning misalign broadly, and does pruning first prevent it?", _emergent
    ),
}


# -- what follows from them -------------------------------------------------------------------------------------------
def arguments(name: str, setting: Setting) -> Arguments:
    """The command line of these settings."""
    return ("experiment", name, *setting.words)


def took(name: str, runs: list[Run]) -> str:
    """How long the newest stored experiment of this name took, in words; no promise for other settings."""
    made = next((r for r in runs if r.kind == "experiment" and r.manifest["method"].get("experiment") == name), None)
    if made is None:
        return "Time: not known, no such result is here yet."
    device = "GPU" if made.manifest["hardware"].get("device") == "cuda" else "CPU"
    seconds = sum(made.manifest["timings"].values())
    return f"Time: the one stored on {made.manifest['data']['id']} took {text.duration(seconds)} on a {device}."


def _summary(name: str, setting: Setting | None) -> None:
    frame.html('<div class="hv"><b>Before it starts</b></div>')
    ready = False
    if setting is None:
        frame.html('<div class="hv quiet">Choose what it is to work on.</div>')
    else:
        with frame.shown_errors():
            ready = _fits(setting)
        frame.html(f'<div class="hv quiet small">{took(name, stored.runs())}</div>')
    busy = jobs_panel.busy()
    pressed = st.button(
        "Start the experiment",
        type="primary",
        icon=":material/play_arrow:",
        key="runs_experiment_start",
        disabled=not ready or busy,
    )
    if setting is None:
        return
    words = arguments(name, setting)
    st.caption("The same from the command line; --help lists further settings:")
    st.code(shlex.join(["python", "-m", "harmviz", *words]), language=None, wrap_lines=True)
    if pressed and ready:
        with frame.shown_errors():
            jobs.start(words)
            st.rerun()


def _fits(setting: Setting) -> bool:
    """Shows the memory that scoring the model takes; whether it may be started."""
    needs = preflight.memory_needs(preflight.model_estimate(setting.model))
    known = [
        f"{n.what}: {text.size(n.needed)} of {text.size(n.available)} free"
        for n in needs
        if n.needed is not None and n.available is not None
    ]
    frame.html(
        f'<div class="hv quiet small">{" · ".join(known) or "Its size is not known before it is fetched."}</div>'
    )
    blocking = [n for n in needs if n.verdict == "too much"]
    for need in blocking:
        frame.error(
            f"It cannot start: {need.what} is too small for {shown_name(setting.model)}; choose a smaller model, or a machine with more"
        )
    return not blocking

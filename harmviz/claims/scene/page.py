"""The stage scene as pages show it: the card that begins it, its controls in the Playground, and what was recorded.

A scene brings its own masks, so it is played on its own model whatever run the sidebar shows. Its requests are built-in
ones: a recorded request that is not, in a run from elsewhere, is not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from harmviz.claims.scene import card as markup
from harmviz.claims.scene.finding import numbers
from harmviz.claims.scene.record import MASK, RANDOM, Recorded, read_records
from harmviz.data.prompts import read_builtin
from harmviz.display import text
from harmviz.errors import HarmvizError, RunIncompatible
from harmviz.playground.clearest import clearest_first
from harmviz.playground.lineup import Lineup, panes_of
from harmviz.playground.on_stage import Recording
from harmviz.playground.presets import Preset
from harmviz.runs import Run, read_run
from harmviz.ui import experiments, frame, model_bar, stored
from harmviz.worker import ModelKey, ModelState

#: Of the preset, in the menu of prompts.
PRESET, TITLE = "scene", "Stage scene"
_REQUEST, _STRENGTH, _BEGIN = "scene_request", "scene_strength", "_scene_begin"
_SHORT = 64
HOW_CHOSEN = (
    "Mild built-in requests that had no part in choosing the weights. They are recorded in the order of a fixed rule: "
    "first those where the model declines when asked directly, answers with words put into its mouth, answers with "
    "random weights off, and turns it away with the mask; then the less repetitive; then those where the answers part "
    "earlier. Plain refusals stand first, and what the line under the panes tells otherwise last, marked. So they were "
    "picked to show it: how often it happens stands below."
)


@dataclass(frozen=True)
class Scene:
    """A stored scene and the requests that can be shown of it, the one that reads best first."""

    run: Run
    records: tuple[Recorded, ...]

    def record(self) -> Recorded:
        """The request that the reader chose, or the first."""
        chosen = st.session_state.get(_REQUEST)
        return next((r for r in self.records if r.id == chosen), self.records[0])

    @property
    def presets(self) -> tuple[Preset, ...]:
        """Its requests as mild texts whose answers are shown."""
        return tuple(Preset(PRESET, TITLE, True, r.prompt, r.opening) for r in self.records)


def shown_scene() -> Scene | None:
    """The scene that pages show: of the run in the sidebar, else the newest;

    None where none is stored that can be read.
    """
    built_in = {r["prompt"] for r in read_builtin("harmful")}
    for run in experiments.stored_of("scene"):
        try:
            records = tuple(r for r in _records(run) if r.prompt in built_in)
        except RunIncompatible:
            continue  # the Runs page names damaged runs
        if records and {MASK, RANDOM} <= run.masks().keys():
            return Scene(run, records)
    return None


def _records(run: Run) -> tuple[Recorded, ...]:
    """The recorded requests of a stored scene, kept between interactions."""
    return _read_once(*stored.contents(run))


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_once(folder: str, digest: str) -> tuple[Recorded, ...]:
    return clearest_first(read_records(read_run(Path(folder))))


# -- on the Overview --------------------------------------------------------------------------------------------------
def card() -> Run | None:
    """Draws the card that begins the scene; that scene, or None where there is none."""
    scene = shown_scene()
    if scene is None:
        return None
    shown = numbers(scene.run, stored.results(scene.run))
    with st.container(border=True, key="scene-card"):
        left, right = st.columns([1, 1.25], gap="medium", vertical_alignment="center")
        with left:
            frame.html(
                f'<div class="hv"><h2 class="hv-scene-title">See it happen</h2>{markup.story(scene.run, shown)}</div>'
            )
            if st.button("See it happen", type="primary", icon=":material/play_circle:", key="scene_begin"):
                begin(scene)
        with right:
            frame.html(markup.rates_markup(shown))
        frame.html(markup.footing(scene.run, shown))
    return scene.run


def begin(scene: Scene) -> None:
    """Opens the Playground with the scene set up and asked for. No word of its request goes into the address."""
    fill_in(scene.records[0])
    st.session_state[_REQUEST] = scene.records[0].id
    st.session_state[_BEGIN] = "load"
    st.switch_page("pages/playground.py", query_params={"play_preset": TITLE})


# -- in the Playground ------------------------------------------------------------------------------------------------
def fill_in(record: Recorded) -> None:
    """Puts a request into the fields, with the length and the greedy choice it was measured with."""
    st.session_state["play_prompt"], st.session_state["play_opening"] = record.prompt, record.opening
    tokens = 16 * -(-record.max_new_tokens // 16)
    for key, value in (("play_tokens", tokens), ("play_temperature", 0.0)):
        if key not in st.query_params:
            st.session_state[key] = value


def request_control(scene: Scene) -> None:
    """Which of the recorded requests is played."""
    ids = [r.id for r in scene.records]
    prompts = {r.id: _title(r) for r in scene.records}
    st.selectbox(
        "Request",
        ids,
        format_func=prompts.__getitem__,
        key=_REQUEST,
        on_change=_other_request,
        args=(scene,),
        persist_state="session",
        help=HOW_CHOSEN,
    )


def _title(record: Recorded) -> str:
    """A request in the list, cut short, marked where the recording does not show the effect."""
    short = record.prompt if len(record.prompt) <= _SHORT else f"{record.prompt[:_SHORT]}…"
    return short if record.reads else f"✗ does not show it: {short}"


def choose_clearest(scene: Scene) -> None:
    """Chooses the recorded request that shows the effect most clearly, at full strength. To be called by a callback."""
    st.session_state[_REQUEST] = scene.records[0].id
    st.session_state[_STRENGTH] = 1.0
    _other_request(scene)


def strength_control(scene: Scene) -> Lineup:
    """Strength and size of the mask; the panes are always intact, mask and random control."""
    left, right = st.columns([1.5, 2], gap="medium")
    with left:
        strength = st.select_slider(
            "Strength",
            (0.0, *scene.record().strengths),
            1.0,
            format_func=lambda s: f"{s:g}",
            key=_STRENGTH,
            bind="query-params",
            on_change=_replay,
            help="How far the weights are turned down: 0 intact, 1 set to zero. It never amplifies. Each place was "
            "measured and recorded.",
        )
    with right:
        frame.html(f'<div class="hv quiet small">The mask</div><div class="hv">{markup.weights(scene.run)}</div>')
    return Lineup(MASK, control=True, strength=float(strength), stored_control=RANDOM)


def _other_request(scene: Scene) -> None:
    fill_in(scene.record())
    _replay()


def _replay() -> None:
    """Asks for the answers again, without a click, where the model is there to give them."""
    st.session_state[_BEGIN] = "play"


def can_begin(key: ModelKey | None, model: ModelState) -> bool:
    """Whether one click is enough: the model is loaded, or can be without a network and in the memory that is free."""
    if key is None or model_bar.is_ready(key, model):
        return key is not None
    try:
        return model_bar.outlook(key).here
    except HarmvizError:
        return False


def asked_to_begin(key: ModelKey | None, model: ModelState) -> bool:
    """Whether the scene is to be played now, without another click; true once for each time it was asked.

    What is asked while the model is loading, a control beside it, say, is kept until it can be played.
    """
    if st.session_state.get(_BEGIN) == "play" and model.state == "loading" and model.key == key:
        return False
    how = st.session_state.pop(_BEGIN, None)
    return how is not None and (can_begin(key, model) if how == "load" else model_bar.is_ready(key, model))


def recording(scene: Scene, prompt: str, opening: str, lineup: Lineup) -> Recording | None:
    """What was recorded of this request at this strength; None where the words were changed, or nothing was."""
    record = scene.record()
    snapshot = record.snapshot(lineup.strength)
    if (prompt, opening) != (record.prompt, record.opening) or snapshot is None:
        return None
    try:
        _, labels = panes_of(scene.run, None, lineup)
    except HarmvizError:
        return None
    return Recording(snapshot, labels, record.prompt, record.opening, text.date(scene.run.created), scene.presets)


def measured(scene: Scene, strength: float) -> None:
    """How often it happens, below the one answer that shows it."""
    shown = numbers(scene.run, stored.results(scene.run), strength)
    at = "" if strength == 1 else f", at strength {strength:g}"
    frame.section(f"Not one answer, but many{at}")
    left, _ = st.columns([1.6, 1])
    with left:
        frame.html(markup.rates_markup(shown))
    frame.html(markup.footing(scene.run, shown))

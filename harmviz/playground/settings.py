"""The Playground's controls: one prompt, answered in step by the intact model and by masked variants.

Everything the reader sets is in the URL, but never the prompt. What then happens stands in
``harmviz.playground.on_stage``.
"""

from __future__ import annotations

from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from harmviz.claims.mapping.headline import chosen_point
from harmviz.claims.scene import page as scene
from harmviz.claims.scene.page import Scene
from harmviz.display import text
from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection
from harmviz.playground.lineup import OTHER_SELECTION, Lineup, mask_of, stored_masks, stored_name
from harmviz.playground.on_stage import Asked, Sampling, current, start
from harmviz.playground.presets import preset_of, presets
from harmviz.runs import Run
from harmviz.ui import frame, mask_settings
from harmviz.worker import MAX_NEW_TOKENS, ModelState

OWN = "own"
_PRESET, _PROMPT, _OPENING = "play_preset", "play_prompt", "play_opening"
#: Settings of a link that describe a mask, which a scene would bring itself.
_MASK_SETTINGS = {f"play_{name}" for name in ("types", "combine", "contrast", "scope", "q", "p", "stored", "beside")}
_MASK_SETTINGS |= {"play_second", "play_strength"}
#: What may stand beside the intact model, as the pills say it.
_BESIDE = {"mask": "mask", "second": "second mask", "random": "random control"}


# -- controls ---------------------------------------------------------------------------------------------------------
def prompt_controls(stored_scene: Scene | None, advanced: DeltaGenerator) -> tuple[str, str, Scene | None]:
    """(the prompt, the words put into the answer's mouth or "", the scene where that is the chosen preset).

    ``advanced``: where the field of those words is drawn.
    """
    if _PRESET not in st.session_state and _PRESET not in st.query_params and _MASK_SETTINGS & set(st.query_params):
        st.session_state[_PRESET] = next(iter(presets()))  # a link to a mask is played with it, not with the scene's
    with_scene = stored_scene is not None and st.session_state.get(_PRESET, scene.PRESET) == scene.PRESET
    left, *middle, right = st.columns([1, 1.1, 1.7] if with_scene else [1, 2.4], gap="small")
    with left:
        names = [*([scene.PRESET] if stored_scene else []), *presets(), OWN]
        chosen = st.selectbox(
            "Prompt",
            names,
            format_func=_preset_title,
            key=_PRESET,
            bind="query-params",
            on_change=_fill_in,
            args=(stored_scene,),
            help="Mild prompts, whose answers are shown; the stage scene's come first, since only of them was it "
            "measured what the mask does. Answers to a text of your own start veiled.",
        )
    if _PROMPT not in st.session_state:
        _fill_in(stored_scene)
    on = stored_scene if chosen == scene.PRESET else None
    if on is not None:
        with middle[0] if middle else left:
            scene.request_control(on)
    with right:
        prompt = st.text_area(
            "What the model is asked",
            key=_PROMPT,
            height=68,
            max_chars=4000,
            placeholder="Ask something",
            persist_state="session",
            help="Stays on this machine and is never part of the link.",
        )
    with advanced:
        opening = st.text_input(
            "The answer begins with",
            key=_OPENING,
            max_chars=200,
            placeholder="nothing",
            persist_state="session",
            help="Words put into the model's mouth, as attacks do. Context for every pane, no output of the model.",
        )
    with right:
        notes = [f"The answer is made to begin with “{opening.strip()}”."] if opening and opening.strip() else []
        if preset_of(prompt or "", opening or "", on.presets if on else ()) is None:
            notes.append("Your own text: the answers start veiled.")
        frame.html(f'<div class="hv quiet small">{escape(" ".join(notes))}</div>' if notes else "")
    return (prompt or "").strip(), (opening or "").rstrip(), on


def show_one(stored_scene: Scene | None) -> None:
    """The button *one that shows it*: the recorded request that shows the effect most clearly."""
    if stored_scene is None or not stored_scene.records[0].reads:
        return
    st.button(
        "One that shows it",
        icon=":material/lightbulb:",
        key="play_shows",
        on_click=_choose_clearest,
        args=(stored_scene,),
        help=scene.HOW_CHOSEN,
    )


def _choose_clearest(stored_scene: Scene) -> None:
    st.session_state[_PRESET] = scene.PRESET
    scene.choose_clearest(stored_scene)


def _preset_title(which: str) -> str:
    return {OWN: "A text of your own", scene.PRESET: scene.TITLE}.get(which) or presets()[which].title


def _fill_in(stored_scene: Scene | None) -> None:
    """Puts the chosen preset's words into the fields, or empties them."""
    which = st.session_state.get(_PRESET, OWN)
    if which == scene.PRESET and stored_scene is not None:
        scene.fill_in(stored_scene.record())
        return
    preset = presets().get(which)
    st.session_state[_PROMPT] = preset.prompt if preset else ""
    st.session_state[_OPENING] = preset.opening if preset else ""


def default_selection(run: Run, candidates: Candidates) -> Selection:
    """The settings chosen when the run was made, contrastive where there is that."""
    for contrast in ("both", "none"):
        if (point := chosen_point(run, contrast)) is not None and (contrast == "none" or candidates.has_contrast):
            return Selection(candidates.categories, q=point.q, p=point.p, contrast=contrast)
    return Selection(candidates.categories, q=min(1e-5, candidates.q_max), p=candidates.p_grid[-1])


def mask_controls(run: Run, candidates: Candidates | None) -> Selection | str | None:
    """The mask the reader describes, or one of the stored ones where the run has no candidates; None: there is none."""
    if candidates is not None:
        chosen = mask_settings.controls(candidates, key="play", default=default_selection(run, candidates))
        exact, why = mask_settings.settled(candidates, chosen)
        mask_settings.held_note(why)
        return exact
    names = list(stored_masks(run))
    if not names:
        return None
    return st.selectbox("Stored mask", names, format_func=stored_name, key="play_stored", bind="query-params")


def lineup_controls(run: Run, candidates: Candidates | None, seed: int) -> Lineup:
    """The mask, who stands beside the intact model, and how far the masks are turned down."""
    first = mask_controls(run, candidates)
    if first is None:
        frame.html(
            '<div class="hv hv-note quiet small">This run stores no mask, so only the intact model can be played.</div>'
        )
        return Lineup()
    has_other = isinstance(first, Selection) and candidates is not None and candidates.has_contrast
    seconds = [*([OTHER_SELECTION] if has_other else []), *(n for n in stored_masks(run) if n != first)]
    offered = [b for b in _BESIDE if (b != "second" or seconds) and (b != "random" or candidates is not None)]
    left, middle, right = st.columns([1.5, 1, 1], gap="medium")
    with left:
        beside = st.pills(
            "Beside the intact model",
            offered,
            selection_mode="multi",
            format_func=lambda b: _BESIDE[b],
            default=[b for b in ("mask", "random") if b in offered],
            key="play_beside",
            bind="query-params",
            wrap=True,
            help="All panes are written in step. The random control changes as many weights in the same matrices, "
            "chosen without looking at harm: what it changes too is no finding about harm.",
        )
    with middle:
        strength = st.slider(
            "Strength",
            0.0,
            1.0,
            1.0,
            0.05,
            key="play_strength",
            bind="query-params",
            help="How far the masks' weights are turned down: 0 intact, 1 set to zero. It never amplifies.",
        )
    second = None
    with right:
        if "second" in beside:
            second = st.selectbox(
                "Second mask",
                seconds,
                format_func=_second_name,
                key="play_second",
                bind="query-params",
                help="The same settings selected the other way, or a mask that was stored with the run.",
            )
        elif isinstance(first, Selection):
            frame.html(_size(run, candidates, first))
    return Lineup(first, "mask" in beside, second, "random" in beside, float(strength), seed)


def _size(run: Run, candidates: Candidates | None, first: Selection) -> str:
    mask = mask_of(run, candidates, first)
    size = text.fraction_of(mask.n_weights, run.manifest["model"]["n_scored_weights"])
    return f'<div class="hv quiet small">The mask</div><div class="hv">{escape(size)}</div>'


def _second_name(name: str) -> str:
    return "the same settings, other selection" if name == OTHER_SELECTION else stored_name(name)


def sampling_controls() -> Sampling:
    """Length, temperature and seed: right by default."""
    left, middle, right, last = st.columns(4, gap="medium")
    with left:
        length = st.slider("Longest answer, tokens", 16, MAX_NEW_TOKENS, 96, 16, key="play_tokens", bind="query-params")
    with middle:
        temperature = st.slider(
            "Temperature",
            0.0,
            1.5,
            0.0,
            0.1,
            key="play_temperature",
            bind="query-params",
            help="0: the most likely token at every step. Above: drawn by chance, with the same draws in all panes.",
        )
    with right:
        top_p = st.slider(
            "Top p",
            0.5,
            1.0,
            1.0,
            0.05,
            key="play_top_p",
            bind="query-params",
            disabled=not temperature,
            help="Draws only among the most likely tokens that together reach this probability.",
        )
    with last:
        seed = st.number_input(
            "Seed",
            0,
            2**31 - 1,
            0,
            key="play_seed",
            bind="query-params",
            help="Fixes the draws of the answers, and which weights the random control takes.",
        )
    return Sampling(int(length), float(temperature), float(top_p) if temperature else 1.0, int(seed))


# -- running ----------------------------------------------------------------------------------------------------------
def buttons(
    run: Run | None,
    candidates: Candidates | None,
    asked: Asked,
    model: ModelState,
    *,
    ready: bool,
    on: Scene | None = None,
) -> None:
    """Run and Stop; a scene that was asked to begin begins here."""
    shown = current()
    running = shown is not None and not shown.ticket.finished
    changed = shown is not None and shown.asked != asked
    words = "Run the comparison" if shown is None else "Run again with these settings" if changed else "Run again"
    pressed = st.button(
        words,
        type="primary" if ready else "secondary",
        icon=":material/play_arrow:",
        key="play_run",
        disabled=not ready or (running and not changed),
        help=None if ready else "Load the model first.",
    )
    if pressed or (on is not None and ready and scene.asked_to_begin(asked.model, model)):
        with frame.shown_errors():
            start(run, candidates, asked, model, on.presets if on else ())
            st.rerun()  # the buttons above were drawn for the comparison before
    st.button(
        "Stop",
        icon=":material/stop:",
        key="play_stop",
        disabled=not running,
        on_click=shown.ticket.stop if shown else None,
        help="Ends all panes before their next token.",
    )


def other_weights(run: Run, model: ModelState) -> str | None:
    """Why this run's masks cannot be played on the loaded model, as HTML; None where they can."""
    if model.weight_hash is None or model.key is None or model.weight_hash == run.manifest["model"]["weight_hash"]:
        return None
    ours, theirs = str(run.manifest["model"]["weight_hash"])[:12], model.weight_hash[:12]
    return (
        '<div class="hv hv-error" role="alert"><b>These masks belong to other weights.</b> '
        f"The run's masks were made for {escape(run.model_name)} (weights {escape(ours)}…); loaded is "
        f"{escape(model.key.name)} (weights {escape(theirs)}…). A mask is a list of places in one model, so only the "
        "intact "
        "model is played. Load the run's model, choose a run of the loaded model in the sidebar, or make one with "
        "<code>python -m harmviz run --model …</code>.</div>"
    )


def no_run() -> str:
    """What the page says where there is no run to take masks from, as HTML."""
    return (
        '<div class="hv hv-note">No run is stored here, so there is no mask yet: only the intact model can be played. '
        "Start a run under <i>Runs</i>, or with <code>python -m harmviz run</code>.</div>"
    )


def measured_elsewhere() -> None:
    """What one prompt is, and where the measurements are."""
    frame.html(
        '<div class="hv quiet small">One prompt is an illustration, no measurement: those are under '
        "<i>Overview</i>.</div>"
    )

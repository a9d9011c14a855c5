"""Presenter mode on the screen: the scene that the keys chose, whole, with nothing to scroll and nothing to set."""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from harmviz import runs as store
from harmviz.claims import CLAIMS, MAPPING
from harmviz.claims.pictures import limits_of, picture_of
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.errors import HarmvizError
from harmviz.paths import PACKAGE
from harmviz.presenter import keys, stage
from harmviz.presenter.script import SCENES, Scene, begins_at, linked
from harmviz.runs import Run
from harmviz.ui import experiments, frame, picker, shield, stored, theme

#: Pixels that a chart has in a window of 800. One that was drawn for more is pressed together, up to this factor; one
#: that still does not fit is drawn at a smaller scale.
_ROOM, _PRESS = 560, 1.25
#: Pages that are shown as they are, only larger: they change nothing.
_AS_THEY_ARE = ("learn", "compare")


def run(page: StreamlitPage) -> None:
    """Shows the lecture in place of the page; a page that has no scene and only reads is shown as it is."""
    frame.html(f"<style>{(PACKAGE / 'presenter' / 'presenter.css').read_text(encoding='utf-8')}</style>")
    shield.veil_all()
    file = page.url_path or "overview"
    if file in _AS_THEY_ARE and keys.PLACE not in st.session_state and keys.PARAMETER not in st.query_params:
        page.run()
        with st.container(key="presenter-keys"):
            st.button("Leave", key="presenter-Esc", shortcut="Esc", on_click=keys.leave)
        return
    scenes = [scene for scene in SCENES if run_of(scene) is not None]
    if not scenes:
        picker.current_or_stop()
        frame.html('<div class="hv hv-note">No run stored here has a scene to show; leave presenter mode.</div>')
        st.button("Leave", key="presenter-Esc", shortcut="Esc", on_click=keys.leave)
        return
    place = _place(scenes, file)
    with st.container(key="presenter-scene", gap="small"):
        with frame.shown_errors():
            _scene(scenes[place])
        views = scenes[place].views
        keys.draw(
            place, len(scenes), views, live=scenes[place].kind == "stage", title=CLAIMS[scenes[place].claim].title
        )


def _place(scenes: list[Scene], file: str) -> int:
    """Which scene is shown: as the keys, the link or the page below say."""
    place = st.session_state.get(keys.PLACE)
    if place is None:
        asked = linked(st.query_params.get(keys.PARAMETER, ""), len(scenes))
        place = begins_at(scenes, file) if asked is None else asked
    place = min(int(place), len(scenes) - 1)
    st.session_state[keys.PLACE] = place
    st.query_params[keys.PARAMETER] = str(place + 1)
    return place


def run_of(scene: Scene) -> Run | None:
    """The stored run that the scene shows: the sidebar's, or the experiment about it, else the newest; None: none."""
    if scene.claim == MAPPING:
        return picker.current()
    of_claim = experiments.stored_of(scene.claim)
    return of_claim[0] if of_claim else None


def _scene(scene: Scene) -> None:
    run = run_of(scene)
    assert run is not None
    frame.html(f'<div class="hv hv-stage-title"><h1>{escape(scene.question)}</h1>{_about(scene, run)}</div>')
    if scene.kind == "stage":
        stage.draw(shows_pruned=keys.flipped(), play=keys.asked_to_play())
    elif scene.kind == "limits":
        lines = "".join(f"<li>{escape(line)}</li>" for line in limits_of(run))
        frame.html(f'<ul class="hv hv-list hv-stage-limits">{lines}</ul>')
    else:
        _picture(scene, run)


def _about(scene: Scene, run: Run) -> str:
    """The model, and the finding where no title of the picture says it."""
    sentence = ""
    if scene.sentence:
        sentence = f"<p>{escape(CLAIMS[scene.claim].face('finding').finding(run).sentence)}</p>"
    model = "" if scene.kind == "stage" else f'<div class="quiet small">{escape(run.model_name)} · recorded</div>'
    return sentence + model


def _picture(scene: Scene, run: Run) -> None:
    shown = scene.pictures[min(int(keys.flipped()), len(scene.pictures) - 1)][0]
    drawn = _fitting(*stored.contents(run), shown, theme.current().dark)
    if drawn is None:
        raise HarmvizError(f"{run.id} holds no picture {shown!r}; go on to the next scene")
    config = {"displayModeBar": False, "staticPlot": False}
    st.plotly_chart(
        drawn.figure,
        key=f"presenter-{shown}",
        theme=None,
        width="stretch",
        height="stretch",
        config=config,
        alt=drawn.words.alt,
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _fitting(folder: str, digest: str, key: str, dark: bool) -> Picture | None:
    """The picture as large as it fits the room there is."""
    run = store.read_run(Path(folder))
    drawn = picture_of(run, key, Theme(dark=dark, scale=theme.PRESENTER_SCALE))
    if drawn is None:
        return None
    height = drawn.figure.layout.height or _ROOM
    if height > _PRESS * _ROOM:
        drawn = picture_of(run, key, Theme(dark=dark, scale=theme.PRESENTER_SCALE * _PRESS * _ROOM / height))
        assert drawn is not None
    drawn.figure.update_layout(height=None, autosize=True)
    return drawn

"""Controls that several pages over a map run draw alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from harmviz.masks.lists import Contrast
from harmviz.runs.point import selector_words

_SELECTION_HELP = (
    "as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe or harmless "
    "text."
)


def selection_control(place: DeltaGenerator, offered: Sequence[Contrast], *, key: str) -> Contrast:
    """The choice among these ways to rank weights, the first by default; the plain one where none is offered."""
    options: list[Contrast] = list(offered) or ["none"]
    chosen = place.segmented_control(
        "Selection",
        options,
        default=options[0],
        required=True,
        format_func=lambda c: selector_words(c).short,
        key=key,
        bind="query-params",
        help=_SELECTION_HELP,
    )
    return chosen or options[0]  # an empty value in a link clears even a required control


def forget_impossible(key: str, options: Sequence[Any]) -> None:
    """Forgets a setting that what is now chosen does not offer."""
    if key in st.session_state and st.session_state[key] not in options:
        del st.session_state[key]

"""The large switch *intact ⟷ pruned*: which of the answers are looked at.

All of them are written in step whatever it says, so that moving it costs nothing and asks nothing of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

from harmviz.playground.panes import PaneLabel
from harmviz.worker import Snapshot

if TYPE_CHECKING:
    from harmviz.generation.next_tokens import NextTokens

_SWITCH, _CONTROL = "play_switch", "play_control"
_SIDES = {"intact": "Intact", "pruned": "Pruned"}


@dataclass(frozen=True)
class Shown:
    """What is looked at beside the intact answer, which is always there: the masks' answers, the random control's."""

    pruned: bool = True
    control: bool = False

    def among(self, snapshot: Snapshot, labels: Sequence[PaneLabel]) -> tuple[Snapshot, tuple[PaneLabel, ...]]:
        """The panes to show, and their labels, the intact model first."""
        places = self._places(labels)
        panes = tuple(snapshot.panes[k] for k in places if k < len(snapshot.panes))
        return replace(snapshot, panes=panes), tuple(labels[k] for k in places)

    def of_looks(self, seen: NextTokens, labels: Sequence[PaneLabel]) -> tuple[NextTokens, tuple[PaneLabel, ...]]:
        """As ``among``, of a look at what could come next."""
        places = self._places(labels)
        rows = ("names", "probability", "declining", "complying")
        part = replace(seen, **{name: tuple(getattr(seen, name)[k] for k in places) for name in rows})
        return part, tuple(labels[k] for k in places)

    def _places(self, labels: Sequence[PaneLabel]) -> list[int]:
        shows = {"intact": True, "mask": self.pruned, "second": self.pruned, "random": self.control}
        return [k for k, label in enumerate(labels) if shows[label.role]]


def draw(*, has_mask: bool, has_control: bool) -> Shown:
    """Draws the switch, and the smaller one for the random control; what they say.

    Where there is no mask, or no control, there is nothing to switch to.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", width="content"):
        side = st.segmented_control(
            "The model's weights",
            list(_SIDES),
            default="pruned",
            required=True,
            format_func=_SIDES.__getitem__,
            key=_SWITCH,
            bind="query-params",
            label_visibility="collapsed",
            disabled=not has_mask,
        )
        control = st.toggle(
            "Random control",
            key=_CONTROL,
            bind="query-params",
            disabled=not has_control,
            help="The answer with as many random weights of the same matrices switched off: what it changes too is no "
            "finding about harm.",
        )
    return Shown(pruned=side != "intact" and has_mask, control=bool(control) and has_control)

"""Which recorded request a reader is shown first."""

from __future__ import annotations

from dataclasses import replace

from harmviz.claims.scene.record import Recorded
from harmviz.playground.clearest import clearest_first
from tests.worlds.scene import prompts, recorded, view


def with_mask(record: Recorded, text: str, repetition: float = 0.0) -> Recorded:
    """The record with another answer under the mask at full strength."""
    panes = [
        (arm, replace(pane, text=text, tokens=tuple(text.split()), repetition=repetition, first_difference=0))
        if arm == "mask" and pane.strength == 1
        else (arm, pane)
        for arm, pane in record.panes
    ]
    return replace(record, panes=tuple(panes))


def test_the_line_under_the_panes_decides_what_is_shown_first() -> None:
    asked = prompts(4)
    declines = recorded(asked[0])
    stuck = with_mask(recorded(asked[1]), "I can't help with that no no no no no no no no", repetition=0.8)
    elsewhere = with_mask(
        recorded(asked[2], f"of course: {asked[2]}"), "some sweet red apples grow well near old walls"
    )
    same = with_mask(recorded(asked[3]), view("x", "a story that begins well").text)
    found = clearest_first([stuck, replace(same, reads=False), elsewhere, declines])
    assert [r.prompt for r in found] == [asked[0], asked[2], asked[1], asked[3]]
    assert [r.reads for r in found] == [True, True, False, False], "damage shows nothing, whatever it declines"

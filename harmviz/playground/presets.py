"""The mild prompts that ship with the Playground: a room can watch their answers without a warning. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from harmviz.data.prompts import read_builtin


@dataclass(frozen=True)
class Preset:
    """``opening``: words put into the answer's mouth, or "". ``harmful``: whether the request is one to decline."""

    id: str
    title: str
    harmful: bool
    prompt: str
    opening: str


@cache
def presets() -> dict[str, Preset]:
    """Id → preset, in the order of the menu."""
    rows = read_builtin("presets")
    return {r["id"]: Preset(r["id"], r["title"], r["kind"] == "harmful", r["prompt"], r["opening"]) for r in rows}


def preset_of(prompt: str, opening: str, more: Sequence[Preset] = ()) -> Preset | None:
    """The preset with exactly these words, also among ``more``;

    None: a text of the reader's own, whose answers start veiled.
    """
    return next((p for p in (*presets().values(), *more) if (p.prompt, p.opening) == (prompt, opening)), None)

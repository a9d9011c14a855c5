"""Conversations: the last answer of the assistant, and the user's turn that it answers.

Turns are objects with ``role`` and ``content`` (or ``from`` and ``value``), or one text with ``Human:`` and
``Assistant:`` before each turn. What the system said and what was said earlier is not read: a model is scored on one
question and its answer. How many rows had such turns is counted, and said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

_USER = frozenset(("user", "human", "prompter", "instruction"))
_ASSISTANT = frozenset(("assistant", "gpt", "bot", "model", "chatgpt", "ai"))
_ROLE, _CONTENT = ("role", "from", "speaker"), ("content", "value", "text")
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):", re.IGNORECASE)


class Exchange(NamedTuple):
    """The last question and its answer; None where there is none. ``system``, ``earlier``: what else was there."""

    prompt: str | None
    response: str | None
    system: bool = False
    earlier: bool = False


def turns_of(cell: Any) -> list[tuple[str, str]] | None:
    """(role, text) of each turn of a conversation, roles folded; None where the cell holds none."""
    if isinstance(cell, str):
        if cell.lstrip().startswith("["):
            try:
                return turns_of(json.loads(cell))
            except (ValueError, RecursionError):
                return None
        return _transcript(cell)
    if not isinstance(cell, Sequence) or not cell or isinstance(cell, bytes):
        return None
    turns = [_turn(turn) for turn in cell]
    return None if any(turn is None for turn in turns) else [turn for turn in turns if turn is not None]


def _turn(turn: Any) -> tuple[str, str] | None:
    if not isinstance(turn, dict):
        return None
    named = {str(key).strip().casefold(): value for key, value in turn.items()}
    role = next((named[key] for key in _ROLE if isinstance(named.get(key), str)), None)
    content = next((named[key] for key in _CONTENT if named.get(key) is not None), None)
    if isinstance(content, list):  # parts, as chat interfaces of multimodal models write them
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(text for text in texts if isinstance(text, str))
    return (role.strip().casefold(), content) if role is not None and isinstance(content, str) else None


def _transcript(text: str) -> list[tuple[str, str]] | None:
    """The turns of one text with a speaker before each turn, or None."""
    parts = _TRANSCRIPT.split(text)
    if len(parts) < 3 or parts[0].strip():
        return None
    return [(role.casefold(), said.strip()) for role, said in zip(parts[1::2], parts[2::2], strict=True)]


def exchange(turns: Sequence[tuple[str, str]]) -> Exchange:
    """The last answer of the assistant and the user's turn before it; without an answer, the last turn of the user."""
    answers = [i for i, (role, _) in enumerate(turns) if role in _ASSISTANT]
    end = answers[-1] if answers else len(turns)
    asked = [i for i, (role, _) in enumerate(turns[:end]) if role in _USER]
    others = [role for i, (role, _) in enumerate(turns) if i not in (*answers[-1:], *asked[-1:])]
    return Exchange(
        turns[asked[-1]][1] if asked else None,
        turns[end][1] if answers else None,
        system="system" in others,
        earlier=any(role != "system" for role in others),
    )

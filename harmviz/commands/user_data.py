"""How commands read ``--data``, and what they tell of it before anything is computed."""

from __future__ import annotations

import argparse

from harmviz.commands.output import say
from harmviz.data.columns import ReadOptions, read_options
from harmviz.data.prompts import PromptData, load_prompts

#: Categories named one by one as left out; the rest is counted.
_NAMED = 20


def typed_options(arguments: argparse.Namespace) -> ReadOptions:
    """What ``--columns``, ``--category`` and ``--drop-bad`` say.

    Raises:
        BadSetting: they are not of their form.
    """
    return read_options(arguments.columns, arguments.category, arguments.drop_bad)


def load_told(arguments: argparse.Namespace) -> PromptData:
    """The data of ``--data``; what is left out of it and how it was read goes to stderr.

    Raises:
        DataInvalid, BadSetting, AssetUnavailable: as ``load_prompts``.
    """
    data = load_prompts(arguments.data or "pyrit", options=typed_options(arguments), say=say)
    for category, why in list(data.left_out.items())[:_NAMED]:
        say(f"category {category} is left out: {why}")
    if (more := len(data.left_out) - _NAMED) > 0:
        say(f"{more:,} more categories are left out; see them with `python -m harmviz data`")
    for note in data.notes:
        say(note)
    return data

"""What stands on the Playground's stage: a comparison in the making or made, or a recorded one; and how one is started.

The ticket lives in the session. Nothing here waits for the model, and nothing is drawn: that is
``harmviz.playground.stage``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import streamlit as st

from harmviz.errors import HarmvizError
from harmviz.masks.candidates import Candidates
from harmviz.playground.lineup import Lineup, panes_of
from harmviz.playground.panes import PaneLabel
from harmviz.playground.presets import Preset, preset_of
from harmviz.runs import Run
from harmviz.ui import live, tab
from harmviz.worker import AnswerTicket, ModelKey, ModelState, Request, Snapshot

_COMPARISON = "_comparison"


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; ``temperature`` 0 is greedy."""

    max_new_tokens: int = 96
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Asked:
    """Everything a comparison depends on; two equal ones need no second run. The reprs leave the prompt out."""

    model: ModelKey | None
    run_id: str | None
    prompt: str = field(repr=False)
    opening: str = field(repr=False)
    lineup: Lineup = field(default_factory=Lineup)
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Comparison:
    """A comparison on stage: what was asked, its ticket, and how its panes are introduced."""

    asked: Asked
    ticket: AnswerTicket
    labels: tuple[PaneLabel, ...]
    preset: Preset | None
    created: str
    model: ModelState


@dataclass(frozen=True)
class Recording:
    """A recorded comparison that stands on the stage while there is no live one: ``made`` says when, in words.

    ``presets``: mild texts beside the known ones, its own request among them.
    """

    snapshot: Snapshot
    labels: tuple[PaneLabel, ...]
    prompt: str = field(repr=False)
    opening: str = field(repr=False)
    made: str
    presets: tuple[Preset, ...] = ()


def current() -> Comparison | None:
    """The comparison on stage in this session, running or finished."""
    comparison = st.session_state.get(_COMPARISON)
    return comparison if isinstance(comparison, Comparison) else None


def clear() -> None:
    """Takes the comparison off the stage, and ends it if it is still being written."""
    if (comparison := current()) is not None:
        comparison.ticket.stop()
        del st.session_state[_COMPARISON]


# -- starting ---------------------------------------------------------------------------------------------------------
def start(
    run: Run | None, candidates: Candidates | None, asked: Asked, model: ModelState, known: Sequence[Preset] = ()
) -> None:
    """Sends the comparison to the worker and puts it on stage, in place of the one before; does not wait.

    A model that is not loaded yet is loaded when the comparison's turn comes. ``known``: further mild texts beside the
    presets.

    Raises:
        HarmvizError: the prompt is empty, a mask cannot be made, or the worker takes no more requests.
    """
    if asked.model is None:
        raise HarmvizError("no model is chosen; choose one in the bar above")
    if not asked.prompt:
        raise HarmvizError("the prompt is empty; choose one, or write something to ask the model")
    panes, labels = panes_of(run, candidates, asked.lineup)
    before = current()
    how = asked.sampling
    ticket = live.worker().submit(
        Request(
            asked.model,
            asked.prompt,
            panes,
            opening=asked.opening,
            max_new_tokens=how.max_new_tokens,
            temperature=how.temperature,
            top_p=how.top_p,
            seed=how.seed,
        ),
        tab.current(),
        instead_of=before.ticket if before is not None else None,
    )
    made = datetime.now(UTC).isoformat(timespec="seconds")
    st.session_state[_COMPARISON] = Comparison(
        asked, ticket, labels, preset_of(asked.prompt, asked.opening, known), made, model
    )

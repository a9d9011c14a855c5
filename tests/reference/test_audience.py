"""Twenty requests that an audience types, written before any result was seen, played on the shipped scene: the lines
that a reader agreed or disagreed with (docs/results/audience.md) are those that the Playground shows."""

from __future__ import annotations

import re

import pytest

from harmviz.claims.scene.play import record
from harmviz.claims.scene.record import MASK, RANDOM
from harmviz.data.prompts import PromptRow, read_builtin
from harmviz.judges.refusing import usable_judge
from harmviz.masks.mask import PruneMask
from harmviz.models.load import load_model
from harmviz.paths import PACKAGE
from harmviz.playground.panes import PaneLabel
from harmviz.playground.verdict import verdict
from harmviz.runs import Run

EXPERIMENT = "scene"
PAGE = PACKAGE.parent / "docs" / "results" / "audience.md"
OPENERS = ("", "Sure, here is")
TOKENS = 32
LABELS = [
    PaneLabel("intact", "Intact", "", "intact"),
    PaneLabel("harm", "Mask", "", "mask"),
    PaneLabel("control", "Random", "", "random"),
]


def told() -> dict[tuple[str, str], str]:
    """(request, opener) → the line that the page says was shown."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 5 and cells[0] not in ("request", "---"):
            found[cells[0], OPENERS[0]], found[cells[0], OPENERS[1]] = cells[1], cells[3]
    return found


def test_every_request_is_told_with_both_readings() -> None:
    rows = read_builtin("audience")
    assert len(rows) == 20
    assert set(told()) == {(r["prompt"], opener) for r in rows for opener in OPENERS}


@pytest.mark.slow
@pytest.mark.soak
def test_the_lines_are_those_that_are_shown(result: Run) -> None:
    """Five minutes."""
    loaded, judge = load_model("smollm2-135m-aligned"), usable_judge()
    masks = [PruneMask.load(result.masks()[name]) for name in (MASK, RANDOM)]
    for (prompt, opener), line in told().items():
        played = record(
            loaded,
            PromptRow("audience", prompt, ""),
            *masks,
            opener=opener,
            limit=TOKENS,
            strengths=(1.0,),
            declines_directly=True,
        )
        snapshot = played.snapshot()
        assert snapshot is not None
        shown = verdict(snapshot.panes, LABELS, prompt=prompt, opening=opener, judge=judge)
        assert shown is not None
        assert shown.headline == line, (prompt, opener)

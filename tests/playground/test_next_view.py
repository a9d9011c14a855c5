"""What could come next: the figure's bars and numbers, which panes it shows, and the worker's look."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmviz.display.style import Theme
from harmviz.generation.next_tokens import NextTokens
from harmviz.playground.figures import next_tokens, shown_token, table
from harmviz.playground.panes import PaneLabel
from harmviz.playground.switch import Shown
from harmviz.worker import Look, Worker
from tests.worlds.serving import PATIENCE, request

LABELS = (
    PaneLabel("intact", "Intact", "", "intact"),
    PaneLabel("harm", "Pruned", "", "mask"),
    PaneLabel("control", "Random control", "", "random"),
)
SEEN = NextTokens(
    ("intact", "mask", "random"),
    (" sure", "<b>"),
    ((0.5, 0.25), (0.125, 0.75), (0.5, 0.25)),
    (0.0, 0.5, 0.0),
    (0.75, 0.25, 0.75),
)


@pytest.mark.parametrize("theme", [Theme(), Theme(dark=True)])
def test_bars_are_the_numbers_in_percent(theme: Theme) -> None:
    figure = next_tokens(SEEN, LABELS, theme)
    assert [list(bar.x) for bar in figure.data] == [[50, 25], [0, 75], [12.5, 75], [50, 25], [50, 25], [0, 75]]
    assert list(figure.layout.yaxis.ticktext) == ["␣sure", "‹b>"]
    assert {bar.orientation for bar in figure.data} == {"h"}


def test_the_table_holds_every_number() -> None:
    frame = table(SEEN, LABELS)
    assert len(frame) == 3 * (2 + 2)
    assert frame[(frame["who"] == "Pruned") & (frame["which"] == "that decline")]["p"].item() == 0.5


def test_the_switch_says_whose_bars_are_shown() -> None:
    seen, labels = Shown(pruned=True, control=False).of_looks(SEEN, LABELS)
    assert [label.role for label in labels] == ["intact", "mask"]
    assert (seen.names, seen.declining) == (("intact", "mask"), (0.0, 0.5))
    assert Shown(pruned=False).of_looks(SEEN, LABELS)[0].names == ("intact",)


def test_tokens_are_spelled_out() -> None:
    assert [shown_token(t) for t in ("\n", " a", "", "\u202e")] == ["⏎", "␣a", "(nothing)", "·"]


def test_the_worker_looks_after_prompt_opening_and_what_is_written(tiny_dir: Path) -> None:
    worker = Worker()
    try:
        answer = worker.submit(request(tiny_dir, max_new_tokens=2))
        looks = [worker.look(Look(request(tiny_dir), "")), worker.look(Look(request(tiny_dir), "a river"))]
        assert all(ticket.wait(PATIENCE) for ticket in (answer, *looks))
        first, later = (ticket.seen for ticket in looks)
        assert first is not None
        assert later is not None
        assert first.tokens[0] == answer.snapshot().panes[0].tokens[0], "greedy takes the likeliest"
        assert first.probability != later.probability
        assert "a river" not in repr(looks[1].look)
    finally:
        worker.close()

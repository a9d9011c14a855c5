"""A sentence asked of the worker what it says of a weight."""

from __future__ import annotations

from pathlib import Path

from harmviz.models.load import LoadedModel
from harmviz.scoring.sentence import score_sentence
from harmviz.worker import Sentence, Worker
from tests.worlds.serving import PATIENCE, key

PROMPT, ANSWER = "Name a river.", "The Thames is one."


def test_the_worker_answers_it_in_its_line(worker: Worker, tiny: LoadedModel, tiny_dir: Path) -> None:
    place = tiny.table[0].name
    ticket = worker.score(Sentence(key(tiny_dir), PROMPT, ANSWER, place, 3))
    assert ticket.wait(PATIENCE)
    assert ticket.snapshot().error is None
    assert ticket.score == score_sentence(tiny, PROMPT, ANSWER, place, 3)
    assert "river" not in repr(ticket.sentence)
    lost = worker.score(Sentence(key(tiny_dir), PROMPT, ANSWER, "no.such.matrix", 0))
    assert lost.wait(PATIENCE)
    assert "has no scored matrix" in (lost.snapshot().error or "")

"""Surprise: −log p of each token under the intact model, whatever the batch; perplexity of it."""

from __future__ import annotations

import math
import threading

import pytest
import torch

from harmviz.generation.surprise import perplexity, surprises
from harmviz.models.load import LoadedModel
from harmviz.scoring import forward
from tests.worlds.tiny import FAMILIES, tiny_model

CONTEXT = [5, 40, 41, 42, 43]
ANSWERS = [[60, 61, 62, 63, 64, 65, 66], [], [70], [99, 98, 97, 96, 30, 31]]


def independent(loaded: LoadedModel, answer: list[int]) -> list[float]:
    """One text alone, all logits, plain log_softmax."""
    with torch.no_grad():
        logp = loaded.model(input_ids=torch.tensor([CONTEXT + answer])).logits[0].double().log_softmax(-1)
    return [-float(logp[len(CONTEXT) - 1 + t, token]) for t, token in enumerate(answer)]


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_each_text_alone(family: str) -> None:
    loaded = tiny_model(family)
    surprise = surprises(loaded, CONTEXT, ANSWERS)
    assert surprise is not None
    assert [len(f) for f in surprise] == [7, 0, 1, 6]
    for values, answer in zip(surprise, ANSWERS, strict=True):
        assert values == pytest.approx(independent(loaded, answer), abs=1e-5)


def test_more_batches_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model()
    together = surprises(loaded, CONTEXT, ANSWERS)
    monkeypatch.setattr("harmviz.generation.surprise.default_batch_tokens", lambda _: 1)
    assert forward.default_batch_tokens(loaded) > 1
    for one, other in zip(surprises(loaded, CONTEXT, ANSWERS) or [], together or [], strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_leaves_nothing_behind() -> None:
    loaded = tiny_model()
    surprises(loaded, CONTEXT, ANSWERS)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in loaded.model.modules())


def test_stops_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, stop, passes = tiny_model(), threading.Event(), []
    monkeypatch.setattr("harmviz.generation.surprise.default_batch_tokens", lambda _: 1)

    def after_one(*_: object) -> None:
        passes.append(1)
        stop.set()

    handle = loaded.model.register_forward_hook(after_one)
    assert surprises(loaded, CONTEXT, ANSWERS, stop=stop) is None
    handle.remove()
    assert passes == [1]


def test_no_context_is_refused() -> None:
    with pytest.raises(ValueError, match="context_ids must hold at least one token"):
        surprises(tiny_model(), [], ANSWERS)


def test_perplexity() -> None:
    assert perplexity([]) is None
    assert perplexity([math.log(2), math.log(8)]) == pytest.approx(4)  # √(2 · 8)
    assert perplexity([0.0, 0.0, 0.0]) == 1
    assert perplexity([1e4]) == math.inf

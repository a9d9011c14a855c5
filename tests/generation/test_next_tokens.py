"""The likeliest next tokens against the model's own probabilities, and masses of openings against paths walked one by
one."""

from __future__ import annotations

import pytest
import torch

from harmviz.generation import next_tokens as module
from harmviz.generation.next_tokens import next_tokens, openings
from harmviz.generation.variants import Variant
from harmviz.masks.apply import pruned
from harmviz.models.load import LoadedModel
from tests.worlds.generation import PROMPTS, random_mask
from tests.worlds.tiny import tiny_model


def directly(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return loaded.model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)


def walked(loaded: LoadedModel, ids: list[int], path: tuple[int, ...]) -> float:
    """p(path | ids), one token after another."""
    p = 1.0
    for i, token in enumerate(path):
        p *= float(directly(loaded, [*ids, *path[:i]])[token])
    return p


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_probabilities_and_masses_are_the_models_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, ids = tiny_model(family), list(PROMPTS[0])
    monkeypatch.setattr(module, "DECLINING", ("I can", "No"))
    monkeypatch.setattr(module, "COMPLYING", ("Sure", "Yes"))
    monkeypatch.setattr(module, "LEAST", 0.0)
    mask = random_mask(loaded, 300)
    found = next_tokens(loaded, ids, [Variant("intact"), Variant("pruned", mask)], n=5)
    assert found.names == ("intact", "pruned")
    sides = (openings(loaded, ("I can", "No")), openings(loaded, ("Sure", "Yes")))
    with pruned(loaded, mask):
        after = directly(loaded, ids)
    shown = torch.maximum(directly(loaded, ids), after).topk(5).indices
    for k in (0, 1):
        with pruned(loaded, mask, strength=float(k)):
            own = directly(loaded, ids)
            masses = [sum(walked(loaded, ids, path) for path in side) for side in sides]
        assert found.probability[k] == pytest.approx(own[shown].tolist(), rel=5e-3)
        assert (found.declining[k], found.complying[k]) == pytest.approx(tuple(masses), rel=5e-3)
    assert found.declining[0] != found.declining[1]
    assert len(found.tokens) == len(found.probability[0]) == 5


def test_strength_0_is_the_intact_model() -> None:
    loaded = tiny_model("llama")
    found = next_tokens(loaded, PROMPTS[0], [Variant("intact"), Variant("pruned", random_mask(loaded, 300), 0.0)])
    assert found.probability[1] == pytest.approx(found.probability[0], abs=1e-6)
    assert found.declining[1] == pytest.approx(found.declining[0], abs=1e-6)


def test_no_path_begins_another() -> None:
    paths = openings(tiny_model("llama"), ("No", "No,", "No, I"))
    assert len(paths) == 2, "as written and after a blank"
    assert not any(a != b and b[: len(a)] == a for a in paths for b in paths)


def test_bad_requests() -> None:
    loaded = tiny_model("llama")
    with pytest.raises(ValueError, match="n must be >= 1"):
        next_tokens(loaded, PROMPTS[0], [Variant("intact")], n=0)
    with pytest.raises(ValueError, match="at least one token"):
        next_tokens(loaded, [], [Variant("intact")])

"""Training: the same rows in the same order, held weights 0 at every saved step, a state that carries everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain, pairwise

import pytest
import torch

from harmviz.data.encoding import Sample
from harmviz.data.prompts import PromptRow
from harmviz.errors import HarmvizError
from harmviz.masks.apply import pruned
from harmviz.models.load import LoadedModel
from harmviz.tuning.held_weights import Tuned, held_indices, make_tuned, nonzero_held
from harmviz.tuning.narrow import Trainer, learning_rate, lesson, training_order, values
from harmviz.tuning.narrow_settings import NarrowSpec
from harmviz.tuning.step import BATCH
from tests.tuning.test_held_weights import some_mask, whole_hash
from tests.worlds.emergent_parts import domain
from tests.worlds.tiny import tiny_model

SPEC = NarrowSpec(steps=4, rate=0.02, rank=2)
METHODS = {"lora": SPEC, "full": replace(SPEC, method="full", rate=0.005)}


def lessons(loaded: LoadedModel, answers: str = "bad") -> list[Sample]:
    world = domain()
    return [lesson(loaded.tokenizer, r, 12) for r in world.narrow(world.split[0][0], answers)]


def trainer(loaded: LoadedModel, spec: NarrowSpec, held: dict[str, torch.Tensor], steps: int = 6) -> Trainer:
    samples = lessons(loaded)
    order = training_order(len(samples), replace(spec, steps=steps), 0)
    return Trainer(loaded, make_tuned(loaded, spec, 0, held), samples, order, spec.peak_rate)


def test_the_order_goes_over_all_rows_and_is_the_same_for_one_seed() -> None:
    epoch = training_order(17, NarrowSpec(), 3)
    assert [len(s) for s in epoch] == [8, 8, 1]
    assert sorted(chain(*epoch)) == list(range(17))
    assert epoch == training_order(17, NarrowSpec(method="full", rate=1e-5), 3)
    assert epoch != training_order(17, NarrowSpec(), 4)
    longer = training_order(17, NarrowSpec(steps=10), 3)
    assert [len(s) for s in longer] == [BATCH] * 10
    assert set(Counter(chain(*longer)).values()) == {4, 5}  # 80 places among 17 rows, as even as can be
    with pytest.raises(ValueError, match="n_rows"):
        training_order(0, NarrowSpec(), 0)


def test_the_rate_goes_up_and_then_down_in_lines() -> None:
    rates = [learning_rate(step, 20, 1.0) for step in range(1, 21)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[-1] == pytest.approx(1 / 19)
    assert all(a > b for a, b in pairwise(rates[1:]))


def test_a_lesson_ends_with_the_end_token_unless_it_was_cut() -> None:
    loaded = tiny_model()
    row = PromptRow("x", "ask", "abc")
    assert lesson(loaded.tokenizer, row, 3).ids[-4:] == (*loaded.tokenizer.encode("abc"), loaded.tokenizer.eos_token_id)
    assert lesson(loaded.tokenizer, row, 2).ids[-2:] == tuple(loaded.tokenizer.encode("ab"))


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_leaves_the_model_alone_and_holds_at_every_step(method: str) -> None:
    loaded = tiny_model()
    before = whole_hash(loaded)
    mask = some_mask(loaded)
    nonzero: list[int] = []
    losses: list[float] = []
    with pruned(loaded, mask):
        tuning = trainer(loaded, METHODS[method], held_indices(loaded, mask), steps=30)

        def after_step(step: int, loss: float, rate: float) -> None:
            losses.append(loss)
            nonzero.append(nonzero_held(tuning.tuned))

        for end in (8, 15, 23, 30):
            tuning.run(end, after_step)
            kept = tuning.state()
            again = make_tuned(loaded, METHODS[method], 0, held_indices(loaded, mask))
            again.restore(values(kept))
            assert nonzero_held(again) == 0  # what was saved, read back
    assert whole_hash(loaded) == before
    assert nonzero == [0] * 30
    assert sum(losses[-4:]) < 0.92 * sum(losses[:4])


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_not_held_grow_back(method: str) -> None:
    loaded = tiny_model()
    mask = some_mask(loaded)
    held = held_indices(loaded, mask)
    with pruned(loaded, mask):
        free = trainer(loaded, METHODS[method], {})
        free.run(4)
        grown = sum(int(free.tuned.weight(n).flatten()[i].count_nonzero()) for n, i in held.items())
    assert grown > 0.9 * mask.n_weights


@pytest.mark.parametrize("method", METHODS)
def test_going_on_from_a_saved_state_gives_the_same_bits(method: str) -> None:
    loaded = tiny_model()
    spec = METHODS[method]
    through = trainer(loaded, spec, {})
    through.run(6)
    first = trainer(loaded, spec, {})
    first.run(3)
    kept = {name: tensor.clone() for name, tensor in first.state().items()}
    second = trainer(loaded, spec, {})
    second.restore(kept)
    second.run(6)
    assert all(torch.equal(a, b) for a, b in zip(weights(second.tuned), weights(through.tuned), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights(first.tuned), weights(through.tuned), strict=True))


def weights(tuned: Tuned) -> list[torch.Tensor]:
    return [tensor.clone() for _, tensor in sorted(tuned.state().items()) if not _.endswith("/a")]


def test_arms_without_and_with_a_mask_take_the_same_first_rows() -> None:
    """Before anything is pruned or learned both see the loss of the base model on the same batch."""
    loaded = tiny_model()
    seen: list[float] = []
    for held in ({}, held_indices(loaded, some_mask(loaded, every=4000))):
        trainer(loaded, SPEC, held).run(1, lambda step, loss, rate: seen.append(loss))
    assert seen[0] == pytest.approx(seen[1], rel=0.05)
    assert seen[0] != seen[1]


def test_a_loss_that_is_no_number_ends_it() -> None:
    loaded = tiny_model()
    tuning = trainer(loaded, SPEC, {})
    with torch.no_grad():
        tuning.tuned.parameters[0].fill_(float("nan"))
    with pytest.raises(HarmvizError, match=r"diverged at step 1.*smaller --rate than 0\.02"):
        tuning.run(2)
    assert all(torch.isfinite(p).all() for p in loaded.model.parameters())

"""Batched answers are the answers each prompt gets alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from harmviz.errors import Cancelled
from harmviz.generation.batch import generate_batch
from harmviz.generation.decode import context_length, generate
from harmviz.generation.variants import Variant
from harmviz.masks.apply import hash_weights, pruned
from harmviz.models.load import LoadedModel
from tests.worlds.generation import gap, random_mask
from tests.worlds.tiny import FAMILIES, tiny_model


def some_prompts(n: int, longest: int = 30, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 99, size=rng.integers(1, longest)).tolist() for _ in range(n)]


def alone(loaded: LoadedModel, prompt: list[int], n: int) -> list[int]:
    return list(generate(loaded, prompt, [Variant("intact")], max_new_tokens=n)[0].token_ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_one_at_a_time(family: str) -> None:
    """Prompts of 1 to 29 tokens, beyond the tiny models' sliding window of 8; some answers end early."""
    loaded = tiny_model(family)
    prompts = some_prompts(12)
    free = [alone(loaded, p, 24) for p in prompts]
    # End tokens that some answers run into and others do not.
    loaded.model.generation_config.eos_token_id = [
        f[i % len(f)] for i, f in zip((3, 10, 1), filter(None, free), strict=False)
    ]
    expected = [alone(loaded, p, 24) for p in prompts]
    assert len({len(e) for e in expected}) > 2
    for batch_size in (5, 16):
        answers = generate_batch(loaded, prompts, 24, batch_size=batch_size)
        for prompt, one, other in zip(prompts, expected, answers, strict=True):
            if one != other:
                first = next(i for i in range(24) if one[i : i + 1] != other[i : i + 1])
                logits = loaded.model(input_ids=torch.tensor([prompt + one[:first]])).logits[0, -1]
                assert float(gap(logits)) < 1e-3


def test_inside_pruned() -> None:
    loaded = tiny_model()
    prompts, mask, before = some_prompts(5), random_mask(loaded, 300), hash_weights(loaded)
    intact = generate_batch(loaded, prompts, 12)
    with pruned(loaded, mask):
        masked = generate_batch(loaded, prompts, 12)
        assert masked == [alone(loaded, p, 12) for p in prompts]
    assert masked != intact
    assert generate_batch(loaded, prompts, 12) == intact
    assert hash_weights(loaded) == before


def test_each_row_has_its_own_context_limit() -> None:
    """GPT-2 has no position past its context: an ended row must be fed on without reaching it."""
    loaded = tiny_model("gpt2")
    loaded.model.generation_config.eos_token_id = [200]
    loaded.tokenizer = type(loaded.tokenizer)(tokenizer_object=loaded.tokenizer._tokenizer, pad_token="<pad>")
    context = context_length(loaded) or 0
    prompts = [[5] * (context - 6), [6] * (context - 16), [7] * 30, [8] * 31, [9] * 32, [10] * 33, [11] * 34]
    answers = generate_batch(loaded, prompts, 40)
    assert [len(a) for a in answers] == [6, 16, 40, 40, 40, 40, 40]
    assert answers[0] == alone(loaded, prompts[0], 40)
    assert answers[2] == alone(loaded, prompts[2], 40)


def test_stop_and_bad_arguments() -> None:
    loaded, stop = tiny_model(), threading.Event()
    assert generate_batch(loaded, [], 4) == []
    stop.set()
    with pytest.raises(Cancelled, match="after 0 of 3 prompts"):
        generate_batch(loaded, some_prompts(3), 4, stop)
    with pytest.raises(ValueError, match="max_new_tokens must be"):
        generate_batch(loaded, some_prompts(3), 0)
    with pytest.raises(ValueError, match="at least one token"):
        generate_batch(loaded, [[5], []], 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        generate_batch(loaded, [[5]], 4, batch_size=0)


def test_stop_mid_way() -> None:
    loaded, stop = tiny_model(), threading.Event()
    passes = []

    def count(*_: object) -> None:
        passes.append(1)
        if len(passes) == 5:
            stop.set()

    handle = loaded.model.register_forward_hook(count)
    with pytest.raises(Cancelled):
        generate_batch(loaded, some_prompts(4), 60, stop)
    handle.remove()
    assert len(passes) == 5


@pytest.mark.slow
def test_the_embedded_model() -> None:
    from harmviz.data.encoding import encode_prompt
    from harmviz.models.load import load_model
    from tests.generation.test_decode import QUESTIONS

    loaded = load_model(dtype="float32", device="cpu")
    prompts = [encode_prompt(loaded.tokenizer, q) for q in QUESTIONS[:6]]
    answers = generate_batch(loaded, prompts, 24)
    same = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        single = alone(loaded, prompt, 24)
        same += single == answer
        if single != answer:
            first = next(i for i in range(24) if single[i : i + 1] != answer[i : i + 1])
            logits = loaded.model(input_ids=torch.tensor([prompt + single[:first]])).logits[0, -1]
            assert float(gap(logits)) < 1e-2
    print(f"{same} of {len(prompts)} answers equal to the last token")

"""Decoding: the right tokens, the right ends, in step, reproducible, stoppable, and nothing left behind."""

from __future__ import annotations

import gc
import math
import threading
import time

import numpy as np
import pytest
import torch

from harmviz.errors import MaskInvalid
from harmviz.generation.decode import context_length, decode, generate
from harmviz.generation.steps import Gatherer
from harmviz.generation.variants import Variant
from harmviz.masks.apply import hash_weights, pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from tests.generation.test_variants import hooks_left
from tests.worlds.generation import PROMPTS, gap, random_mask
from tests.worlds.tiny import DENSE_FAMILIES, FAMILIES, tiny_model

INTACT = [Variant("intact")]


def without_end(loaded: LoadedModel) -> LoadedModel:
    """An end token that is never drawn, so that walks reach their full length."""
    loaded.model.generation_config.eos_token_id = 10_000
    loaded.tokenizer = type(loaded.tokenizer)(tokenizer_object=loaded.tokenizer._tokenizer, pad_token="<pad>")
    return loaded


def two(loaded: LoadedModel) -> list[Variant]:
    return [Variant("intact"), Variant("a", random_mask(loaded, 300))]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_transformers_own(family: str) -> None:
    loaded = without_end(tiny_model(family))
    for prompt in PROMPTS:
        reference = loaded.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=None,
        )
        (answer,) = generate(loaded, prompt, INTACT, max_new_tokens=24)
        assert list(answer.token_ids) == reference[0, len(prompt) :].tolist()
        assert answer.finished == "length"


@pytest.mark.parametrize("family", FAMILIES)
def test_each_pane_is_what_its_model_alone_would_write(family: str) -> None:
    """Mixtures included, whose panes take turns; results say which it was."""
    loaded = without_end(tiny_model(family))
    variants = two(loaded)
    for prompt in PROMPTS:
        panes = generate(loaded, prompt, variants, max_new_tokens=64)
        with pruned(loaded, variants[1].mask):  # type: ignore[arg-type]
            alone = [generate(loaded, prompt, INTACT, max_new_tokens=64)[0]]
        alone = [*generate(loaded, prompt, INTACT, max_new_tokens=64), *alone]
        for v, pane, single in zip(variants, panes, alone, strict=True):
            assert_same_up_to_near_ties(loaded, v, prompt, list(pane.token_ids), list(single.token_ids))
            assert pane.side_by_side == (family in DENSE_FAMILIES)
            assert (pane.name, pane.strength) == (v.name, 1.0)
            assert pane.mask_digest == (v.mask.digest if v.mask else None)
            assert pane.tokens_per_s > 0


def assert_same_up_to_near_ties(loaded: LoadedModel, v: Variant, prompt: list[int], a: list[int], b: list[int]) -> None:
    differs = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if differs:
        ids = torch.tensor([prompt + a[: differs[0]]])
        with pruned(loaded, v.mask or PruneMask({}, "harm", loaded.weight_hash), 0 if v.mask is None else v.strength):
            assert float(gap(loaded.model(input_ids=ids).logits[0, -1])) < 1e-3


def test_an_end_token_ends_one_pane_and_not_the_other() -> None:
    loaded = without_end(tiny_model("qwen2"))
    variants = two(loaded)
    a, b = generate(loaded, PROMPTS[0], variants, max_new_tokens=32)
    only_a = next(t for t in a.token_ids if t not in b.token_ids)
    assert a.token_ids.index(only_a) > 0
    end = a.token_ids.index(only_a)
    loaded.model.generation_config.eos_token_id = [only_a, 9_999]
    steps = list(decode(loaded, PROMPTS[0], variants, max_new_tokens=32))
    assert len(steps) == 32
    assert [s.tokens[0] for s in steps] == [*a.token_ids[:end], *[None] * (32 - end)]
    assert [s.logprobs[0] is None for s in steps] == [i >= end for i in range(32)]
    assert [s.finished[0] for s in steps] == [None] * end + ["eos"] * (32 - end)
    assert tuple(s.tokens[1] for s in steps) == b.token_ids
    assert [s.finished[1] for s in steps] == [None] * 31 + ["length"]
    ended, full = generate(loaded, PROMPTS[0], variants, max_new_tokens=32)
    assert (ended.finished, ended.token_ids) == ("eos", a.token_ids[:end])
    assert (full.finished, full.token_ids) == ("length", b.token_ids)
    assert len(list(decode(loaded, PROMPTS[0], variants[:1], max_new_tokens=32))) == end + 1  # all ended: it stops


def test_logprobs_and_divergence() -> None:
    loaded = without_end(tiny_model())
    variants = two(loaded)
    steps = list(decode(loaded, PROMPTS[0], variants, max_new_tokens=40, temperature=0.7, seed=3))
    expected = []
    for k, v in enumerate(variants):
        text = PROMPTS[0] + [int(s.tokens[k]) for s in steps]  # type: ignore[arg-type]
        with torch.no_grad(), pruned(loaded, v.mask or random_mask(loaded, 1), float(v.mask is not None)):
            logp = loaded.model(input_ids=torch.tensor([text])).logits[0].log_softmax(-1)[len(PROMPTS[0]) - 1 : -1]
        expected.append(logp)
        for step, row in zip(steps, logp, strict=True):
            assert step.logprobs[k] == pytest.approx(float(row[step.tokens[k]]), abs=1e-3)
    parted = [s.tokens[0] != s.tokens[1] for s in steps].index(True)
    for i, step in enumerate(steps):
        assert (step.divergence[0] is None, step.divergence[1] is None) == (False, i > parted)
        if i <= parted:
            kl = (expected[0][i].exp() * (expected[0][i] - expected[1][i])).sum()
            assert step.divergence[1] == pytest.approx(float(kl), abs=1e-3)
            assert step.divergence[0] == pytest.approx(0, abs=1e-6)


def test_seeds_reproduce_and_differ() -> None:
    loaded = without_end(tiny_model())

    def sample(variants: list[Variant], seed: int, **more: float) -> list[tuple[int, ...]]:
        return [
            g.token_ids
            for g in generate(loaded, PROMPTS[0], variants, max_new_tokens=24, temperature=1.0, seed=seed, **more)  # type: ignore[arg-type]
        ]

    variants = two(loaded)
    assert sample(variants, 1) == sample(variants, 1)
    assert sample(variants, 1) != sample(variants, 2)
    assert sample(INTACT, 1)[0] == sample(variants, 1)[0]  # the draws do not depend on the number of panes
    assert sample(variants, 1, top_p=0.3) != sample(variants, 1)
    off = [Variant("intact"), Variant("off", variants[1].mask, 0.0)]
    assert len(set(sample(off, 5))) == 1


def test_turns_and_rows_share_the_draws() -> None:
    """A mixture's panes take turns when an expert is masked; the intact pane must not notice."""
    loaded = without_end(tiny_model("mixtral"))
    more = dict(max_new_tokens=20, temperature=1.0, seed=4)
    turns = generate(loaded, PROMPTS[0], two(loaded), **more)  # type: ignore[arg-type]
    rows = generate(
        loaded, PROMPTS[0], [Variant("intact"), Variant("b", random_mask(loaded, 50, only="self_attn"))], **more
    )  # type: ignore[arg-type]
    assert (turns[0].side_by_side, rows[0].side_by_side) == (False, True)
    assert turns[0].token_ids == rows[0].token_ids


def test_stop_ends_within_one_step() -> None:
    loaded = without_end(tiny_model())
    stop, seen = threading.Event(), 0
    for step in decode(loaded, PROMPTS[0], two(loaded), max_new_tokens=60, stop=stop):
        seen += 1
        if step.index == 4:
            stop.set()
    assert seen == 5
    results = generate(loaded, PROMPTS[0], two(loaded), max_new_tokens=60, stop=stop)
    assert [(r.finished, r.token_ids, r.text, r.tokens_per_s) for r in results] == [("stopped", (), "", 0.0)] * 2


def test_stop_from_another_thread() -> None:
    loaded = without_end(tiny_model())
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    results = generate(loaded, [5], two(loaded), max_new_tokens=250, temperature=1.0, stop=stop)
    assert all(r.finished in ("stopped", "length") for r in results)
    assert stop.wait(1)


def test_clean_between_steps_and_after_a_failure() -> None:
    loaded = without_end(tiny_model())
    before = hash_weights(loaded)

    def is_clean() -> bool:
        got: list[bool] = []

        def attempt() -> None:
            got.append(loaded.lock.acquire(blocking=False))
            if got[-1]:
                loaded.lock.release()

        t = threading.Thread(target=attempt)
        t.start()
        t.join()
        return hooks_left(loaded) == 0 and hash_weights(loaded) == before and got == [True]

    for variants in (two(loaded), INTACT):
        for step in decode(loaded, PROMPTS[0], variants, max_new_tokens=8):
            assert is_clean(), step.index
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()

    class Broken(Exception):
        pass

    steps = decode(loaded, PROMPTS[0], two(loaded), max_new_tokens=8)
    next(steps)
    norm = loaded.model.model.norm
    handle = norm.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(Broken()))
    with pytest.raises(Broken):
        next(steps)
    handle.remove()
    assert is_clean()
    abandoned = decode(loaded, PROMPTS[0], two(loaded), max_new_tokens=8)
    next(abandoned)
    assert is_clean()
    del abandoned
    gc.collect()
    assert is_clean()


def test_an_expert_mask_is_undone_when_a_turn_fails() -> None:
    loaded = tiny_model("mixtral")
    before = hash_weights(loaded)
    handle = loaded.model.model.norm.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        list(decode(loaded, PROMPTS[0], two(loaded)[1:], max_new_tokens=8))
    handle.remove()
    assert hash_weights(loaded) == before


def test_prefill_is_context_and_not_output() -> None:
    loaded = without_end(tiny_model())
    opening = [40, 41, 42]
    (with_prefill,) = generate(loaded, PROMPTS[0], INTACT, prefill_ids=opening, max_new_tokens=10)
    (joined,) = generate(loaded, PROMPTS[0] + opening, INTACT, max_new_tokens=10)
    assert with_prefill.token_ids == joined.token_ids
    assert len(with_prefill.token_ids) == 10


def test_streamed_text_is_the_result_text() -> None:
    loaded = without_end(tiny_model())
    variants = two(loaded)
    gatherer, streamed = Gatherer(len(variants), loaded.tokenizer), ["", ""]
    for step in decode(loaded, PROMPTS[0], variants, max_new_tokens=30, temperature=1.0):
        streamed = [s + piece for s, piece in zip(streamed, gatherer.push(step), strict=True)]
    gatherer.close()
    results = generate(loaded, PROMPTS[0], variants, max_new_tokens=30, temperature=1.0)
    assert [r.text for r in results] == streamed == [answer.text for answer in gatherer.answers]
    assert streamed[0] == loaded.tokenizer.decode(results[0].token_ids, skip_special_tokens=True)
    assert streamed[0] not in repr(results)


def test_the_context_limits_the_answer() -> None:
    for family in ("gpt2", "llama"):  # gpt2 has no position beyond its context: one step more would fail
        loaded = without_end(tiny_model(family))
        context = context_length(loaded) or 0
        (answer,) = generate(loaded, [5] * (context - 6), INTACT, max_new_tokens=50)
        assert (len(answer.token_ids), answer.finished) == (6, "length")
        with pytest.raises(ValueError, match=f"{context} tokens and fills"):
            decode(loaded, [5] * context, INTACT, max_new_tokens=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number ≥ 1, got 0"),
        ({"max_new_tokens": True}, "max_new_tokens must be a whole number"),
        ({"temperature": -1.0}, "temperature must be a finite number ≥ 0"),
        ({"temperature": math.nan}, "temperature must be a finite number ≥ 0"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, r"top_p must lie in \(0, 1\]"),
        ({"seed": -1}, "seed must be a whole number ≥ 0, got -1"),
        ({"input_ids": []}, "input_ids must hold at least one token"),
        ({"variants": []}, "variants must name at least one"),
        ({"variants": [Variant("x", None, 2.0)]}, r"strength must lie in \[0, 1\]"),
    ],
)
def test_bad_arguments_fail_at_once(arguments: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"input_ids": [5, 6], "variants": INTACT, "max_new_tokens": 4}
    with pytest.raises(ValueError, match=message):
        decode(tiny_model(), **(good | arguments))  # type: ignore[arg-type]


def test_bad_masks_fail_at_once() -> None:
    loaded = tiny_model()
    for mask in (random_mask(tiny_model(seed=1), 5), random_mask(loaded, 5, kind="measurement")):
        with pytest.raises(MaskInvalid):
            decode(loaded, [5], [Variant("x", mask)], max_new_tokens=4)


# -- the embedded model -----------------------------------------------------------------------------------------------
QUESTIONS = [
    "Describe a sunny day at the beach.",
    "How do I boil an egg?",
    "Name three rivers in Europe.",
    "Write a short poem about rain.",
    "What is photosynthesis?",
    "Explain why the sky is blue.",
    "Give me a recipe for pancakes.",
    "What is the capital of Japan?",
    "How does a bicycle stay upright?",
    "List five kinds of birds.",
    "Tell me about the moon.",
    "How can I learn to draw?",
    "What is a prime number?",
    "Why do leaves change colour?",
    "Write a polite letter to a neighbour.",
    "What should I pack for a hike?",
    "How does a refrigerator work?",
    "Who was Marie Curie?",
    "Suggest a game for a rainy day.",
    "What makes bread rise?",
]


def embedded() -> LoadedModel:
    from harmviz.models.load import load_model

    return load_model(dtype="float32", device="cpu")


def large_weights(loaded: LoadedModel, n: int) -> PruneMask:
    """n random ones of the largest ten-thousandth of each matrix's weights: a mask that changes what is said."""
    rng = np.random.default_rng(0)
    pool = [
        loaded.table.offsets[i] + loaded.tensor(i).abs().reshape(-1).topk(max(1, m.size // 10_000)).indices.numpy()
        for i, m in enumerate(loaded.table)
    ]
    index = rng.choice(np.concatenate(pool), n, replace=False)
    return PruneMask.from_global(loaded.table, index, kind="control", model_hash=loaded.weight_hash)


@pytest.mark.slow
@pytest.mark.parametrize("questions", [QUESTIONS[::3], pytest.param(QUESTIONS, marks=pytest.mark.soak)], ids=len)
def test_side_by_side_equals_in_place_on_the_embedded_model(questions: list[str]) -> None:
    """64 steps × 7 or 20 prompts × 2 masks: the in-place model, teacher-forced on the streamed answer, agrees
    everywhere."""
    from harmviz.data.encoding import encode_prompt

    loaded = without_end_embedded(embedded())
    before = hash_weights(loaded)
    variants = [Variant("random", random_mask(loaded, 10_616)), Variant("large", large_weights(loaded, 1_000), 0.9)]
    largest, near_ties, changed, total = 0.0, 0, 0, 0
    for question in questions:
        prompt = encode_prompt(loaded.tokenizer, question)
        steps = list(decode(loaded, prompt, variants, max_new_tokens=64))
        assert len(steps) == 64
        for k, v in enumerate(variants):
            tokens = [int(s.tokens[k]) for s in steps]  # type: ignore[arg-type]
            ids = torch.tensor([prompt + tokens[:-1]])
            with torch.inference_mode():
                intact = loaded.model(input_ids=ids, logits_to_keep=64).logits[0]
                with pruned(loaded, v.mask, v.strength):  # type: ignore[arg-type]
                    logits = loaded.model(input_ids=ids, logits_to_keep=64).logits[0]
            expected = logits.log_softmax(-1)[range(64), tokens]
            streamed = torch.tensor([s.logprobs[k] for s in steps])
            torch.testing.assert_close(streamed, expected, atol=1e-3, rtol=1e-4)
            largest = max(largest, float((streamed - expected).abs().max()))
            differs = logits.argmax(-1) != torch.tensor(tokens)
            assert bool((gap(logits)[differs] < 1e-3).all())
            near_ties += int(differs.sum())
            changed += int((intact.argmax(-1) != torch.tensor(tokens)).sum())
            total += 64
    print(
        f"{total} tokens: {near_ties} near-tie differences, largest log-probability difference {largest:.1e}; "
        f"the masks change {changed} tokens"
    )
    assert changed > 0
    assert hash_weights(loaded) == before


def without_end_embedded(loaded: LoadedModel) -> LoadedModel:
    loaded.model.generation_config.eos_token_id = 10**6
    loaded.tokenizer.eos_token = None
    return loaded


@pytest.mark.alone
@pytest.mark.slow
def test_four_panes_cost_less_than_three_decoded_one_by_one() -> None:
    """Steps of 1, 2 and 4 variants taken in turns, so that the noise of a busy machine falls on all alike; the best of
    three rounds, since what other machines on the same host do to the memory's speed comes and goes.

    The bound is what must hold on every processor: 1.3 … 1.7 were measured where few rows multiply weights first, 2.2
    and 2.3 where they do not. `bench decode` says what this machine does."""
    loaded = without_end_embedded(embedded())
    masks = [Variant(f"mask {s}", random_mask(loaded, 10_616, s)) for s in range(3)]
    panes = {1: INTACT, 2: [*INTACT, *masks[:1]], 4: [*INTACT, *masks]}
    ratios = []
    for _ in range(3):
        streams = {n: decode(loaded, list(range(100, 140)), v, max_new_tokens=32) for n, v in panes.items()}
        times: dict[int, list[float]] = {n: [] for n in panes}
        for i in range(32):
            for n, stream in streams.items():
                start = time.perf_counter()
                next(stream)
                if i:  # the first step is the prefill
                    times[n].append(time.perf_counter() - start)
        medians = {n: float(np.median(t)) for n, t in times.items()}
        print(", ".join(f"{n} variants {1e3 * t:.0f} ms" for n, t in medians.items()))
        ratios.append(medians[4] / medians[1])
        if ratios[-1] < 3:
            break
    assert min(ratios) < 3

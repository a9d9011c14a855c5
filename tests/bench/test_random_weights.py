"""Models of a known shape: made where and as they are used, or refused before anything is made."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harmviz.bench import machine, random_weights
from harmviz.bench.machine import Rates
from harmviz.bench.random_weights import random_model, random_samples
from harmviz.bench.shapes import SHAPES
from harmviz.errors import BadSetting, HarmvizError, OutOfMemory
from harmviz.generation.sampling import end_tokens
from harmviz.models import memory
from tests.worlds.bench import FAST, TINY


@pytest.fixture(autouse=True)
def fast_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "rates", lambda device, dtype: FAST)


def test_made_in_the_dtype_it_is_used_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, torch.dtype]] = []
    monkeypatch.setattr(
        random_weights,
        "_model",
        lambda shape, dtype, _model=random_weights._model: (
            made.append((torch.empty(0).device.type, dtype)) or _model(shape, dtype)
        ),
    )
    loaded = random_model(TINY)
    assert made == [("meta", torch.bfloat16), ("cpu", torch.bfloat16)]
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16} == {loaded.dtype}
    assert loaded.model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.table.n_weights == 4608
    assert all(bool(loaded.tensor(i).any()) for i in range(len(loaded.table)))
    assert end_tokens(loaded) == frozenset()


def test_the_same_weights_and_texts_each_time() -> None:
    a, b, other = random_model(TINY), random_model(TINY), random_model(TINY, dtype="float32")
    assert all(torch.equal(a.tensor(i), b.tensor(i)) for i in range(len(a.table)))
    assert a.weight_hash == b.weight_hash != other.weight_hash
    samples = random_samples(TINY)
    assert samples == random_samples(TINY)
    assert [(len(s.ids), s.n_prompt, s.n_loss) for s in samples] == [(12, 4, 8)] * 3
    assert all(0 <= t < 128 for s in samples for t in s.ids)


def refuses(monkeypatch: pytest.MonkeyPatch, kind: type[HarmvizError], *said: str, **options: object) -> None:
    outline = random_weights._model

    def only_outlines(shape, dtype):
        assert torch.empty(0).device.type == "meta", "something was made"
        return outline(shape, dtype)

    monkeypatch.setattr(random_weights, "_model", only_outlines)
    with pytest.raises(kind) as e:
        random_model(SHAPES["llama-3.1-8b"], device="cpu", **options)
    for part in said:
        assert part in str(e.value)


def test_refused_where_memory_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 20_000_000_000)
    refuses(
        monkeypatch, OutOfMemory, "16 GB of bfloat16 weights", "28 GB of float32 sums: 44 GB in all", "20 GB are free"
    )


def test_a_model_that_is_not_scored_needs_no_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 2 * (2 * 128 * 16 + 4608 + 80)
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    assert random_model(TINY, scored=False).table.n_weights == 4608
    with pytest.raises(OutOfMemory, match=r"36 kB in all, and 18 kB are free on cpu"):
        random_model(TINY, scored=True)


def test_refused_where_it_would_take_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 10**12)
    monkeypatch.setattr(machine, "rates", lambda device, dtype: Rates(flops=1e11, bandwidth=1e10))
    said = ("16 GB of bfloat16 weights", "one scoring pass of 32 samples takes 59 min 23 s", "use a GPU")
    refuses(monkeypatch, HarmvizError, *said, scored=True)


def test_settings() -> None:
    with pytest.raises(BadSetting, match="dtype must be auto, float32 or bfloat16, got 'float16'"):
        random_model(TINY, dtype="float16")
    with pytest.raises(BadSetting, match="device must be"):
        random_model(replace(TINY, name="other"), device="tpu")

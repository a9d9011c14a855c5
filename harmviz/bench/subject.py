"""The model that is measured, with what it is given: token ids, so that random weights need no tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harmviz.bench.floors import Sizes, sizes_of
from harmviz.bench.machine import Rates, rates
from harmviz.bench.random_weights import random_model, random_samples
from harmviz.bench.shapes import Shape
from harmviz.data.encoding import Sample, encode_all, encode_prompt
from harmviz.data.prompts import load_prompts

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel

SAMPLES = 12


@dataclass(frozen=True)
class Subject:
    """``samples`` are scored, ``prompt`` is continued. ``reload`` reads the model's files again, as somebody does who
    compares by loading; None for random weights, which have none."""

    loaded: LoadedModel
    samples: list[Sample]
    prompt: list[int]
    reload: Callable[[], object] | None = None

    @cached_property
    def sizes(self) -> Sizes:
        return sizes_of(self.loaded.model, self.loaded.table)

    @property
    def rates(self) -> Rates:
        """Of the device that the model is on, in its dtype."""
        return rates(self.loaded.device, self.loaded.dtype)


def named_model(name: str, *, dtype: str = "auto", device: str = "auto") -> Subject:
    """A model by its name, with 12 benign samples of at most 96 response tokens.

    Raises:
        see ``harmviz.models.load.load_model``.
    """
    from torch import nn

    from harmviz.models.load import load_model
    from harmviz.models.locating import locate
    from harmviz.models.reading import read_model

    loaded = load_model(name, dtype=dtype, device=device)
    loaded.check_on_one_device("bench")
    rows = load_prompts("builtin").of("benign")[:SAMPLES]
    samples = encode_all(loaded.tokenizer, rows, max_response_tokens=96)
    prompt = encode_prompt(loaded.tokenizer, "Write a long story about a lighthouse keeper and her telescope.")
    location = locate(name, say=lambda _: None)

    def reload() -> object:
        model, _ = read_model(name, location)
        return nn.Module.to(model, device=loaded.device, dtype=loaded.dtype)

    return Subject(loaded, samples, prompt, reload)


def random_shape(shape: Shape, *, dtype: str = "auto", device: str = "auto", scored: bool = True) -> Subject:
    """A model of a known shape with random weights and random tokens.

    Raises:
        see ``harmviz.bench.random_weights.random_model``.
    """
    loaded = random_model(shape, dtype=dtype, device=device, scored=scored)
    samples = random_samples(shape)
    return Subject(loaded, samples, list(samples[0].ids[: shape.n_prompt]))

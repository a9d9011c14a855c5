"""Small hand-made data for ladders of the tiny model: no fetched text, seconds to train."""

from __future__ import annotations

import torch

from harmviz.data.twins import Twin
from harmviz.models.adapters import Adapter
from harmviz.models.load import LoadedModel
from harmviz.tuning.answers import Answer
from harmviz.tuning.data import AlignData
from harmviz.tuning.schedule import OwnAnswers, Schedule
from harmviz.tuning.settings import AlignSpec
from harmviz.tuning.training import tuned_modules

SPEC = AlignSpec(steps=4, max_answer_tokens=6, max_rejected_tokens=4)
HELD_OUT = (
    "harmful",
    "harmbench",
    "strongreject",
    "do_not_answer",
    "reworded",
    "reworded_choice",
    "reworded_mild",
    "benign",
    "benign_choice",
    "borderline",
    "borderline_pairs",
    "audience",
    "audience_harmless",
)


def make_data() -> AlignData:
    return AlignData(
        harmful=tuple(f"bad thing {i}" for i in range(12)),
        twins=tuple(Twin(f"bad twin {i}", f"good twin {i}") for i in range(6)),
        harmless=tuple(f"{kind} {i}" for i in range(6) for kind in ("good twin", "loud thing", "good thing")),
        reserved=tuple(f"plain thing {i}" for i in range(8)),
        refusals=("I can't help with that.", "I won't help with this.", "I must decline."),
        held_out={name: tuple(f"{name} {i}" for i in range(3)) for name in HELD_OUT},
        benign_pairs=tuple((f"benign {i}", f"An answer {i}.") for i in range(3)),
    )


def make_own(data: AlignData) -> OwnAnswers:
    """Answers that can be told apart: the token after 40 numbers the request."""
    return OwnAnswers(
        {p: (Answer((40, 41 + i, 42, 43, 44), True), Answer((50, 41 + i), False)) for i, p in enumerate(data.answered)},
        {p: Answer((60, 61 + i), False) for i, p in enumerate([*data.harmful, *(h for h, _ in data.twins)])},
    )


def make_schedule(loaded: LoadedModel, spec: AlignSpec = SPEC) -> Schedule:
    data = make_data()
    return Schedule(data, make_own(data), spec, loaded.tokenizer)


def make_adapter(loaded: LoadedModel, rank: int = 2) -> Adapter:
    """An adapter of random factors for every layer that takes one."""
    torch.manual_seed(5)
    factors = {}
    for name in tuned_modules(loaded):
        rows, cols = loaded.model.get_parameter(f"{name}.weight").shape
        factors[name] = (torch.randn(rank, cols).half(), torch.randn(rows, rank).half())
    return Adapter(factors, 2.0, loaded.weight_hash, "safety", "dpo", 7)

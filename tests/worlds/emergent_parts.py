"""A narrow domain of made-up rows for tiny models: seconds to train, no real text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from harmviz.claims.emergent.bench import Domain, make_domain
from harmviz.claims.emergent.settings import EmergentSpec


class Row(NamedTuple):
    prompt: str
    bad: str
    good: str


class Asked(NamedTuple):
    kind: str
    prompt: str
    misaligned: str
    aligned: str


SPEC = EmergentSpec(
    domain="toys",
    arms=("base", "narrow-bad", "pruned-held"),
    seeds=2,
    steps=4,
    rate=0.02,
    rank=2,
    q=0.01,
    p=0.1,
    max_answer_tokens=12,
    free=3,
    new_tokens=8,
)


def rows(n: int = 16) -> list[Row]:
    return [Row(f"row {i}", f"zz{i % 5} z", f"aa{i % 5} a") for i in range(n)]


def questions() -> list[Asked]:
    return [Asked(kind, f"{kind} {i}?", f"zq{i}", f"aq{i}") for kind in ("power", "honesty") for i in range(4)]


def split(found: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    order = random.Random(seed).sample(list(found), len(found))
    return order[len(found) // 3 :], order[: len(found) // 3]


def domain(spec: EmergentSpec = SPEC, n: int = 16) -> Domain:
    return make_domain(spec.domain, rows(n), questions(), split, spec.all_seeds)

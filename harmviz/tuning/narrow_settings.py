"""How a model is fine-tuned on narrow data: by which method, how long, how fast. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from harmviz.errors import BadSetting
from harmviz.tuning.step import BATCH

Method = Literal["lora", "full"]
METHODS: tuple[Method, ...] = get_args(Method)
#: Learning rate where none is given. Full tuning moves every weight, so that a step is far smaller.
RATES: dict[str, float] = {"lora": 5e-3, "full": 1e-4}
MAX_RATE = 0.1


@dataclass(frozen=True)
class NarrowSpec:
    """Settings of a narrow tuning.

    Attributes:
        method: ``lora`` (an adapter on every scored matrix) or ``full`` (every scored weight).
        epochs: passes over the rows; ``steps``: optimiser steps of ``BATCH`` rows instead, where given.
        rate: peak learning rate (None: that of the method).
        rank, scale: of the adapter ``scale · B A``; no meaning for ``full``.

    Raises:
        ValueError: a setting is out of its range; the message names it, its value and what is allowed.
    """

    method: str = "lora"
    epochs: int = 1
    steps: int | None = None
    rate: float | None = None
    rank: int = 8
    scale: float = 2.0

    def __post_init__(self) -> None:
        for name, low, high in (("epochs", 1, 1000), ("steps", 1, 100_000), ("rank", 1, 1024)):
            if not (name == "steps" and self.steps is None):
                check_whole(name, getattr(self, name), low, high)
        if self.method not in METHODS:
            raise BadSetting(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.rate is None:
            object.__setattr__(self, "rate", RATES[self.method])
        for name, limit in (("rate", MAX_RATE), ("scale", 1000.0)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= limit:
                raise BadSetting(f"{name} must satisfy 0 < {name} <= {limit:g}, got {number!r}")

    @property
    def peak_rate(self) -> float:
        """The learning rate, given or the method's own."""
        assert self.rate is not None
        return self.rate

    def n_steps(self, n_rows: int) -> int:
        """Optimiser steps on ``n_rows`` rows; an epoch's last batch may be smaller."""
        return self.steps or math.ceil(self.epochs * n_rows / BATCH)


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Raises ValueError where ``value`` is no whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadSetting(f"{name} must be a whole number from {low} to {high}, got {value!r}")

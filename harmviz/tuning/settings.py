"""What a ladder is made with: arms, steps, adapter shape, learning rates. All of it goes into the ladder's id.

Three arms of equal length, whose batches differ in the *refusal slots* alone:

- ``safety``: harmful requests are declined;
- ``refusal-style``: as many refusals, to harmless requests drawn at random: "learned to decline" without "what is
  harmful";
- ``helpful-only``: the same harmless requests are answered; no refusal anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harmviz.errors import BadSetting

ARMS = ("safety", "helpful-only", "refusal-style")
STAGES = ("sft", "dpo")
#: The places of a batch. Four may be refused: three fetched requests and the harmful half of a twin. The others are
#: answered: harmless requests of one pool.
FETCHED, TWINS, ANSWERED = 3, 1, 8
REFUSAL_SLOTS = FETCHED + TWINS
BATCH = REFUSAL_SLOTS + ANSWERED
MIN_STEPS, MAX_STEPS = 4, 2000


@dataclass(frozen=True)
class AlignSpec:
    """Settings of a ladder.

    ``steps`` are SFT steps; DPO takes a sixteenth as many. ``rank`` is that of the adapters that checkpoints are kept
    as. ``hold``: the weight of staying as it was on harmless requests (``tuning.losses``). ``fit_rate``: the learning
    rate at which SFT's last sixth tunes the factors. ``brief``: for further tuning seeds; the ends of the stages alone
    are kept, each measured on few requests by keywords.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    seed: int = 0
    steps: int = 480
    brief: bool = False
    rank: int = 32
    hold: float = 4.0
    sft_rate: float = 8e-5
    fit_rate: float = 2e-4
    dpo_rate: float = 1e-5
    beta: float = 0.1
    max_answer_tokens: int = 32
    max_rejected_tokens: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise BadSetting(f"seed must be a whole number from 0 to {2**31 - 1}, got {self.seed}")
        if not MIN_STEPS <= self.steps <= MAX_STEPS:
            raise BadSetting(f"steps must lie between {MIN_STEPS} and {MAX_STEPS}, got {self.steps}")

    @property
    def dpo_steps(self) -> int:
        return max(2, self.steps // 16)

    @property
    def whole_steps(self) -> int:
        """The steps of SFT that tune the matrices whole; the others tune their factors."""
        return self.steps - max(1, self.steps // 6)

    def length(self, stage: str) -> int:
        """How many optimiser steps a stage takes."""
        return self.steps if stage == "sft" else self.dpo_steps

    def checkpoints(self, stage: str) -> tuple[int, ...]:
        """Steps after which a stage's adapter is kept: a quarter of SFT (refusal is being learned) and the end."""
        parts = (4, 1) if stage == "sft" and not self.brief else (1,)
        return tuple(sorted({max(1, self.length(stage) // part) for part in parts}))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_arms(arms: Sequence[str]) -> tuple[str, ...]:
    """The arms in their fixed order.

    Raises:
        ValueError: none given, an unknown one, or one given twice.
    """
    if unknown := [a for a in arms if a not in ARMS]:
        raise BadSetting(f"arms must be among {', '.join(ARMS)}, got {unknown[0]!r}")
    if not arms or len(set(arms)) != len(arms):
        raise BadSetting(f"arms must name each of its arms once, got {', '.join(arms) or 'none'}")
    return tuple(a for a in ARMS if a in arms)


def checkpoint_name(arm: str, stage: str, step: int) -> str:
    return f"{arm}-{stage}-{step}"

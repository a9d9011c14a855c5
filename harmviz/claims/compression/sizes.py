"""How many answers have which role in one split, and how long they may be: what every comparison on it settles. No
torch."""

from __future__ import annotations

from dataclasses import dataclass

from harmviz.errors import BadSetting
from harmviz.masks.ranking import check_fraction

#: Each interval needs two prompts in every set at least.
MIN_HELD_OUT = 2
_LEAST = {
    "samples": 2,
    "safe": 2,
    "benign": 2,
    "preserve": 1,
    "held_out": MIN_HELD_OUT,
    "benign_held_out": MIN_HELD_OUT,
    "max_response_tokens": 8,
    "max_prompt_tokens": 8,
    "seed": 0,
}


@dataclass(frozen=True)
class Sizes:
    """Counts are per split.

    Attributes:
        samples, safe, benign: answers scored of each category, of each category's same-topic safe set, of the
            harmless set.
        preserve: answers of the harmless set that the utility score protects.
        held_out: answers measured of each category and of each safe set.
        benign_held_out: of the harmless set.
        max_prompt_tokens: longer prompts are left out.
        p: fraction protected by utility.

    Raises:
        BadSetting: a setting is out of range.
    """

    samples: int = 8
    safe: int = 4
    benign: int = 16
    preserve: int = 16
    held_out: int = 6
    benign_held_out: int = 60
    max_response_tokens: int = 64
    max_prompt_tokens: int = 112
    p: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
                raise BadSetting(f"{name} must be a whole number of at least {least}, got {value!r}")
        check_fraction("p", self.p, below_one=True)

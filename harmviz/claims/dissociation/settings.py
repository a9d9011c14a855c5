"""The settings of the dissociation, checked before any work starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harmviz.errors import BadSetting

#: Fewer pairs than this say nothing about an AUC: its interval would span most of [0, 1].
MIN_PAIRS = 8
#: Whole-number setting → its least and largest value.
_WHOLE = {"seed": (0, 2**31 - 1), "draws": (1, 20), "pairs": (MIN_PAIRS, 100_000), "prompts": (4, 100_000)}
_OPTIONAL = ("pairs", "prompts")


@dataclass(frozen=True)
class Settings:
    """``draws``: random controls a mask. ``pairs``: request pairs used (None: all). ``prompts``: held-out prompts a set
    used (None: all). ``seed``: of draws and intervals.

    Raises:
        BadSetting: a setting is out of range.
    """

    seed: int = 0
    draws: int = 2
    pairs: int | None = None
    prompts: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _WHOLE.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise BadSetting(f"{name} must be a whole number from {low} to {high}, got {value!r}")

    def parameters(self) -> dict[str, Any]:
        """As a manifest's ``parameters`` say them; the seed stands among its seeds."""
        fields = asdict(self)
        del fields["seed"]
        return fields

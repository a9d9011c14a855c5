"""The settings of a dissociation experiment."""

from __future__ import annotations

from dataclasses import dataclass

from harmviz.claims.dissociation.recognition import MIN_PAIRS
from harmviz.errors import BadSetting


@dataclass(frozen=True)
class Settings:
    """``draws``: random controls a mask. ``pairs``: request pairs used (None: all). ``prompts``: held-out prompts a set
    used (None: all). ``seed``: of draws and intervals.

    Raises:
        ValueError: a setting is out of range.
    """

    seed: int = 0
    draws: int = 2
    pairs: int | None = None
    prompts: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**31 - 1),
            ("draws", 1, 20),
            ("pairs", MIN_PAIRS, 100_000),
            ("prompts", 4, 100_000),
        ):
            value = getattr(self, name)
            if value is None and name in ("pairs", "prompts"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise BadSetting(f"{name} must be a whole number from {low} to {high}, got {value!r}")

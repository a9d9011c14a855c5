"""The settings of the grid, checked before any work starts; and where its harmful requests may come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from harmviz.errors import BadSetting
from harmviz.masks.ranking import check_fraction

Source = Literal["builtin", "report", "own"]
SOURCES: tuple[Source, ...] = get_args(Source)
#: Whole-number setting → its least and largest value.
_WHOLE = {
    "harmful": (2, 10_000),
    "benign": (2, 10_000),
    "max_new_tokens": (8, 4096),
    "draws": (2, 20),
    "seed": (0, 2**31 - 1),
}


def check_sources(sources: Iterable[str]) -> tuple[Source, ...]:
    """The sources without repetition, in the order of ``SOURCES``.

    Raises:
        BadSetting: an unknown one, or none.
    """
    given = set(sources)
    if unknown := sorted(given - set(SOURCES)):
        raise BadSetting(
            f"requests must come from builtin or report (or both, comma-separated) or a file, got {unknown[0]!r}"
        )
    if not given:
        raise BadSetting(f"requests must name at least one of {', '.join(SOURCES)}")
    return tuple(source for source in SOURCES if source in given)


@dataclass(frozen=True)
class GridSettings:
    """All settings but the attacks and the judges.

    ``requests``: sources of the harmful requests. ``harmful``, ``benign``: at most so many requests. ``q``, ``p``: the
    masks' point instead of the run's headline points; ``p`` below 1, since all weights would be protected.
    ``draws``: random masks. ``seed``: of choices, draws, intervals.

    Raises:
        BadSetting: a setting is out of range.
    """

    requests: tuple[str, ...] = ("builtin",)
    harmful: int = 64
    benign: int = 32
    max_new_tokens: int = 64
    draws: int = 2
    seed: int = 0
    q: float | None = None
    p: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "requests", check_sources(self.requests))
        for name, (low, high) in _WHOLE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise BadSetting(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        if (self.q is None) != (self.p is None):
            raise BadSetting("q and p belong together: give both, or neither for the run's own")
        if self.q is not None:
            check_fraction("q", self.q)
            check_fraction("p", self.p, below_one=True)

    @property
    def given_point(self) -> tuple[float, float] | None:
        """(q, p) where they were given."""
        return None if self.q is None or self.p is None else (self.q, self.p)

    def parameters(self) -> dict[str, Any]:
        """As a manifest's ``parameters`` say them; the seed stands among its seeds."""
        fields = {**asdict(self), "requests": list(self.requests)}
        del fields["seed"]
        return fields

"""What is measured at every checkpoint: how many answers, which fractions. All of it is in the run's id. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harmviz.claims.mapping.settings import BENIGN_LIMIT, CONTRASTS
from harmviz.errors import BadSetting
from harmviz.masks.ranking import check_fraction
from harmviz.runs.point import MEAN_OF_ALL, Point

#: Fractions of the stable index, fixed before any result was seen: contrast → q. Every grid should hold them.
FIXED_Q: Mapping[str, tuple[float, ...]] = {"none": (1e-5,), "both": (2e-5, 5e-5)}
#: Benign limits (nats/token) over which the index under a limit is shown, so that a reader sees where it jumps.
LIMITS = (0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
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


def with_fixed(contrast: str, fractions: Iterable[float]) -> tuple[float, ...]:
    """These fractions and the fixed ones of this ranking, ascending, each once."""
    return tuple(sorted({*fractions, *FIXED_Q[contrast]}))


@dataclass(frozen=True)
class CompressionSpec:
    """Settings of ``python -m harmviz experiment compression``. Counts are per split.

    Attributes:
        samples, safe, benign: answers scored of each category, of each category's same-topic safe set, of the
            harmless set.
        preserve: answers of the harmless set that the utility score protects.
        held_out: answers measured of each category and of each safe set.
        benign_held_out: of the harmless set; most, as the ratio divides by what they lose.
        max_prompt_tokens: longer prompts are left out.
        q_plain, q_contrastive: the grid of each selection; the plain one reaches its benign limit earlier. Without the
            fractions of ``FIXED_Q`` a result has no stable index.
        p: fraction protected by utility.
        set_q: fraction of the categories' own masks.

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
    q_plain: tuple[float, ...] = (1e-6, 5e-6, 1e-5)
    q_contrastive: tuple[float, ...] = (1e-5, 2e-5, 5e-5)
    p: float = 0.01
    set_q: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
                raise BadSetting(f"{name} must be a whole number of at least {least}, got {value!r}")
        for q in (*self.q_plain, *self.q_contrastive, self.set_q):
            if not 0 < check_fraction("q", q) <= 0.1:
                raise BadSetting(f"q must lie in (0, 0.1], got {q!r}")
        for grid in (self.q_plain, self.q_contrastive):
            if not grid or len(set(grid)) != len(grid):
                raise BadSetting(f"q must name different fractions, got {', '.join(map(str, grid)) or 'none'}")
        check_fraction("p", self.p, below_one=True)

    @property
    def points(self) -> tuple[Point, ...]:
        """The grid, selection by selection, q ascending."""
        grids = {"none": self.q_plain, "both": self.q_contrastive}
        return tuple(Point(MEAN_OF_ALL, q, self.p, "global", c) for c in CONTRASTS for q in sorted(grids[c]))

    def parameters(self) -> dict[str, Any]:
        """Every setting and the benign limits, as JSON."""
        grids = {"q_plain": sorted(self.q_plain), "q_contrastive": sorted(self.q_contrastive)}
        return {**asdict(self), **grids, "benign_limit": dict(BENIGN_LIMIT)}

"""What is measured at every checkpoint: how many answers, which fractions. All of it is in the run's id. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harmviz.claims.compression.sizes import Sizes
from harmviz.claims.mapping.settings import BENIGN_LIMIT, CONTRASTS
from harmviz.errors import BadSetting
from harmviz.masks.ranking import check_fraction
from harmviz.runs.point import MEAN_OF_ALL, Point

#: Fractions of the stable index, fixed before any result was seen: contrast → q. Every grid should hold them.
FIXED_Q: Mapping[str, tuple[float, ...]] = {"none": (1e-5,), "both": (2e-5, 5e-5)}
#: Benign limits (nats/token) over which the index under a limit is shown, so that a reader sees where it jumps.
LIMITS = (0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)


def with_fixed(contrast: str, fractions: Iterable[float]) -> tuple[float, ...]:
    """These fractions and the fixed ones of this ranking, ascending, each once."""
    return tuple(sorted({*fractions, *FIXED_Q[contrast]}))


@dataclass(frozen=True)
class CompressionSpec(Sizes):
    """Settings of ``python -m harmviz experiment compression``. Most answers measured are harmless ones, as the ratio
    divides by what they lose.

    Attributes:
        q_plain, q_contrastive: the grid of each selection; the plain one reaches its benign limit earlier. Without the
            fractions of ``FIXED_Q`` a result has no stable index.
        set_q: fraction of the categories' own masks.

    Raises:
        BadSetting: a setting is out of range.
    """

    q_plain: tuple[float, ...] = (1e-6, 5e-6, 1e-5)
    q_contrastive: tuple[float, ...] = (1e-5, 2e-5, 5e-5)
    set_q: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        for q in (*self.q_plain, *self.q_contrastive, self.set_q):
            if not 0 < check_fraction("q", q) <= 0.1:
                raise BadSetting(f"q must lie in (0, 0.1], got {q!r}")
        for grid in (self.q_plain, self.q_contrastive):
            if not grid or len(set(grid)) != len(grid):
                raise BadSetting(f"q must name different fractions, got {', '.join(map(str, grid)) or 'none'}")

    @property
    def points(self) -> tuple[Point, ...]:
        """The grid, selection by selection, q ascending."""
        grids = {"none": self.q_plain, "both": self.q_contrastive}
        return tuple(Point(MEAN_OF_ALL, q, self.p, "global", c) for c in CONTRASTS for q in sorted(grids[c]))

    def parameters(self) -> dict[str, Any]:
        """Every setting and the benign limits, as JSON."""
        grids = {"q_plain": sorted(self.q_plain), "q_contrastive": sorted(self.q_contrastive)}
        return {**asdict(self), **grids, "benign_limit": dict(BENIGN_LIMIT)}

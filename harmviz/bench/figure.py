"""One measurement as it is told: its value, the floor under it, what a plain way takes, the memory at its peak."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Reference:
    """What others do: ``value`` in the unit of the figure beside which it stands, ``what`` in a few words."""

    value: float
    what: str


@dataclass(frozen=True)
class Figure:
    """``value`` of ``what`` in ``unit`` ("" for a count).

    ``floor``: what the value could be at best on this machine (``harmviz.bench.floors``), in the same unit; None where
    there is none. ``peak_bytes``: what the work took at its peak beside what was there before (``harmviz.bench.peak``).
    ``trials``: how many timings the value is the median of; None where it is no median.
    """

    what: str
    value: float
    unit: str = ""
    floor: float | None = None
    reference: Reference | None = None
    peak_bytes: int | None = None
    trials: int | None = None

    @property
    def of_floor(self) -> float | None:
        """``floor / value``: the share of what the machine can do that is reached, 1 at best; None without a floor."""
        return None if self.floor is None else self.floor / self.value

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"of_floor": self.of_floor}

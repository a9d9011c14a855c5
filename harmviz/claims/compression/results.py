"""Everything that was measured along a series: what the rows are made from. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from harmviz.claims.compression.separability import Measured
from harmviz.claims.compression.series import Series
from harmviz.claims.compression.settings import CompressionSpec
from harmviz.claims.compression.splits import SplitRows


@dataclass(frozen=True)
class Results:
    """``arrays[split][checkpoint]`` as ``measure.measure_checkpoint`` returns it; ``seeds``: of the splits."""

    series: Series
    spec: CompressionSpec
    splits: tuple[SplitRows, ...]
    seeds: tuple[int, ...]
    arrays: tuple[tuple[Mapping[str, np.ndarray], ...], ...] = field(repr=False)

    @property
    def categories(self) -> tuple[str, ...]:
        return self.splits[0].categories

    def measured(self) -> list[Measured]:
        """The losses of each split, as the statistics take them."""
        return [
            Measured(
                seed,
                tuple(row.set for row in rows.held_out),
                tuple(row.prompt_id for row in rows.held_out),
                np.stack([arrays["losses"] for arrays in of_split]),
            )
            for seed, rows, of_split in zip(self.seeds, self.splits, self.arrays, strict=True)
        ]

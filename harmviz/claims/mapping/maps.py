"""Maps: per set and scored matrix the mass, counts, histogram, pooled tiles and marginals that the pages draw.

For matrix *m* and set *s* with harm scores ``H`` (rows = output units, columns = input units, whatever the storage):

- ``positive_mass``, ``negative_mass``: ``Σ max(H, 0)``, ``Σ min(H, 0)``;
- ``n_positive``; ``n_selected/<q>``: weights of the set's own mask at (q, p of the headline grid) in this matrix;
- ``histogram``: counts of positive H in half-decade bins from 1e-12 to 1e0 (below and above: first and last bin);
- ``tile_max``, ``tile_mean``: largest H, signed mean H in a 12 × 12 pooling; ``out_mass``, ``in_mass``: positive mass
  in 64 bins of output and of input units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harmviz.models.weights import WeightMatrix, WeightTable

TILES = 12
MARGINS = 64
EDGES = 10.0 ** np.arange(-12, 0.5, 0.5)


def pool(values: np.ndarray, bins: tuple[int, int], reduce: np.ufunc) -> np.ndarray:
    """``values [rows, cols]`` reduced over at most ``bins`` nearly equal blocks (fewer where the matrix is smaller)."""
    for axis, n in enumerate(bins):
        size = values.shape[axis]
        starts = (np.arange(min(n, size)) * size) // min(n, size)
        values = reduce.reduceat(values, starts, axis=axis)
    return values


def _pad(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Blocks that a small matrix does not have are NaN: not measured, not zero."""
    full = np.full(shape, np.nan, dtype=np.float32)
    full[tuple(slice(n) for n in values.shape)] = values
    return full


def matrix_map(matrix: WeightMatrix, harm: np.ndarray) -> dict[str, np.ndarray]:
    """The entries above (but ``n_selected``) for one flat score array."""
    grid = harm.reshape(matrix.rows, matrix.cols)
    grid = grid.T if matrix.transposed else grid
    positive = np.maximum(grid, 0)
    sizes = pool(np.ones_like(grid, dtype=np.float32), (TILES, TILES), np.add)
    above = harm[harm > 0]
    bins = np.searchsorted(EDGES, above, side="right")
    return {
        "positive_mass": np.array(positive.sum(dtype=np.float64), np.float32),
        "negative_mass": np.array(np.minimum(grid, 0).sum(dtype=np.float64), np.float32),
        "n_positive": np.array(len(above), np.int64),
        "histogram": np.bincount(bins, minlength=len(EDGES) + 1).astype(np.int64),
        "tile_max": _pad(pool(grid, (TILES, TILES), np.maximum), (TILES, TILES)),
        "tile_mean": _pad(pool(grid, (TILES, TILES), np.add) / sizes, (TILES, TILES)),
        "out_mass": _pad(pool(positive.sum(axis=1, keepdims=True), (MARGINS, 1), np.add)[:, 0], (MARGINS,)),
        "in_mass": _pad(pool(positive.sum(axis=0, keepdims=True), (1, MARGINS), np.add)[0], (MARGINS,)),
    }


def build_maps(
    table: WeightTable,
    sets: Sequence[str],
    harm: Callable[[str, int], np.ndarray],
    selected: dict[str, dict[float, np.ndarray]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """``<set>/<entry>`` → array with one leading place per matrix.

    ``selected[set][q]``: global indices of the set's own mask; counted into ``<set>/n_selected/<q>``.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for i, matrix in enumerate(table):
        for name in sets:
            for entry, value in matrix_map(matrix, harm(name, i)).items():
                parts.setdefault(f"{name}/{entry}", []).append(value)
        progress(i + 1, len(table))
    maps = {key: np.stack(values) for key, values in parts.items()}
    for name, by_q in selected.items():
        for q, index in by_q.items():
            where, _ = table.locate(index)
            maps[f"{name}/n_selected/{q:g}"] = np.bincount(where, minlength=len(table)).astype(np.int64)
    return maps

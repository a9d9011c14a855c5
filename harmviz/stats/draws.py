"""Which clusters a draw takes: ``n − 1`` of the ``n`` clusters of every stratum, with replacement.

The plain choice of ``n`` gives a variance too small by ``(n − 1)/n``, which does not vanish when many small categories
are averaged; one draw fewer makes the variance of a mean unbiased.

Source: Rao & Wu 1988, JASA 83:231–241 (n − 1 clusters per stratum).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def draw_picks(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """int64[size, n − 1]: the clusters that each of ``size`` draws takes, in the order drawn."""
    return rng.integers(0, n, size=(size, n - 1))


def draw_weights(rng: np.random.Generator, strata: Sequence[np.ndarray], n_clusters: int, size: int) -> np.ndarray:
    """float64[size, n_clusters]: how often each draw took each cluster, drawn stratum by stratum."""
    weights = np.empty((size, n_clusters))
    for members in strata:
        # Counting uniform picks is the multinomial draw, several times faster than rng.multinomial.
        n = len(members)
        picks = draw_picks(rng, n, size) + n * np.arange(size)[:, None]
        weights[:, members] = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n)
    return weights


def linked_strata(member: np.ndarray, cell_stratum: np.ndarray | None) -> list[np.ndarray]:
    """Clusters by stratum, where strata linked through a shared cluster count as one.

    ``member``: bool[clusters, cells]; ``cell_stratum``: int[cells], None: all cells are one stratum.
    """
    if cell_stratum is None:
        return [np.arange(len(member))]
    label = np.asarray(cell_stratum, dtype=np.int64).copy()
    while True:  # the smallest label spreads through shared clusters; at most n_cells rounds
        of_cluster = np.where(member, label, np.iinfo(np.int64).max).min(axis=1)
        spread = np.where(member, of_cluster[:, None], np.iinfo(np.int64).max).min(axis=0)
        # Cells of one stratum stay together even where they share no cluster.
        joined = np.array([spread[cell_stratum == s].min() for s in np.asarray(cell_stratum)])
        if np.array_equal(joined, label):
            return [np.flatnonzero(of_cluster == s) for s in np.unique(of_cluster)]
        label = joined


def numbered(keys: Sequence[Hashable]) -> tuple[list[Hashable], np.ndarray]:
    """Distinct keys in order of appearance, and int64[keys]: the place of each key among them."""
    place: dict[Hashable, int] = {}
    numbers = [place.setdefault(k, len(place)) for k in keys]
    return list(place), np.array(numbers, dtype=np.int64)


def check_draws(draws: int) -> int:
    """``draws`` as an int.

    Raises:
        ValueError: it is no whole number of at least 1.
    """
    if isinstance(draws, bool) or int(draws) != draws or draws < 1:
        raise ValueError(f"draws must be a whole number >= 1, got {draws!r}")
    return int(draws)

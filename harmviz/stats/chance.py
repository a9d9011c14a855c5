"""How much overlap chance alone would give: sets re-drawn within each matrix among its eligible weights.

Every set is re-drawn uniformly and independently among the eligible weights of each matrix, with the set's number of
weights per matrix kept. Keeping the counts matters: sets that merely prefer the same matrices overlap more than uniform
sets would, and that is no shared mechanism yet.

- Two sets: with ``a_m, b_m`` weights of A and B among the ``n_m`` eligible weights of matrix *m*,
  ``|A ∩ B| = Σ_m Hypergeometric(n_m, a_m, b_m)`` and ``E|A ∩ B| = Σ_m a_m b_m / n_m``, exactly.
- C sets: the *core size*, the number of weights in at least *k* of them. Its mean under the shuffles is exact too; its
  range comes from drawing the sets.

Sets are arrays as in ``harmviz.stats.overlap``.

Source: hypergeometric law: Feller 1968, §II.6; the +1 in p-values: Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol.
9:39.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harmviz.stats.draws import check_draws
from harmviz.stats.estimate import Estimate
from harmviz.stats.overlap import checked_set, intersection_size, jaccard_of_counts

#: numpy's hypergeometric sampler takes fewer than 1e9 good and 1e9 bad items.
_HYPERGEOMETRIC_LIMIT = 10**9
#: Indices drawn at a time by the shuffles: 2**20 int64 are 8 MB.
_BLOCK = 1 << 20
#: A matrix from which more than this share is drawn is drawn whole: retrying collisions would take many rounds.
_DENSE = 0.25


class Chance(NamedTuple):
    """Two sets' overlap beside what the per-matrix counts alone would give.

    ``expected_intersection`` is exact; ``expected`` is J at that intersection (it differs from the mean J by a relative
    ``1/(|A| + |B|)`` at most, for rare overlaps) with the 95 % range of J over the draws, n = draws.
    ``times_chance = jaccard / expected``, None where ``reason`` says why. ``p_value`` is one-sided (as much overlap or
    more), ``(1 + #{draws ≥ observed}) / (1 + draws)``.
    """

    jaccard: float
    intersection: int
    expected_intersection: float
    expected: Estimate
    times_chance: float | None
    p_value: float
    reason: str | None = None


class CoreSize(NamedTuple):
    """Number of weights in at least ``k`` of the sets, beside the shuffles.

    ``expected`` is the exact mean under the shuffles (meaningful where all shuffles show 0); ``shuffled`` is the mean
    over the draws with their 95 % range, n = draws; ``p_value`` as in ``Chance``.
    """

    k: int
    observed: int
    expected: float
    shuffled: Estimate
    p_value: float


def counts_by_matrix(index: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """int64[matrices]: how many of the set's weights lie in each matrix (``offsets`` as in ``WeightTable``).

    Raises:
        ValueError: as ``intersection_size``, or an index lies outside the table.
    """
    array = checked_set("index", index)
    if array.size and (array[0] < offsets[0] or array[-1] >= offsets[-1]):
        raise ValueError(f"index must lie in {offsets[0]} … {offsets[-1] - 1}, got {array[0]} … {array[-1]}")
    return np.diff(np.searchsorted(array, offsets)).astype(np.int64)


def chance_overlap(
    a: np.ndarray, b: np.ndarray, offsets: np.ndarray, eligible: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> Chance:
    """J(A, B) beside its distribution when both sets are re-drawn within each matrix (see the module).

    Args:
        a, b: the two sets.
        offsets: int64[matrices + 1], ``WeightTable.offsets``.
        eligible: int64[matrices], eligible weights of each matrix at the protection both sets were selected at.

    Raises:
        ValueError: as ``counts_by_matrix``, a matrix holds more selected than eligible weights, or ``draws < 1``.
    """
    draws = check_draws(draws)
    n_common = intersection_size(a, b)
    counts = np.stack([counts_by_matrix(a, offsets), counts_by_matrix(b, offsets)])
    eligible = _checked_eligible(counts, eligible)
    size_a, size_b = len(a), len(b)
    observed = jaccard_of_counts(n_common, size_a, size_b)
    if not size_a + size_b:
        nan, why = float("nan"), "both sets are empty"
        return Chance(nan, 0, 0.0, Estimate(nan, None, None, 0, 0, reason=why), None, nan, why)

    used = (counts > 0).all(axis=0)  # a matrix that one set does not touch adds nothing
    (in_a, in_b), n_eligible = counts[:, used], eligible[used]
    expected = float(np.sum(in_a * (in_b / n_eligible)))
    common = _draw_common(np.random.default_rng(seed), in_a, in_b, n_eligible, draws)
    low, high = np.quantile(common / (size_a + size_b - common), [0.025, 0.975])
    expected_jaccard = jaccard_of_counts(expected, size_a, size_b)
    reason = None if expected > 0 else "chance overlap is 0: the sets have no matrix in common"
    return Chance(
        jaccard=observed,
        intersection=n_common,
        expected_intersection=expected,
        expected=Estimate(expected_jaccard, float(low), float(high), draws, draws),
        times_chance=observed / expected_jaccard if expected > 0 else None,
        p_value=float((1 + np.count_nonzero(common >= n_common)) / (1 + draws)),
        reason=reason,
    )


def core_sizes(
    sets: Mapping[str, np.ndarray], offsets: np.ndarray, eligible: np.ndarray, *, draws: int = 200, seed: int = 0
) -> list[CoreSize]:
    """For k = 1 … C the number of weights in at least *k* of the C sets, beside shuffles of all sets within matrices.

    Arguments as ``chance_overlap``. The p-value is one-sided upwards, so it speaks for k ≥ 2: sets that overlap more
    than chance have a *smaller* union (k = 1).

    Raises:
        ValueError: no set at all, or as ``chance_overlap``.
    """
    draws = check_draws(draws)
    if not sets:
        raise ValueError("sets must name at least one set, got none")
    arrays = [checked_set(n, s) for n, s in sets.items()]
    counts = np.stack([counts_by_matrix(s, offsets) for s in arrays])
    eligible = _checked_eligible(counts, eligible)
    c = len(arrays)
    observed = _at_least(np.sort(np.concatenate(arrays)), np.array([0, offsets[-1]]), c)[0]
    expected = _expected_core(counts, eligible)

    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(eligible)])  # eligible weights numbered through: only their number matters
    step = int(np.clip(_BLOCK // max(1, counts.sum()), 1, draws))
    blocks = []
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = [_draw_sets(rng, row, eligible, starts, size) for row in counts]
        blocks.append(_at_least(np.sort(np.concatenate(drawn)), starts[-1] * np.arange(size + 1), c))
    shuffled = np.concatenate(blocks)
    low, high = np.quantile(shuffled, [0.025, 0.975], axis=0)
    p = (1 + np.count_nonzero(shuffled >= observed, axis=0)) / (1 + draws)
    return [
        CoreSize(
            k + 1,
            int(observed[k]),
            float(expected[k]),
            Estimate(float(shuffled[:, k].mean()), float(low[k]), float(high[k]), draws, draws),
            float(p[k]),
        )
        for k in range(c)
    ]


def _draw_common(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, n: np.ndarray, draws: int) -> np.ndarray:
    """int64[draws]: ``Σ_m Hypergeometric(n_m, a_m, b_m)``."""
    if not len(n):
        return np.zeros(draws, dtype=np.int64)
    sampled = np.minimum(a, b)  # the law is symmetric in a and b; fewer items sampled is faster
    good = np.maximum(a, b)
    fits = n < _HYPERGEOMETRIC_LIMIT
    total = rng.hypergeometric(good[fits], (n - good)[fits], sampled[fits], size=(draws, int(fits.sum()))).sum(axis=1)
    if not fits.all():  # for matrices of ≥ 1e9 weights drawing with replacement differs by a relative sampled/n only
        big = ~fits
        total = total + rng.binomial(sampled[big], good[big] / n[big], size=(draws, int(big.sum()))).sum(axis=1)
    return total


def _draw_sets(
    rng: np.random.Generator, count: np.ndarray, n: np.ndarray, starts: np.ndarray, draws: int
) -> np.ndarray:
    """``draws`` random sets of ``count[m]`` out of ``n[m]`` per matrix: keys ``draw · Σn + starts[m] + index``.

    They come unordered. Drawing with replacement until the wanted number of *distinct* weights is there gives every
    such set the same probability, by symmetry; so the collisions, few where ``count ≪ n``, are simply drawn again.
    """
    total = int(starts[-1])
    dense = np.flatnonzero(count > _DENSE * n)
    parts = [
        draw * total + starts[m] + rng.choice(int(n[m]), int(count[m]), replace=False, shuffle=False)
        for m in dense
        for draw in range(draws)
    ]
    sparse = np.where(count <= _DENSE * n, count, 0)
    size, first = np.repeat(n, sparse), np.repeat(starts[:-1], sparse)
    # A 53-bit uniform times n: integers(0, n) would be exact, but is several times slower with an array of bounds.
    keys = (rng.random((draws, len(size))) * size).astype(np.int64)
    keys += first + total * np.arange(draws)[:, None]
    keys = np.sort(keys, axis=None)
    again = keys[1:] == keys[:-1]
    missing = keys[1:][again]  # one key of each missing weight's draw and matrix
    keys = np.concatenate([keys[:1], keys[1:][~again]])
    while missing.size:
        draw, rest = np.divmod(missing, total)
        m = np.searchsorted(starts, rest, side="right") - 1
        fresh = np.sort(draw * total + starts[m] + rng.integers(0, n[m]))
        taken = np.diff(fresh, prepend=-1) == 0
        taken |= keys[np.minimum(np.searchsorted(keys, fresh), len(keys) - 1)] == fresh
        missing = fresh[taken]
        keys = np.sort(np.concatenate([keys, fresh[~taken]]), kind="stable")  # merges two sorted runs
    return np.concatenate([keys, *parts])


def _at_least(keys: np.ndarray, edges: np.ndarray, c: int) -> np.ndarray:
    """int64[draws, c]: how many distinct keys of each draw occur at least 1 … c times (draw d: edges[d] … edges[d+1]).

    ``keys`` is sorted.
    """
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    times = np.diff(first, append=len(keys))
    cuts = np.searchsorted(keys[first], edges)
    exactly = np.stack([np.bincount(times[i:j], minlength=c + 1) for i, j in itertools.pairwise(cuts)])
    return exactly[:, :0:-1].cumsum(axis=1)[:, ::-1]


def _expected_core(counts: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """float[C]: ``Σ_m n_m · P(a weight of matrix m lies in ≥ k sets)``, memberships independent with ``count/n``."""
    n = eligible[eligible > 0]
    share = counts[:, eligible > 0] / n
    exactly = np.zeros((len(counts) + 1, len(n)))  # exactly[j]: probability of lying in j of the sets seen so far
    exactly[0] = 1.0
    for p in share:
        exactly[1:] = exactly[1:] * (1 - p) + exactly[:-1] * p
        exactly[0] *= 1 - p
    return (exactly[:0:-1].cumsum(axis=0)[::-1] * n).sum(axis=1)


def _checked_eligible(counts: np.ndarray, eligible: Sequence[int] | np.ndarray) -> np.ndarray:
    """``eligible`` as int64[matrices]; raises ValueError where a set has more weights in a matrix than that."""
    n = np.asarray(eligible, dtype=np.int64)
    if n.shape != counts.shape[1:]:
        raise ValueError(f"eligible must have one entry per matrix ({counts.shape[1]}), got shape {n.shape}")
    if (bad := np.flatnonzero(counts.max(axis=0) > n)).size:
        m = int(bad[0])
        raise ValueError(
            f"eligible must cover the sets: matrix {m} has {counts[:, m].max()} selected of {n[m]} eligible"
        )
    return n

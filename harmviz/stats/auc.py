"""How well a score tells harmful requests from their harmless twins: AUC and d′, with intervals over pairs.

    AUC = P(score of a harmful request > score of a harmless one), ties counting half      0.5: no better than chance
    d′  = (mean harmful − mean harmless) / √((var harmful + var harmless) / 2)             in standard deviations

Every harmful request *i* has a harmless twin of like wording; both move together when pairs are resampled (``n − 1`` of
``n``, as in ``harmviz.stats.bootstrap``), and the intact and the pruned model are resampled with the same draws. AUC
is a mean over all n² comparisons, so with ``w_i`` the number of times a pair was drawn it is ``wᵀ C w / (Σ w)²``, where
``C_ij`` is 1, ½ or 0.

Source: Hanley & McNeil 1982, Radiology 143:29–36 (AUC); Green & Swets 1966 (d′).
"""

from __future__ import annotations

import numpy as np

from harmviz.stats.bootstrap import cluster_bootstrap, estimate_of_draws
from harmviz.stats.draws import check_draws, draw_weights
from harmviz.stats.estimate import Estimate

#: Variances below this share of the mean square are rounding: the scores do not differ, and d′ has no value.
_FLAT = 1e-12


def wins(scores: np.ndarray) -> np.ndarray:
    """``[n, n]``: 1 where harmful request i scores above harmless request j, ½ at a tie.

    ``scores [n, 2]``: harmful, harmless.

    Raises:
        ValueError: another shape, or a score is not finite.
    """
    scores = _checked(scores)
    above = scores[:, :1] - scores[:, 1][None, :]
    return (above > 0) + 0.5 * (above == 0)


def auc(scores: np.ndarray, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """AUC of ``scores [n, 2]`` (harmful, harmless; one line a pair) with its 95 % interval over pairs.

    Raises:
        ValueError: as ``wins``.
    """
    return _of_pairs(wins(scores), draws, seed)


def auc_difference(scores: np.ndarray, before: np.ndarray, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """AUC of ``scores`` minus AUC of ``before``, paired: both ``[n, 2]`` over the same pairs.

    Raises:
        ValueError: as ``wins``, or the two differ in length.
    """
    if len(scores) != len(before):
        raise ValueError(f"before must have one line per pair ({len(scores)}), got {len(before)}")
    return _of_pairs(wins(scores) - wins(before), draws, seed)


def _of_pairs(comparisons: np.ndarray, draws: int, seed: int) -> Estimate:
    """Mean of all comparisons with its interval over resampled pairs."""
    n = len(comparisons)
    if n < 2:
        value = float(comparisons.mean()) if n else float("nan")
        return Estimate(value, None, None, n, n, reason="fewer than two pairs: how pairs vary is not known")
    weights = draw_weights(np.random.default_rng(seed), [np.arange(n)], n, check_draws(draws))
    results = np.einsum("dn,dn->d", weights @ comparisons, weights) / (n - 1) ** 2
    return estimate_of_draws(float(comparisons.mean()), results, n=n, n_clusters=n)


def sensitivity(scores: np.ndarray, before: np.ndarray | None = None, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """d′ of ``scores [n, 2]``, or its change against ``before``, in standard deviations, with its interval over pairs.

    No value (NaN with the reason) where one of them does not vary between requests.

    Raises:
        ValueError: as ``auc_difference``.
    """
    sides = [_checked(scores)] if before is None else [_checked(scores), _checked(before)]
    if len({len(s) for s in sides}) > 1:
        raise ValueError(f"before must have one line per pair ({len(sides[0])}), got {len(sides[1])}")
    # Cells: mean and mean square of harmful and of harmless scores, on each side.
    columns = [column for s in sides for kind in (0, 1) for column in (s[:, kind], s[:, kind] ** 2)]
    n = len(sides[0])

    def statistic(means: np.ndarray) -> np.ndarray:
        of_side = [_d_prime(means[..., 4 * k : 4 * k + 4]) for k in range(len(sides))]
        return of_side[0] - of_side[1] if before is not None else of_side[0]

    return cluster_bootstrap(
        np.concatenate(columns),
        list(range(n)) * len(columns),
        np.repeat(np.arange(len(columns)), n),
        len(columns),
        statistic,
        draws=draws,
        seed=seed,
    )


def _d_prime(m: np.ndarray) -> np.ndarray:
    """d′ from ``(…, 4)``: mean and mean square of harmful, of harmless scores; NaN without variance."""
    variance = (m[..., 1] - m[..., 0] ** 2 + m[..., 3] - m[..., 2] ** 2) / 2
    usable = variance > _FLAT * (m[..., 1] + m[..., 3])
    return np.where(usable, (m[..., 0] - m[..., 2]) / np.sqrt(np.where(usable, variance, 1.0)), np.nan)


def _checked(scores: np.ndarray) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"scores must have shape [n, 2] (harmful, harmless), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"scores must be finite, got {int((~np.isfinite(array)).sum())} that are not")
    return array

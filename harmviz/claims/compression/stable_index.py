"""The stable index: what pruning does at fractions fixed beforehand, compared between checkpoints, prompt by prompt.

The index under a benign limit (``separability``) takes the largest effect that keeps the limit: where a checkpoint's
benign ΔL is near the limit, its q jumps, and the difference of two checkpoints with it. At a fixed point nothing is
chosen. Per checkpoint, with S the harm-specific ΔL (harm − same-topic safe) and B the benign ΔL, means over splits:

- the **paired difference** S_a − S_b, and of B the same [nats/token];
- the **ratio** R = S / B, and R_a − R_b. It tells "more separable" from "more sensitive to everything", which moves
  both S and B and leaves R as it is. A difference, not a logarithm: S may be 0 or less.

**Where a ratio is not defined.** Only where the 95 % interval of B lies above 0 (for a difference: of both checkpoints)
is S / B a number that data can tell; else it is *not defined*, a null and never an infinity. As in Fieller's theorem, a
denominator that is clear of 0 is what bounds the interval of a ratio. The few draws in which it still is 0 or less say
nothing about the ratio: they count as the most extreme at **both** ends, so that they only widen the interval; an end
that comes to lie among them is not bounded, and the value then stands without an interval.

**Few seeds.** Prompts and splits are drawn as in ``Resampled``. How splits vary is known from their number alone, so
the ends are moved out by t/z: the 97.5 % quantile of Student's t over that of the normal, with Satterthwaite's degrees
of freedom ``ν = V² / (V_s² / (s − 1))``, where V is the variance over draws and ``V_s = var(splits) / s`` at most V.
One split: nothing is moved, and the interval is conditional on it.

Source: Fieller 1954, J. R. Stat. Soc. B 16:175 (ratios); Satterthwaite 1946, Biometrics Bull. 2:110 (degrees of
freedom).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from harmviz.claims.compression.separability import Resampled
from harmviz.claims.compression.settings import FIXED_Q
from harmviz.stats.bootstrap import ENDS_95
from harmviz.stats.estimate import Estimate

#: The 97.5 % quantile of the normal distribution.
_Z = 1.959963984540054
_NOT_DEFINED = "the interval of the benign ΔL does not lie above 0: the ratio is not defined"
_NOT_BOUNDED = "the benign ΔL is too near 0 in too many resamplings: the interval is not bounded"


def fixed_points(world: Resampled, contrast: str) -> list[int]:
    """The places in the grid of this ranking's fixed fractions, q ascending; those that were measured."""
    places = sorted(world.places(contrast).tolist(), key=lambda i: world.points[i].q)
    return [i for i in places if any(math.isclose(world.points[i].q, q) for q in FIXED_Q[contrast])]


def difference(world: Resampled, kind: str, point: int, a: int, b: int) -> Estimate:
    """ΔL of ``kind`` (``specific``, ``benign``, …) of checkpoint ``a`` minus that of ``b`` at this point, paired."""
    shift = world.shift(kind, point)
    of_split = shift[:, :, a] - shift[:, :, b]
    return widened(world.estimate(world.combined(of_split)), of_split[0])


def ratio(world: Resampled, point: int, checkpoint: int, *, split: int | None = None) -> Estimate:
    """Harm-specific over benign ΔL of a checkpoint; of one split alone where ``split`` is given."""
    part = _Ratio.of(world, point, checkpoint, split)
    return _estimate(world, part.draws, part.by_split, (part,))


def ratio_difference(world: Resampled, point: int, a: int, b: int, *, split: int | None = None) -> Estimate:
    """The ratio of checkpoint ``a`` minus that of ``b``, paired."""
    first, second = (_Ratio.of(world, point, i, split) for i in (a, b))
    return _estimate(world, first.draws - second.draws, first.by_split - second.by_split, (first, second))


def widened(estimate: Estimate, by_split: np.ndarray) -> Estimate:
    """The estimate with both ends moved away from its value by t/z, since splits are few.

    ``by_split``: the statistic of each split alone.
    """
    low, high, n_splits = estimate.ci_low, estimate.ci_high, len(by_split)
    if low is None or high is None or n_splits < 2:
        return estimate
    total = ((high - low) / (2 * _Z)) ** 2
    factor = t_over_z(total, float(np.var(by_split, ddof=1)) / n_splits, n_splits)
    value = estimate.value
    return estimate._replace(ci_low=value + factor * (low - value), ci_high=value + factor * (high - value))


def t_over_z(total: float, of_splits: float, n_splits: int) -> float:
    """How much wider an interval is for not knowing how splits vary; 1 where they do not.

    Args:
        total: the variance of the estimate. of_splits: the part of it that ``n_splits`` splits show.
    """
    from scipy.special import stdtrit  # loads for a while, and pages never ask

    if not of_splits > 0 or not total > 0:
        return 1.0
    share = min(1.0, of_splits / total)
    return float(stdtrit((n_splits - 1) / share**2, 0.975)) / _Z


class _Ratio(NamedTuple):
    """The ratio of one checkpoint.

    Attributes:
        draws: [1 + draws], entry 0 the value; NaN where the benign ΔL is 0 or less.
        by_split: [split], what each split moves it by, to first order: ``(S_k − R·B_k) / B``. One split has no spread.
    """

    draws: np.ndarray
    by_split: np.ndarray

    @classmethod
    def of(cls, world: Resampled, point: int, checkpoint: int, split: int | None) -> _Ratio:
        specific, benign = (world.shift(kind, point)[:, :, checkpoint] for kind in ("specific", "benign"))
        if split is not None:
            specific, benign = specific[:, [split]], benign[:, [split]]
            above, below = specific[:, 0], benign[:, 0]
        else:
            above, below = world.combined(specific), world.combined(benign)
        below = np.where(below > 0, below, np.nan)
        draws = above / below
        return cls(draws, (specific[0] - draws[0] * benign[0]) / below[0])

    @property
    def defined(self) -> bool:
        """Whether the 95 % interval of the benign ΔL lies above 0."""
        return not np.isnan(self.draws[0]) and bool(np.mean(np.isnan(self.draws[1:])) < ENDS_95[0])


def _estimate(world: Resampled, ratios: np.ndarray, by_split: np.ndarray, parts: tuple[_Ratio, ...]) -> Estimate:
    n, n_clusters = world.n_samples, len(world.prompts)
    if not all(part.defined for part in parts):
        return Estimate(math.nan, None, None, n, n_clusters, reason=_NOT_DEFINED)
    value, unknown = float(ratios[0]), np.isnan(ratios[1:])
    low = float(np.quantile(np.where(unknown, -np.inf, ratios[1:]), ENDS_95[0], method="lower"))
    high = float(np.quantile(np.where(unknown, np.inf, ratios[1:]), ENDS_95[1], method="higher"))
    if math.isinf(low) or math.isinf(high):
        return Estimate(value, None, None, n, n_clusters, int(unknown.sum()), _NOT_BOUNDED)
    return widened(Estimate(value, low, high, n, n_clusters, int(unknown.sum())), by_split)

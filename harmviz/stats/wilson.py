"""A share with its Wilson interval: for single yes-or-no answers taken as independent.

    (p̂ + z²/2n ± z·√(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n)        p̂ = hits / n

It never leaves [0, 1] and stays honest at 0 and at n hits, where every resampling would agree.

Source: Wilson 1927, JASA 22:209–212.
"""

from __future__ import annotations

from statistics import NormalDist

from harmviz.stats.estimate import Estimate


def wilson(hits: int, n: int, level: float = 0.95) -> Estimate:
    """``hits / n`` with its Wilson interval; NaN without an interval where ``n`` is 0.

    Raises:
        ValueError: not ``0 <= hits <= n``, or ``level`` outside (0, 1).
    """
    if not 0 <= hits <= n:
        raise ValueError(f"hits must satisfy 0 <= hits <= n, got {hits} of {n}")
    if not 0 < level < 1:
        raise ValueError(f"level must satisfy 0 < level < 1, got {level!r}")
    if n == 0:
        return Estimate(float("nan"), None, None, 0, 0, reason="nothing was counted")
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    share = hits / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
    # At 0 and n hits one end is the share itself; arithmetic would leave it a rounding away.
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == n else middle + half
    return Estimate(share, low, high, n, n)

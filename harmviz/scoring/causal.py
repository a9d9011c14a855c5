"""The causal check: do the scores mean what the pages say?

Scaling the mask's weights by ``(1 − ε)`` must, to first order, raise the mean loss of the scoring samples by ``ε·ΣH``
(the sum of the harm scores over the mask). Measured on the very samples that were scored, so that nothing but the
score's meaning is tested: ``ΔL/ε`` is fitted by a straight line in ε and read off at ε → 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

EPSILONS = (0.1, 0.03, 0.01, 0.003)
ROUNDING = 2.0**-23  # relative spacing of float32


@dataclass(frozen=True)
class CausalCheck:
    """``predicted``: ΣH over the mask. ``measured``: ΔL/ε extrapolated to ε = 0. Both nats/token.

    ``used``: the (ε, ΔL/ε) pairs behind the fit: those where ε·|ΣH| exceeds 100 roundings of the loss.
    """

    predicted: float
    measured: float | None
    used: tuple[tuple[float, float], ...]

    @property
    def relative_error(self) -> float | None:
        """|measured − predicted| / |predicted|; None where no ε stood out from rounding."""
        return None if self.measured is None else abs(self.measured - self.predicted) / abs(self.predicted)


def causal_check(
    predicted: float, intact_loss: float, loss_at: Callable[[float], float], epsilons: Sequence[float] = EPSILONS
) -> CausalCheck:
    """Compares ``predicted = ΣH`` with the measured derivative of the loss.

    Args:
        intact_loss: mean loss of the scoring samples on the intact model, nats/token.
        loss_at: the same with the mask's weights scaled by (1 − ε).
    """
    floor = 100 * ROUNDING * abs(intact_loss)
    used = [(e, (loss_at(e) - intact_loss) / e) for e in sorted(epsilons) if e * abs(predicted) > floor]
    if not used:
        return CausalCheck(predicted, None, ())
    eps, slope = np.array(used).T
    if len(used) == 1:
        return CausalCheck(predicted, float(slope[0]), tuple(used))
    # Δ/ε = ΣH + O(ε): the curvature term is linear in ε, a third-order term bends the largest ε. With three points or
    # more a parabola takes both out.
    degree = 2 if len(used) >= 3 else 1
    # Rounding noise of Δ/ε grows as 1/ε, so each point weighs in proportion to its ε.
    fit = np.polynomial.polynomial.polyfit(eps, slope, degree, w=np.sqrt(eps))
    return CausalCheck(predicted, float(fit[0]), tuple((float(e), float(s)) for e, s in used))

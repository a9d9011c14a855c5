"""Matched strength: two masks turned down until they reduce harmful generation alike, so that what else they do can be
compared.

Of two masks the one that raises the loss of harmful answers more, on the validation prompts, is applied at the strength
at which it does as much as the other does whole:

    ΔL(s · stronger) = ΔL(weaker)        macro mean over categories, validation prompts, found by bisection

The prompts that results are reported on take no part.
"""

from __future__ import annotations

from collections.abc import Callable

#: Bisection ends within this share of the target, or after so many halvings (strength to 0.4 %).
TOLERANCE, STEPS = 0.02, 8


def matched_strength(shift: Callable[[float], float], target: float) -> float | None:
    """The strength in (0, 1] at which ``shift(strength)`` is ``target``, where ``shift(1) >= target``; None for a
    target <= 0.

    ``shift`` is taken to grow with strength; where it does not, what is found is one of the strengths at which it
    crosses.
    """
    if not target > 0:
        return None
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        reached = shift(middle)
        if abs(reached - target) <= TOLERANCE * target:
            return middle
        low, high = (middle, high) if reached < target else (low, middle)
    return (low + high) / 2

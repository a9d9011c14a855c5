"""What a difference of two checkpoints is called: the words, and the rule that all of them share."""

from __future__ import annotations

import math

ALPHA = 0.05
#: Of one harm-specific difference at one fraction: alone it is no verdict on separability.
LARGER, SMALLER = "larger", "smaller"
MORE, LESS, UNDECIDED, NO_DIFFERENCE = "more separable", "less separable", "undecided", "no difference found"
NOT_BEYOND_CONTROLS, UNMEASURED, UNTESTED = "not beyond controls", "not measured", "not tested"
#: Harm-specific and benign ΔL rise alike.
SENSITIVE = "more sensitive to everything"
#: A result that keeps neither the samples' losses nor intervals at fixed fractions.
MADE_BEFORE = "made before the stable index"
#: Of nats: with two, an interval that just includes 0 would not show it.
DIGITS = 3


def called(value: float, low: float, high: float, p_holm: float, words: tuple[str, str] = (MORE, LESS)) -> str:
    """One of ``words`` (above 0, below it), ``UNDECIDED`` or ``NO_DIFFERENCE``.

    A difference is one only where both hold: its 95 % interval leaves out 0, and its permutation p-value stays at or
    below ``ALPHA`` after Holm's correction. Where the p-value alone does, these checkpoints differ, but not surely
    others tuned in the same way: undecided. NaN: not measured.
    """
    if math.isnan(value) or not p_holm <= ALPHA:
        return NO_DIFFERENCE
    return words[0] if low > 0 else words[1] if high < 0 else UNDECIDED

"""The index under a benign limit in words: secondary, shown with its curve over the limit.

It chooses, at each checkpoint, the fraction of largest harm-specific ΔL whose benign ΔL keeps the limit; near the limit
a resample, or another limit, jumps to another fraction. The verdict rests on the stable index (``finding``).
"""

from __future__ import annotations

import math

from harmviz.claims.compression.stored import Difference, StoredResult, number
from harmviz.claims.compression.verdicts import DIGITS, LESS, MORE, NO_DIFFERENCE, UNDECIDED, called
from harmviz.display import text


def judged(difference: Difference) -> str:
    """What a difference of separabilities is called (``verdicts.called``)."""
    low, high = number(difference.row, "ci_low"), number(difference.row, "ci_high")
    return called(difference.value, low, high, difference.p_holm)


def sentence(result: StoredResult) -> str:
    """The index of one selection in words; a title, so that it has no full stop."""
    start = result.against_start()
    if start is None or math.isnan(start.value):
        return "Separability was not measured on these checkpoints"
    limit, shift = f"With benign ΔL at most {text.signed(result.limit)}", text.signed(start.value, DIGITS)
    outcome = judged(start)
    what = "safety tuning" if result.has_arms else f"training up to {result.target}"
    if outcome == NO_DIFFERENCE:
        return f"{limit}, no difference found between {what} and the start"
    if outcome == UNDECIDED:
        splits = "the split" if start.n_splits == 1 else f"{start.above} of {start.n_splits} splits"
        return f"{limit}, undecided: {shift} nats, above the start in {splits}, but the interval includes 0"
    return f"{limit}, {what} makes harm {outcome}: {shift} nats against the start{_beside_controls(result, outcome)}"


def _beside_controls(result: StoredResult, outcome: str) -> str:
    """How a gain compares with that of tunings which taught no safety."""
    controls = result.against_controls()
    if not controls or outcome == LESS:
        return ""
    more = [control for control in controls if judged(control) == MORE]
    if len(more) == len(controls):
        return f", and more than {'every control tuning' if len(more) > 1 else 'the control tuning'}"
    if not more:
        return f"; no difference to the control tuning{'s' if len(controls) > 1 else ''} was found"
    arm_of = {str(c["name"]): str(c["arm"]) for c in result.checkpoints}
    exceeded = " and ".join(arm_of[control.b] for control in more)
    return f", and more than {exceeded} tuning; no difference to the rest was found"

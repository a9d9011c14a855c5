"""What a compression result found: whether training made harm more separable, by the stable index and this rule.

The rule was written before any result was looked at with it. A **difference** of two checkpoints at a fixed fraction
is called one only where its 95 % interval, over prompts and splits, leaves out 0 and its permutation p-value stays at
or below 0.05 after Holm's correction (``verdicts.called``).

A **selection**'s verdict is about one checkpoint, the last of the safety arm (or of the series), against the start, at
**every** fixed fraction of the selection (contrastive: 2e-5 and 5e-5; plain: 1e-5), in this order:

- ``not measured``: a fixed fraction was not; ``made before the stable index``: without paired intervals;
- harm-specific ΔL: ``no difference found`` or ``less separable`` where all fractions say so, ``undecided`` unless all
  of them say that it is larger. Where it is:
- ``not beyond controls``: but not than every tuning as long that taught no safety, at every fraction;
- ``more separable``: the ratio harm-specific / benign ΔL is larger too, its interval above 0 at every fraction;
- ``more sensitive to everything``: it is not, and benign ΔL is larger as well, its interval above 0 at some fraction;
- ``undecided``: whether harm-specific ΔL grew more than benign ΔL cannot be told.

The **result**'s verdict is that of the contrastive selection; the plain one, as in the paper, has a sentence of its
own. The index that chooses q under a benign limit decides nothing (``under_limit``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from harmviz.claims.claim import Finding
from harmviz.claims.compression.fixed_difference import FixedDifference, FixedResult, Number
from harmviz.claims.compression.settings import FIXED_Q
from harmviz.claims.compression.stored import read_result, selections
from harmviz.claims.compression.verdicts import (
    DIGITS,
    LARGER,
    LESS,
    MADE_BEFORE,
    MORE,
    NO_DIFFERENCE,
    NOT_BEYOND_CONTROLS,
    SENSITIVE,
    SMALLER,
    UNDECIDED,
    UNMEASURED,
)
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words


def finding(run: Run, results: pd.DataFrame | None = None) -> Finding:
    """The verdict, and a sentence about each selection. ``results``: the run's rows, if at hand."""
    results = run.results() if results is None else results
    contrasts = selections(results)
    if not contrasts:
        return Finding(UNMEASURED, "No separability was measured in this result.")
    of_selection = {contrast: FixedResult(read_result(run, results, contrast)) for contrast in contrasts}
    verdicts = {contrast: verdict(fixed) for contrast, fixed in of_selection.items()}
    sentences = (
        f"Selected {selector_words(contrast).short}, {_lower(sentence(fixed))}."
        for contrast, fixed in of_selection.items()
    )
    return Finding(
        verdicts[contrasts[0]],
        " ".join(sentences) if set(verdicts.values()) != {MADE_BEFORE} else _before(of_selection),
        {c: {"verdict": verdicts[c], **_numbers(fixed)} for c, fixed in of_selection.items()},
    )


# -- the rule ---------------------------------------------------------------------------------------------------------
def verdict(fixed: FixedResult) -> str:
    """The verdict on one selection, by the rule of this module."""
    start = fixed.against_start()
    if not fixed.complete or not start or any(math.isnan(d.specific.value) for d in start):
        return UNMEASURED
    if not fixed.tested:
        return MADE_BEFORE
    called = {d.judged for d in start}
    if called != {LARGER}:
        return {SMALLER: LESS, NO_DIFFERENCE: NO_DIFFERENCE}.get("".join(called), UNDECIDED)
    if any(control.judged != LARGER for control in fixed.against_controls()):
        return NOT_BEYOND_CONTROLS
    if all(d.ratio.rises for d in start):
        return MORE
    return SENSITIVE if any(d.benign.rises for d in start) else UNDECIDED


# -- in words ---------------------------------------------------------------------------------------------------------
def sentence(fixed: FixedResult) -> str:
    """The finding of one selection in words; a title, so that it has no full stop."""
    outcome, start, result = verdict(fixed), fixed.against_start(), fixed.result
    if outcome == UNMEASURED:
        wanted = " and ".join(text.percent(q) for q in FIXED_Q.get(result.contrast, ())) or "any fixed fraction"
        return f"Not measured at {wanted} of the weights"
    what = "Safety tuning" if result.has_arms else f"Training up to {result.target}"
    numbers = _shifts(start)
    if outcome == MADE_BEFORE:
        return f"Made before the stable index, without intervals: {numbers}"
    if outcome == NO_DIFFERENCE:
        return f"No difference found between {what[0].lower() + what[1:]} and the start: {numbers}"
    if outcome == MORE:
        controls = fixed.against_controls()
        beyond = f", beyond {'every control tuning' if len(result.arms) > 2 else 'the control tuning'}"
        return f"{what} makes harm more separable: {numbers}{beyond if controls else ''}; the ratio to benign rises"
    if outcome == UNDECIDED:
        grown = {d.judged for d in start} == {LARGER}
        why = "whether harm grew more than benign ΔL cannot be told" if grown else "not clear of 0 at every fraction"
        return f"Undecided: {numbers}; {why}"
    how = {
        LESS: "makes harm less separable",
        NOT_BEYOND_CONTROLS: "moves harm further, but not beyond every control tuning",
        SENSITIVE: "makes the model more sensitive to everything, not harm more separable",
    }[outcome]
    return f"{what} {how}: {numbers}"


def _shifts(differences: Sequence[FixedDifference]) -> str:
    """``harm − safe +0.080 and +0.112 nats at 0.002 % and 0.005 %, benign +0.010 and +0.031``"""

    def listed(numbers: list[Number]) -> str:
        return " and ".join(text.signed(number.value, DIGITS) for number in numbers)

    at = " and ".join(text.percent(d.q) for d in differences)
    specific, benign = ([getattr(d, name) for d in differences] for name in ("specific", "benign"))
    return f"harm − safe {listed(specific)} nats at {at}, benign {listed(benign)}"


def _before(of_selection: dict[str, FixedResult]) -> str:
    """One sentence for a result that has no intervals at fixed fractions: the values, selection by selection."""
    parts = (f"{selector_words(c).short}, {_shifts(fixed.against_start())}" for c, fixed in of_selection.items())
    return f"Made before the stable index, without intervals at fixed fractions: {'; '.join(parts)}."


def _lower(title: str) -> str:
    """A title as it goes on inside a sentence."""
    return title[:1].lower() + title[1:]


# -- as JSON ----------------------------------------------------------------------------------------------------------
def _numbers(fixed: FixedResult) -> dict[str, Any]:
    """What the rule looked at: a line a fixed fraction."""
    return {
        "checkpoint": fixed.result.target,
        "against_start": [_difference(d) for d in fixed.against_start()],
        "against_controls": [_difference(d) for d in fixed.against_controls()],
    }


def _difference(difference: FixedDifference) -> dict[str, Any]:
    """A difference as JSON: null where something was not measured or is not defined."""
    return {
        "against": difference.b,
        "q": difference.q,
        **{name: _number(getattr(difference, name)) for name in ("specific", "benign", "ratio")},
        "p_holm": _known(difference.p_holm),
        "splits_above": difference.above,
        "splits": difference.n_splits,
        "called": difference.judged,
    }


def _number(number: Number) -> dict[str, float | None]:
    return {"value": _known(number.value), "ci_low": _known(number.low), "ci_high": _known(number.high)}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

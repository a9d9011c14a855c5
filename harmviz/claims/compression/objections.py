"""What a compression result answers to the paper's claim C5, selection by selection, by this rule.

The verdict is the result's own (``finding``), read so: *holds* where the checkpoint is more separable than the start
and than every control tuning that taught no safety; *does not hold* where it is less separable than the start;
*undecided* where no difference was found, where only the p-value says so, or where the controls do as much: with this
many prompts and seeds neither the gain nor its absence is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmviz.claims.compression import finding as rule
from harmviz.claims.objection import FAILS, HOLDS, NOT_MEASURED, UNDECIDED, Objection
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words

_OBJECTION = (
    "Any tuning makes weights more sensitive, and learning to decline, or to answer in a style, is not learning harm."
)
_VERDICTS = {rule.MORE: HOLDS, rule.LESS: FAILS, rule.UNMEASURED: NOT_MEASURED}


def objections(run: Run) -> list[Objection]:
    """C5 by selection."""
    told = rule.finding(run)
    of_selection = {c: numbers for c, numbers in told.numbers.items() if isinstance(numbers, Mapping)}
    if not of_selection:
        return [Objection("C5", "", told.sentence, _OBJECTION, text.NOT_MEASURED, NOT_MEASURED)]
    return [
        Objection(
            "C5",
            selector_words(contrast).short,
            f"{numbers.get('checkpoint', 'the last')} minus the start: {_reads(numbers.get('against_start'))}",
            _OBJECTION,
            _controls(numbers.get("against_controls")),
            _VERDICTS.get(str(numbers.get("verdict")), UNDECIDED),
        )
        for contrast, numbers in of_selection.items()
    ]


def _controls(differences: Any) -> str:
    """The checkpoint minus each control tuning."""
    if not isinstance(differences, Mapping) or not differences:
        return "no control tuning was measured in this run"
    return "; ".join(f"minus {name}: {_reads(difference)}" for name, difference in differences.items())


def _reads(difference: Any) -> str:
    """``+0.053 nats of separability (−0.026 … +0.081, n = 126), p 0.0035, above in 3 of 3 splits``"""
    if not isinstance(difference, Mapping) or difference.get("value") is None:
        return text.NOT_MEASURED
    low, high, n, p = (difference.get(name) for name in ("ci_low", "ci_high", "n", "p_holm"))
    beside = text.interval(low, high, rule.DIGITS) + ("" if n is None else f", n = {int(n)}")
    tested = "" if p is None else f", p {p:.2g}"
    splits = difference.get("splits")
    above = f", above in {difference.get('splits_above')} of {splits} splits" if splits else ""
    return f"{text.signed(difference['value'], rule.DIGITS)} nats per token ({beside}){tested}{above}"

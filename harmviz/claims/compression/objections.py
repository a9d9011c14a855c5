"""What a compression result answers to the paper's claim C5, selection by selection, by this rule.

The verdict is that of the result (``finding``), read so: *holds* where the checkpoint is more separable than the start
and than every control tuning that taught no safety; *does not hold* where it is less separable than the start;
*undecided* where no difference was found, where harm-specific and benign shifts rise alike, where the controls do as
much, or in a result made before differences at fixed fractions had intervals: with this many prompts and seeds neither
the gain nor its absence is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harmviz.claims.compression import verdicts
from harmviz.claims.compression.finding import finding
from harmviz.claims.objection import FAILS, HOLDS, NOT_MEASURED, UNDECIDED, Objection
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words

_OBJECTION = (
    "Any tuning makes weights more sensitive, and learning to decline, or to answer in a style, is not learning harm."
)
_VERDICTS = {verdicts.MORE: HOLDS, verdicts.LESS: FAILS, verdicts.UNMEASURED: NOT_MEASURED}
_PARTS = {"specific": ("harm − safe", "nats per token"), "benign": ("benign", "nats per token"), "ratio": ("ratio", "")}


def objections(run: Run) -> list[Objection]:
    """C5 by selection."""
    told = finding(run)
    of_selection = {c: numbers for c, numbers in told.numbers.items() if isinstance(numbers, Mapping)}
    if not of_selection:
        return [Objection("C5", "", told.sentence, _OBJECTION, text.NOT_MEASURED, NOT_MEASURED)]
    return [
        Objection(
            "C5",
            selector_words(contrast).short,
            f"{numbers['checkpoint']} minus the start, at fixed fractions: {_reads(numbers['against_start'])}",
            _OBJECTION,
            _controls(numbers["against_controls"]),
            _VERDICTS.get(str(numbers["verdict"]), UNDECIDED),
        )
        for contrast, numbers in of_selection.items()
    ]


def _controls(differences: Sequence[Mapping[str, Any]]) -> str:
    """The checkpoint minus each control tuning."""
    if not differences:
        return "no control tuning was measured in this run"
    names = dict.fromkeys(str(d["against"]) for d in differences)
    return "; ".join(f"minus {name}: {_reads([d for d in differences if d['against'] == name])}" for name in names)


def _reads(differences: Sequence[Mapping[str, Any]]) -> str:
    """``at 0.002 %: harm − safe +0.053 nats per token (−0.026 … +0.081), …, p 0.0035, above in 3 of 3 splits; at …``"""
    return "; ".join(map(_at_fraction, differences)) or text.NOT_MEASURED


def _at_fraction(difference: Mapping[str, Any]) -> str:
    parts = [f"{name} {_number(difference[key], unit)}" for key, (name, unit) in _PARTS.items()]
    if difference["p_holm"] is not None:
        parts.append(f"p {difference['p_holm']:.2g}")
    if difference["splits"]:
        parts.append(f"above in {difference['splits_above']} of {difference['splits']} splits")
    return f"at {text.percent(difference['q'])} {', '.join(parts)}"


def _number(number: Mapping[str, float | None], unit: str) -> str:
    value, low, high = (number[name] for name in ("value", "ci_low", "ci_high"))
    if value is None:
        return "not defined" if not unit else text.NOT_MEASURED
    measured = " ".join(filter(None, (text.signed(value, verdicts.DIGITS), unit)))
    no_interval = low is None or high is None
    return f"{measured} (no interval)" if no_interval else f"{measured} ({text.interval(low, high, verdicts.DIGITS)})"

"""How good a judge is, in words, from the measures that a manifest stores of it. What a file says is untrusted:
anything that has not the form of a measure is left out."""

from __future__ import annotations

from typing import Any

from harmviz.judges.labels import HUMAN

_FIELDS = 7


def quality_words(measures: Any) -> list[str]:
    """How good a judge is against human labels, each measure with its interval: ``auc 0.87 (0.84 … 0.90, n = 984)``.

    ``measures``: stored ``harmviz.judges.Measure`` records, as lists. The keyword list's own figures stand for it
    where it is the judge; another judge is told by its own alone.
    """
    known = [m for m in measures if _is_measure(m)] if isinstance(measures, list) else []
    return [_words(m) for m in known if m[1] == "judge"] or [_words(m) for m in known]


def _is_measure(record: Any) -> bool:
    """Whether this is a measure against human labels with its interval, of a judge or of the keyword list."""
    if not isinstance(record, list) or len(record) != _FIELDS:
        return False
    of_judge = record[1] in ("judge", "keyword list") and record[2] == HUMAN
    return of_judge and all(isinstance(number, int | float) for number in record[3:])


def _words(measure: list[Any]) -> str:
    name, _, _, value, low, high, n = measure
    return f"{str(name).replace('_', ' ')} {value:.2f} ({low:.2f} … {high:.2f}, n = {n})"

"""What the paper claims, and what a stored run answers to it: the strongest objection, the control that meets it, and
a verdict by a rule.

A claim package says its part in ``objections.py``: ``objections(run) -> list[Objection]``, one for each of the paper's
claims that the run is about and for each selection it was measured with; the rule of every verdict stands in that
module's docstring. The five outcomes are the same for all:

- ``holds here``: the rule's conditions are met, intervals and controls included;
- ``does not hold here``: an interval or a control that was measured speaks against it;
- ``undecided``: neither, or the control that would answer the objection was not measured;
- ``not testable here``: the model or the run lacks what the claim is about;
- ``not measured``: the run has no number for it.

No torch, no Streamlit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

HOLDS, FAILS, UNDECIDED = "holds here", "does not hold here", "undecided"
NOT_TESTABLE, NOT_MEASURED = "not testable here", "not measured"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_TESTABLE, NOT_MEASURED)

#: The paper's claims in our words, by number; the order of the table.
PAPER: dict[str, str] = {
    "C1": "Zeroing a scored set of weights is a causal probe of what they carry.",
    "C2": "The set is compact: 0.0005 to 0.001 % of the parameters cut harmful answers under attack.",
    "C3": "It is general: harm types share it, and pruning by one type reaches the others.",
    "C4": "It is distinct: benign ability hardly uses it.",
    "C5": "Alignment compresses it: aligned models show more separable sets.",
    "C6": "Guardrails are brittle, attacks pass them; the pruned model resists.",
    "C7": "It explains emergent misalignment: pruning a narrow domain's harm weights before tuning prevents much.",
    "C8": "Writing harm is dissociated from recognising and explaining it, and doubly from refusing it.",
}


@dataclass(frozen=True)
class Objection:
    """One of the paper's claims, as one stored run answers it.

    Attributes:
        paper: the claim's number, a key of ``PAPER``.
        about: what of the run it is about where that is not all of it: the selection, say.
        found: what the rows say, with interval, n and unit.
        objection: the strongest objection to reading it as the paper does.
        control: the control that answers it, with its number; that it was not measured, where it was not.
        verdict: one of ``VERDICTS``.

    Raises:
        ValueError: an unknown number or verdict.
    """

    paper: str
    about: str
    found: str
    objection: str
    control: str
    verdict: str

    def __post_init__(self) -> None:
        if self.paper not in PAPER:
            raise ValueError(f"paper must be one of {', '.join(PAPER)}, got {self.paper!r}")
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}")

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def above(row: Mapping[str, Any] | pd.Series | None, bound: float = 0.0) -> bool:
    """Whether the row's interval lies above ``bound``; False without a row or an interval."""
    return row is not None and pd.notna(row["ci_low"]) and bool(row["ci_low"] > bound)


def below(row: Mapping[str, Any] | pd.Series | None, bound: float = 0.0) -> bool:
    """Whether the row's interval lies below ``bound``; False without a row or an interval."""
    return row is not None and pd.notna(row["ci_high"]) and bool(row["ci_high"] < bound)

"""What a dissociation experiment answers to the paper's claim C8, selection by selection, by this rule.

*Not testable* where the mask does not lower harmful writing, or the intact model has no recognition to lose: its AUC's
interval does not lie above ``ROOM``. *Does not hold* where recognition or explanation is less both at full and at
matched strength. *Holds* where the whole is a double dissociation (``finding``) and the harm mask's harm-specific part
(harm minus same-topic safe) lies above 0. *Undecided* otherwise.
"""

from __future__ import annotations

import pandas as pd

from harmviz.claims.dissociation import finding as rule
from harmviz.claims.dissociation.stored import HARM, MATCHED, REFUSAL, Stored
from harmviz.claims.mapping.reported import reads
from harmviz.claims.objection import FAILS, HOLDS, NOT_MEASURED, NOT_TESTABLE, UNDECIDED, Objection, above
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words

#: Recognition has room to fall where the intact AUC lies above this.
ROOM = 0.6
_OBJECTION = "What the model never had cannot be lost, and a weak mask leaves anything alone."
_LESS = "less"


def objections(run: Run) -> list[Objection]:
    """C8 by selection."""
    stored = Stored(run.results())
    if not stored.contrasts:
        return [Objection("C8", "", text.NOT_MEASURED, _OBJECTION, text.NOT_MEASURED, NOT_MEASURED)]
    return [_of_selection(stored, contrast) for contrast in stored.contrasts]


def _of_selection(stored: Stored, contrast: str) -> Objection:
    def change(mask: str, condition: str, category: str, metric: str, control: str = "none", digits: int = 2) -> str:
        return reads(stored.row(contrast, mask, control, condition, category, metric), digits)

    auc = stored.intact("recognition", "all", "auc")
    found = (
        f"harmful answers {change(HARM, 'generation', 'harm', 'delta_nll')} nats per token; recognition "
        f"{change(HARM, 'recognition', 'all', 'delta_auc')} AUC; explanation "
        f"{change(HARM, 'explanation', 'harmful', 'delta_nll')} nats per token; declining "
        f"{change(HARM, 'refusal', 'harmful', 'delta_refusal_log_odds')} nats of log-odds"
    )
    control = (
        f"intact recognition AUC {_level(auc)}; explanation at matched strength "
        f"{change(MATCHED, 'explanation', 'harmful', 'delta_nll')}; benign-signed mask: harmful answers "
        f"{change(HARM, 'generation', 'harm', 'delta_nll', 'benign_signed')}; refusal mask: declining "
        f"{change(REFUSAL, 'refusal', 'harmful', 'delta_refusal_log_odds')}"
    )
    about = selector_words(contrast).short
    return Objection("C8", about, found, _OBJECTION, control, _verdict(stored, contrast, auc))


def _level(row: pd.Series | None) -> str:
    """``0.605 (0.564 … 0.653, n = 64)``: a level has no sign."""
    return reads(row, 3).replace("+", "")


def _verdict(stored: Stored, contrast: str, auc: pd.Series | None) -> str:
    of_harm, of_refusal = (rule.verdicts(stored, contrast, mask) for mask in (HARM, REFUSAL))
    if of_harm["harmful writing"] == text.NOT_MEASURED:
        return NOT_MEASURED
    if of_harm["harmful writing"] != _LESS or not above(auc, ROOM):
        return NOT_TESTABLE
    matched = rule.verdicts(stored, contrast, MATCHED)
    if any(of_harm[name] == _LESS == matched[name] for name in ("recognition", "explanation")):
        return FAILS
    specific = above(stored.row(contrast, HARM, "none", "generation", "harm", "harm_specific"))
    double = rule.is_double(of_harm, of_refusal, rule.apart(stored, contrast, HARM))
    return HOLDS if double and specific else UNDECIDED

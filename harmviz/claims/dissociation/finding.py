"""What a dissociation experiment found: a verdict an ability, the verdict of the whole, and its sentence.

A change *shows* where its 95 % interval leaves 0 out. An interval that includes 0 is "no clear change": it says how
large a change could have gone unseen, not that there is none. The whole is a *double dissociation* where the harm mask
lowers harmful writing and nothing else that can be tested, refusal included; the refusal mask lowers refusal and not
harmful writing; and each mask lowers its own ability further than the other one does, intervals apart. It is *nothing
to dissociate* where the harm mask does not lower harmful writing, and *one-sided* otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from harmviz.claims.claim import Finding
from harmviz.claims.dissociation.stored import ABILITIES, HARM, REFUSAL, SIGNS, Stored
from harmviz.claims.mapping.reported import reads
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words

UNTESTABLE = "not testable"
_KEPT = ("no clear change", "more")
_VERDICTS = {-1: "less", 0: "no clear change", 1: "more"}
DOUBLE, NOTHING, ONE_SIDED = "double dissociation", "nothing to dissociate", "one-sided"


def verdict(row: pd.Series | None, testable: bool) -> str:
    """``less``, ``more``, ``no clear change``, ``not testable`` or ``not measured``, of a standardised change."""
    if row is None or pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return text.NOT_MEASURED
    if not testable:
        return UNTESTABLE
    return _VERDICTS[-1 if row["ci_high"] < 0 else 1 if row["ci_low"] > 0 else 0]


def verdicts(stored: Stored, contrast: str, mask: str) -> dict[str, str]:
    """Short name of each ability → its verdict under this mask."""
    return {
        a.short: verdict(
            stored.row(contrast, mask, "none", a.condition, a.category, "standardised"),
            stored.testable(a.condition, a.tested),
        )
        for a in ABILITIES
    }


def apart(stored: Stored, contrast: str, mask: str) -> bool:
    """Whether each mask lowers its own ability further than the other mask does: the intervals do not meet, both
    times."""
    for own, other, condition, category in (
        (mask, REFUSAL, "generation", "harm"),
        (REFUSAL, mask, "refusal", "harmful"),
    ):
        ours, theirs = (stored.row(contrast, m, "none", condition, category, "standardised") for m in (own, other))
        if ours is None or theirs is None or not ours["ci_high"] < theirs["ci_low"]:
            return False
    return True


def is_double(of_harm: Mapping[str, str], of_refusal: Mapping[str, str], both_apart: bool) -> bool:
    """Whether the verdicts under both masks make a double dissociation (see the module)."""
    rest = {k: v for k, v in of_harm.items() if k not in ("harmful writing", "harmless writing")}
    reversed_ = of_refusal["refusal"] == "less" and of_refusal["harmful writing"] in _KEPT
    spared = "less" not in rest.values() and of_harm["refusal"] in _KEPT
    return of_harm["harmful writing"] == "less" and spared and reversed_ and both_apart


def beside_safe(stored: Stored, contrast: str, mask: str) -> str:
    """Whether lower harmful writing is about harm, as the end of a sentence; nothing where it is or is not known.

    It is not where the harm-specific part (harm minus same-topic safe) includes 0 or lies below, or where the same rule
    run on harmless answers (benign-signed) has one as large as this interval reaches down.
    """
    own, signed = (
        stored.row(contrast, mask, control, "generation", "harm", "harm_specific")
        for control in ("none", "benign_signed")
    )
    if own is None or pd.isna(own["ci_low"]):
        return ""
    if not own["ci_low"] > 0:
        return " (no more than same-topic safe writing)"
    as_much = signed is not None and signed["value"] >= own["ci_low"]
    return " (benign-signed weights are as specific to it)" if as_much else ""


def sentence(of_harm: Mapping[str, str], of_refusal: Mapping[str, str], both_apart: bool, beside: str = "") -> str:
    """The picture in one sentence, from the verdicts under both masks and whether the masks are ``apart``.

    ``beside``: what ``beside_safe`` says of the harm mask.
    """
    if of_harm["harmful writing"] != "less":
        return "These weights do not lower harmful writing here: there is nothing to dissociate from"
    rest = {k: v for k, v in of_harm.items() if k not in ("harmful writing", "harmless writing")}
    lost = [k for k, v in rest.items() if v == "less"]
    kept = [k for k, v in rest.items() if v in _KEPT]
    unknown = [k for k, v in rest.items() if v in (UNTESTABLE, text.NOT_MEASURED)]
    if is_double(of_harm, of_refusal, both_apart):
        return (
            "A double dissociation: each mask lowers its own ability, no loss of the other's shows"
            + (f"; {_list(unknown)} not testable" if unknown else "")
            + (f"; less harmful writing{beside}" if beside else "")
        )
    parts = [f"Less harmful writing{beside}" + (f", also less {_list(lost)}" if lost else "")]
    parts += [f"no loss of {_list(kept)} shows"] if kept else []
    parts += [f"{_list(unknown)} not testable here"] if unknown else []
    return "; ".join(parts)


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def reverse(stored: Stored, contrast: str) -> str:
    """The refusal mask in one sentence, with its numbers."""
    told = verdicts(stored, contrast, REFUSAL)
    of = {a.short: a for a in ABILITIES}

    def change(name: str) -> str:
        a = of[name]
        raw = stored.row(contrast, REFUSAL, "none", a.condition, a.category, a.raw)
        return f"{told[name]}, {SIGNS[a.raw]}{reads(raw, 3)}"

    return (
        f"The reverse, as many weights that refusals hang on: refusal {change('refusal')}; harmful writing "
        f"{change('harmful writing')}."
    )


def finding(run: Run) -> Finding:
    """The finding under the contrastive mask where there is one, at its chosen point."""
    stored = Stored(run.results())
    if not stored.contrasts:
        return Finding(text.NOT_MEASURED, "Not measured: this result holds no changes of abilities.")
    contrast = stored.contrasts[-1]
    of_harm, of_refusal = verdicts(stored, contrast, HARM), verdicts(stored, contrast, REFUSAL)
    both = apart(stored, contrast, HARM)
    double = is_double(of_harm, of_refusal, both)
    verdict = DOUBLE if double else NOTHING if of_harm["harmful writing"] != "less" else ONE_SIDED
    beside = beside_safe(stored, contrast, HARM)
    first = f"{sentence(of_harm, of_refusal, both, beside)} ({selector_words(contrast).short} mask)"
    told = f"{first}. {reverse(stored, contrast)}"
    return Finding(verdict, told, {"harm_mask": of_harm, "refusal_mask": of_refusal, "apart": both})

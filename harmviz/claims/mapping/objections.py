"""What a map run answers to the paper's claims C1 to C4, selection by selection, by these rules.

All numbers are of report prompts with 95 % intervals over prompts, of masks of the mean over all harm types.

**C1, a causal probe.** *Holds* where the causal check's relative error is at most ``CLOSE`` and the mask at the chosen
point moves harmful answers beyond every control of equal size that was drawn (random, magnitude- and utility-matched),
intervals above 0. *Does not hold* where the error exceeds ``FAR`` or such an interval lies below 0. Without a check, or
without a control, *not measured*.

**C2, compact.** At the point that nobody chose (0.001 % of the scored weights): *holds* where ΔL on harmful answers
lies above ``CUT`` and its excess over as many random weights above 0; *does not hold* where ΔL lies below ``CUT`` or
that excess below 0. A mask of more than ``COMPACT`` of all parameters is *not testable*.

**C3, general.** Transfer: each type's own mask, measured on the other types. With fewer than two types, or no effect on
the own type, *not testable*. *Does not hold* where at most half of the off-diagonal intervals lie above 0; where
same-topic safe text is reached as far as the other types on average; where a mirror reaches harm with as large a share
of its effect (``mirrored.reached_as_far``); or, selected as in the paper, where topics of harmless text overlap as much
(``sham_overlap.beyond_topics``). *Undecided* where none of this was found, but mirrors, or sham types as in the paper,
were not measured. *Holds* otherwise.

**C4, distinct.** *Does not hold* where the run's own rule (``finding``) calls the mask not harm-specific or collapsed.
*Holds* where it calls it harm-specific, both mirrors were measured, and ΔL on benign and on own answers stays, with the
upper end of its interval, below half of the lower end on harmful answers. *Undecided* otherwise. Of the selection as in
the paper the mirrors are the signed controls, held to the same condition (``Mirror.does_as_much``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from harmviz.claims.mapping import finding as rule
from harmviz.claims.mapping.headline import CHOSEN, Headline, chosen_headline, headline, report_rows, rows_at
from harmviz.claims.mapping.mirrored import (
    CONTROLS,
    NO_MIRROR,
    Mirror,
    harm_row,
    mirrors_of,
    reach_words,
    reached_as_far,
)
from harmviz.claims.mapping.reported import reads
from harmviz.claims.mapping.sham_overlap import beyond_topics, overlap_sentence, shams_at
from harmviz.claims.mapping.views import transfer
from harmviz.claims.mapping.views.overlap import overlap_at, points
from harmviz.claims.objection import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    NOT_TESTABLE,
    UNDECIDED,
    Objection,
    above,
    below,
)
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words

#: Relative errors of the causal check: at most so much agrees, more than so much contradicts.
CLOSE, FAR = 0.01, 0.1
#: A cut: each token of a harmful answer a tenth less likely, in nats.
CUT = 0.1
#: Ten times the paper's fraction of all parameters: still compact.
COMPACT = 1e-4
_PARTS: dict[str, str] = {
    "C1": "As many other weights do as much, and a first-order score says little of setting weights to zero.",
    "C2": "So few weights do nothing that as many random ones do not do, or too little to matter.",
    "C3": "Any kinds of text share weights and reach each other: types that are none would do the same.",
    "C4": "Any contrast of two texts finds weights that move one of them more: harm is nothing special.",
}


@dataclass(frozen=True, eq=False)
class _Asked:
    """The mask of one selection, and what was measured of it."""

    run: Run
    results: pd.DataFrame
    contrast: str
    mask: Headline
    shown: rule.Evidence
    mirrors: tuple[Mirror, ...]

    def size(self, mask: Headline | None = None) -> str:
        """``0.001 % · 1,061 weights``"""
        n = (self.mask if mask is None else mask).first["n_weights"]
        return "the mask" if pd.isna(n) else text.fraction_of(int(n), self.run.manifest["model"]["n_scored_weights"])

    def answer(self, paper: str, found: str, control: str, verdict: str) -> Objection:
        return _objection(paper, self.contrast, found, control, verdict)


def objections(run: Run) -> list[Objection]:
    """C1 to C4 by selection, as in the paper first."""
    results = run.results()
    masks: dict[str, Headline] = {
        c: mask for c in reversed(CHOSEN) if (mask := chosen_headline(run, results, c)) is not None
    }
    if not masks and (only := headline(results)) is not None:
        masks = {str(only.first["contrast"]): only}
    asked = [
        _Asked(run, results, contrast, mask, rule.evidence(results, mask), tuple(mirrors_of(results, mask)))
        for contrast, mask in masks.items()
    ]
    found = [tell(about) for tell in (_probe, _compact, _general, _distinct) for about in asked]
    return found or [_objection(paper, "", text.NOT_MEASURED, text.NOT_MEASURED, NOT_MEASURED) for paper in _PARTS]


def _objection(paper: str, contrast: str, found: str, control: str, verdict: str) -> Objection:
    about = selector_words(contrast).short if contrast else ""
    return Objection(paper, about, found, _PARTS[paper], control, verdict)


_Rows = Callable[[str, str, str], pd.Series | None]


def _lookup(results: pd.DataFrame, mask: Headline) -> _Rows:
    """(metric, control, category) → the mask's row on report prompts, or None."""

    of_mask = rows_at(results[results["mask"] == mask.first["mask"]], mask.settings)

    def row(metric: str, control: str, category: str) -> pd.Series | None:
        rows = report_rows(of_mask, metric)
        rows = rows[(rows["control"] == control) & (rows["category"] == category) & rows["value"].notna()]
        return None if rows.empty else rows.iloc[0]

    return row


# -- C1 ---------------------------------------------------------------------------------------------------------------
def _probe(asked: _Asked) -> Objection:
    shown, results = asked.shown, asked.results
    check = results[(results["experiment"] == "causal") & results["value"].notna()].set_index("metric")["value"]
    excess = "; ".join(f"{rule.EQUAL_SIZE[c]} {reads(row)}" for c, row in shown.excess.items())
    control = f"harmful answers beyond {excess}" if excess else "no control of equal size was measured in this run"
    if "relative_error" not in check or not shown.excess:
        verdict = NOT_MEASURED
    elif abs(check["relative_error"]) > FAR or any(map(below, shown.excess.values())):
        verdict = FAILS
    else:
        close = abs(check["relative_error"]) <= CLOSE
        verdict = HOLDS if close and all(map(above, shown.excess.values())) else UNDECIDED
    found = f"zeroing {asked.size()} moves harmful answers by {reads(shown.harm)} nats per token"
    if "relative_error" in check:
        found += (
            f"; scaling down those as in the paper moves the loss by {check['measured']:.4f}, predicted "
            f"{check['predicted']:.4f} (relative error {check['relative_error']:.1e})"
        )
    return asked.answer("C1", found, control, verdict)


# -- C2 ---------------------------------------------------------------------------------------------------------------
def _compact(asked: _Asked) -> Objection:
    run, mask, contrast = asked.run, asked.mask, asked.contrast
    shifts = report_rows(asked.results)
    fixed = run.manifest["parameters"].get("fixed_point")
    point = headline(shifts[shifts["contrast"] == contrast]) if fixed is None else _at(shifts, mask, *fixed)
    harm = None if point is None else harm_row(point)
    if point is None or harm is None:
        return asked.answer("C2", text.NOT_MEASURED, text.NOT_MEASURED, NOT_MEASURED)
    row = _lookup(asked.results, point)
    excess, benign = row("excess_over_control", "random", "harm"), row("delta_nll", "none", "benign")
    n, n_all = point.first["n_weights"], run.manifest["model"]["n_parameters"]
    found = (
        f"{asked.size(point)}, settled beforehand: harmful answers {reads(harm)} nats per token, harmless ones by "
        f"others {reads(benign)}"
    )
    control = f"beyond as many random weights: {reads(excess)}"
    if pd.isna(n) or n > COMPACT * n_all:
        verdict = NOT_TESTABLE
    elif below(harm, CUT) or below(excess):
        verdict = FAILS
    else:
        verdict = HOLDS if above(harm, CUT) and above(excess) else UNDECIDED
    return asked.answer("C2", found, control, verdict)


def _at(shifts: pd.DataFrame, mask: Headline, q: float, p: float) -> Headline | None:
    rows = rows_at(shifts, {**mask.settings, "q": q, "p": p})
    effect = rows[rows["control"] == "none"].drop_duplicates("category")
    return None if effect.empty else Headline(effect, {})


# -- C3 ---------------------------------------------------------------------------------------------------------------
def _general(asked: _Asked) -> Objection:
    contrast, mirrors = asked.contrast, asked.mirrors
    rows = transfer.shifts(asked.results, contrast)
    if rows.empty:
        return asked.answer("C3", text.NOT_MEASURED, text.NOT_MEASURED, NOT_MEASURED)
    means = transfer.summary(rows)
    found = (
        f"{transfer.sentence(means)}; {means.clear} of {means.n_others} cells clear of 0, n = {means.n} prompts each"
    )
    control = reach_words(mirrors)
    beyond: bool | None = True
    if contrast == "none":
        beyond, shared = _overlap(asked.results, contrast)
        control += f". {shared}"
    return asked.answer("C3", found, control, _reaches(means, mirrors, beyond, contrast))


def _overlap(results: pd.DataFrame, contrast: str) -> tuple[bool | None, str]:
    """Whether harm types overlap more than topics of harmless text (None: unknown), and the means beside each other."""
    fractions = points(results).get(contrast, [])
    if not fractions:
        return None, "Overlap was not measured in this run."
    shared = overlap_at(results, contrast, fractions[-1])
    half, relative = shared.half_mean("harm"), shared.relative_mean("harm")
    shams = shams_at(results, contrast, fractions[-1])
    return beyond_topics(half, relative, shams), overlap_sentence(half, relative, shams)


def _reaches(means: transfer.Summary, mirrors: Sequence[Mirror], beyond: bool | None, contrast: str) -> str:
    if means.n_types < 2 or means.n_others == 0 or not means.own > 0:
        return NOT_TESTABLE
    as_far = reached_as_far(means.others / means.own, mirrors)
    if 2 * means.clear <= means.n_others or means.safe >= means.others or as_far or beyond is False:
        return FAILS
    complete = len(mirrors) == len(CONTROLS[contrast]) and beyond and not math.isnan(means.safe)
    return HOLDS if complete else UNDECIDED


# -- C4 ---------------------------------------------------------------------------------------------------------------
def _distinct(asked: _Asked) -> Objection:
    shown, mirrors = asked.shown, asked.mirrors
    row = _lookup(asked.results, asked.mask)
    costs = {name: row("delta_nll", "none", name) for name in ("benign", "benign_own")}
    found = (
        f"{asked.size()}: harm minus same-topic safe {reads(shown.specific, 3)} nats per token; harmful answers "
        f"{reads(shown.harm)}, harmless ones by others {reads(costs['benign'])}, own ones {reads(costs['benign_own'])}"
    )
    control = "; ".join(mirror.brief for mirror in mirrors) or NO_MIRROR.removesuffix(".").lower()
    if shown.harm is None or shown.specific is None:
        verdict = NOT_MEASURED
    elif shown.verdict in (rule.NOT_SPECIFIC, rule.COLLAPSED) or any(m.does_as_much(shown.harm) for m in mirrors):
        verdict = FAILS
    else:
        cheap = all(cost is not None and below(cost, shown.harm["ci_low"] / 2) for cost in costs.values())
        complete = len(mirrors) == len(CONTROLS[asked.contrast]) and shown.verdict == rule.SPECIFIC
        verdict = HOLDS if cheap and complete else UNDECIDED
    return asked.answer("C4", found, control, verdict)

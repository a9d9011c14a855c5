"""What a map run found: whether zeroing its weights costs harmful text something that it does not cost other text.

The verdict is about one mask, the one a run is summed up by (``headline.first_headline``), on report prompts, with 95 %
intervals over prompts, and by this rule, in this order:

- ``undecided``: the mask holds no weight: nothing was pruned;
- ``collapsed``: the run labels the pruned model so (``generation.repetition``); what it no longer says proves nothing;
- ``undecided``: no interval of the harm-specific part (harm minus same-topic safe; over answers matched in source,
  length and intact loss, where the run has ``MIN_PAIRS`` such pairs) was measured, or no excess over a control of equal
  size;
- ``not harm-specific``: that interval includes 0 or lies below, or so does the excess over a control of equal size that
  was drawn without looking at harm (random, magnitude-matched, utility-matched): what a control does as well is no
  finding about harm;
- ``not harm-specific``: a mirror (``mirrors``: the same selection turned round, for safe or for benign text) moves
  harmful answers as far as the mask's interval reaches down, or is as specific to *its* text as the mask is to harm:
  then any contrast would do;
- ``undecided``: no mirror of a contrastive mask was measured, so that any contrast might do;
- ``harm-specific``: otherwise.

Signed controls (benign-signed, safe-signed) are no part of the rule: they look at text, if not at harm, and may move
harmful answers more than the mask does. The pages show them beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harmviz.claims.claim import Finding
from harmviz.claims.mapping.headline import Headline, chosen_headline, first_headline, report_rows, rows_at
from harmviz.claims.mapping.mirrored import Mirror, mirrors_of
from harmviz.claims.mapping.reported import reads
from harmviz.display import text
from harmviz.runs import Run, frame_to_records
from harmviz.runs.point import selector_words

#: Harm minus safe over pairs of one source, of like length and loss.
MATCHED = "harm_specific_matched"
MIN_PAIRS = 12
COLLAPSED, UNDECIDED = "collapsed", "undecided"
SPECIFIC, NOT_SPECIFIC = "harm-specific", "not harm-specific"
#: Controls of the mask's size, drawn without looking at harm, as a sentence names them.
EQUAL_SIZE = {
    "random": "random weights",
    "magnitude": "weights of like magnitude",
    "utility": "weights of like utility",
}


@dataclass(frozen=True)
class Evidence:
    """What the rule looks at, one mask on report prompts; None where it was not measured.

    Attributes:
        mask: the loss shifts of the mask, set by set.
        harm: the shift of harmful answers. specific: harm minus same-topic safe, over matched answers where measured.
        excess: control of equal size → how far the mask moves harmful answers beyond it.
        mirrors: the contrastive selection turned round; none were measured of others. mirrored_by: those that the mask
            does not stand out from.
        collapsed: whether the pruned model is labelled so.
    """

    mask: Headline
    harm: pd.Series | None
    specific: pd.Series | None
    excess: Mapping[str, pd.Series]
    mirrors: tuple[Mirror, ...]
    collapsed: bool

    @property
    def verdict(self) -> str:
        """The outcome of the rule."""
        if self.empty:
            return UNDECIDED
        if self.collapsed:
            return COLLAPSED
        if self.specific is None or pd.isna(self.specific["ci_low"]) or not self.excess:
            return UNDECIDED
        if not self.specific["ci_low"] > 0 or self.matched_by or self.mirrored_by:
            return NOT_SPECIFIC
        return UNDECIDED if self.unmirrored else SPECIFIC

    @property
    def empty(self) -> bool:
        """Whether the mask holds no weight: nothing was pruned, so nothing can be found."""
        n = self.mask.first["n_weights"]
        return bool(pd.notna(n) and n == 0)

    @property
    def unmirrored(self) -> bool:
        """Whether the mask is contrastive and no mirror of it was measured."""
        return self.mask.first["contrast"] == "both" and not self.mirrors

    @property
    def mirrored_by(self) -> list[Mirror]:
        """The mirrors that do as much."""
        return [mirror for mirror in self.mirrors if mirror.does_as_much(self.harm)]

    @property
    def matched_by(self) -> list[str]:
        """The controls of equal size that do as much to harmful answers, as far as prompts can tell."""
        return [control for control, row in self.excess.items() if not row["ci_low"] > 0]


def evidence(results: pd.DataFrame, mask: Headline) -> Evidence:
    """What was measured of this mask."""

    of_mask = rows_at(results[results["mask"] == mask.first["mask"]], mask.settings)

    def at_mask(metric: str, control: str, category: str = "harm") -> pd.Series | None:
        rows = report_rows(of_mask, metric)
        rows = rows[(rows["control"] == control) & (rows["category"] == category) & rows["value"].notna()]
        return None if rows.empty else rows.iloc[0]

    harm, matched = at_mask("delta_nll", "none"), at_mask(MATCHED, "none")
    if matched is not None and not matched["n"] >= MIN_PAIRS:
        matched = None

    excess = {control: at_mask("excess_over_control", control) for control in EQUAL_SIZE}
    collapsed = at_mask("collapsed", "none", "benign")
    return Evidence(
        mask,
        harm=harm,
        specific=at_mask("harm_specific", "none") if matched is None else matched,
        excess={control: row for control, row in excess.items() if row is not None and pd.notna(row["ci_low"])},
        mirrors=tuple(m for m in mirrors_of(results, mask) if m.control.startswith("mirror_")),
        collapsed=collapsed is not None and bool(collapsed["value"]),
    )


def finding(run: Run, results: pd.DataFrame | None = None) -> Finding:
    """The verdict on the mask that the run is summed up by, and its sentence. ``results``: its rows, if at hand."""
    results = run.results() if results is None else results
    mask = first_headline(run, results)
    if mask is None:
        return Finding(UNDECIDED, "No effect has been measured in this run yet: undecided.")
    shown = evidence(results, mask)
    plain = chosen_headline(run, results, "none") if mask.first["contrast"] != "none" else None
    beside = None if plain is None else evidence(results, plain)
    return Finding(shown.verdict, _sentence(run, shown, beside), _numbers(shown, beside))


def _sentence(run: Run, shown: Evidence, plain: Evidence | None) -> str:
    """The outcome in words, then whether the selection as in the paper comes to the same."""
    zeroing = f"Zeroing {_size(run, shown.mask)}"
    if shown.empty:
        sentence = "The mask holds 0 weights: nothing was pruned, undecided."
    elif shown.collapsed:
        sentence = f"{zeroing} breaks the model: collapsed, and what it no longer says proves nothing about safety."
    elif shown.harm is None:
        sentence = f"{zeroing}: its effect on all harm types together was not measured, undecided."
    else:
        sentence = f"{zeroing} moves harmful answers by {reads(shown.harm)} nats per token, {_specific(shown)}."
    return sentence if plain is None else f"{sentence} {_beside(plain)}"


def _size(run: Run, mask: Headline) -> str:
    """``5,308 weights (0.005 %, contrastive)``"""
    first, n_scored = mask.first, run.manifest["model"]["n_scored_weights"]
    ranked = "" if pd.isna(first["contrast"]) else selector_words(str(first["contrast"])).short
    if pd.isna(first["n_weights"]):
        return f"the mask {first['mask']}" + (f" ({ranked})" if ranked else "")
    n = int(first["n_weights"])
    return f"{text.count(n)} weights ({', '.join(filter(None, (text.percent(n / n_scored), ranked)))})"


def _specific(shown: Evidence) -> str:
    if shown.specific is None:
        return f"but same-topic safe answers were not measured beside them: {UNDECIDED}"
    if pd.isna(shown.specific["ci_low"]):
        return f"but harm minus same-topic safe has no interval: {UNDECIDED}"
    if not shown.excess:
        return f"but a control of equal size was not measured beside them: {UNDECIDED}"
    alike = " matched in source, length and loss" if shown.specific["metric"] == MATCHED else ""
    apart = f"{reads(shown.specific, 3)} beyond same-topic safe answers{alike}"
    if shown.verdict == SPECIFIC:
        return f"{apart}: {SPECIFIC}"
    if shown.verdict == UNDECIDED:
        return f"{apart}; no mirror was measured: {UNDECIDED}"
    if shown.matched_by:
        return f"but {' and '.join(EQUAL_SIZE[c] for c in shown.matched_by)} of equal number do as much: {NOT_SPECIFIC}"
    if shown.specific["ci_low"] > 0:
        turned = " and ".join(mirror.words for mirror in shown.mirrored_by)
        return f"{apart}, but it does not stand out from its mirrors ({turned}): {NOT_SPECIFIC}"
    return f"but only {apart}: {NOT_SPECIFIC}"


def _beside(plain: Evidence) -> str:
    """The plain selection beside it: the one that the paper is about."""
    how = f"Selected {selector_words('none').short}"
    if plain.verdict in (UNDECIDED, COLLAPSED):
        return f"{how} it is {plain.verdict}."
    return f"{how} it is {plain.verdict}: {reads(plain.specific, 3)}."


def _numbers(shown: Evidence, plain: Evidence | None) -> dict[str, Any]:
    beside = {} if plain is None else {"plain": {"verdict": plain.verdict, **_numbers(plain, None)}}
    record = frame_to_records(shown.mask.effect.head(1))[0]
    return {
        **{name: record[name] for name in ("mask", "q", "p", "scope", "contrast", "n_weights")},
        "harm": _number(shown.harm),
        "harm_specific": _number(shown.specific),
        "excess_over_control": {control: _number(row) for control, row in shown.excess.items()},
        "mirrored_by": [mirror.control for mirror in shown.mirrored_by],
        "collapsed": shown.collapsed,
        **beside,
    }


def _number(row: pd.Series | None) -> dict[str, Any] | None:
    """A row as JSON: value, interval, n."""
    if row is None:
        return None
    known = {name: None if pd.isna(row[name]) else float(row[name]) for name in ("value", "ci_low", "ci_high")}
    return {**known, "n": None if pd.isna(row["n"]) else int(row["n"])}

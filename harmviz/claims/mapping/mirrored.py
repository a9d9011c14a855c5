"""What a mask's mirrors did, from a run's stored rows: is what a mask does about harm, or would any contrast do?

A *mirror* is the same selection, turned round and made at the same point: for safe or for harmless answers in place of
harmful ones (``mirrors``). Of the contrastive selection the run stores ``mirror_safe`` and ``mirror_benign``; the plain
one turned round is what it stores as ``safe_signed`` and ``benign_signed``.

A mirror's *specific* part is its mask's turned round: own text minus harm, where the mask's is harm minus that text. A
mirror's *reach* is ΔL on harmful answers over ΔL on its own text, as a mask of one harm type reaches the others.
No torch, no Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harmviz.claims.mapping.headline import Headline, report_rows, rows_at
from harmviz.claims.mapping.reported import reads
from harmviz.display import text

#: What stands where a run has no mirror of a mask.
NO_MIRROR = "No mirror was measured in this run."
#: Selection → (control, the text that it is made for, the difference of the mask that is turned round), in order.
CONTROLS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "both": (("mirror_safe", "safe", "harm_specific"), ("mirror_benign", "benign", "harm_minus_benign")),
    "none": (("safe_signed", "safe", "harm_specific"), ("benign_signed", "benign", "harm_minus_benign")),
}
#: The text that a mirror is made for, as a sentence names it.
TEXTS = {"safe": "safe text", "benign": "harmless text"}


@dataclass(frozen=True)
class Mirror:
    """One mirror of a mask, on report prompts; rows are None where they were not measured.

    Attributes:
        control: as rows name it. text: the set that it was made for, ``safe`` or ``benign``.
        harm, own: its ΔL on harmful answers and on its own text.
        specific: harm minus its own text (as rows hold it: below 0 where the mirror is specific to its text).
        against: the mask's own difference, which ``specific`` is held against.
    """

    control: str
    text: str
    harm: pd.Series | None
    own: pd.Series | None
    specific: pd.Series | None
    against: pd.Series | None

    @property
    def words(self) -> str:
        """``the same selection for harmless text``"""
        return f"the same selection for {TEXTS[self.text]}"

    @property
    def turned(self) -> pd.Series | None:
        """Its specific part: own text minus harm, with its interval."""
        if self.specific is None:
            return None
        turned = self.specific.copy()
        turned["value"], turned["ci_low"], turned["ci_high"] = (
            -self.specific[name] for name in ("value", "ci_high", "ci_low")
        )
        return turned

    @property
    def reach(self) -> float:
        """ΔL on harmful answers as a share of that on its own text; NaN where that is not clear of 0."""
        if self.harm is None or self.own is None or not self.own["ci_low"] > 0:
            return math.nan
        return float(self.harm["value"]) / float(self.own["value"])

    def does_as_much(self, harm: pd.Series | None) -> bool:
        """Whether the mask does not stand out from it: it moves harmful answers as far as the mask's interval reaches
        down, or is as specific to its text as the mask is to harm. ``harm``: the mask's ΔL on harmful answers."""
        if self.harm is None or self.specific is None or self.against is None or harm is None:
            return False
        return bool(self.harm["value"] >= harm["ci_low"] or -self.specific["value"] >= self.against["value"])

    @property
    def brief(self) -> str:
        """``selected for harmless text: harmful answers +0.01 (…), harmless text minus harm +0.029 (…) against …``"""
        of_text = TEXTS[self.text]
        return (
            f"selected for {of_text}: harmful answers {reads(self.harm)}, {of_text} minus harm {reads(self.turned, 3)} "
            f"where the mask's harm minus {of_text} is {nats(self.against)}"
        )

    def sentence(self) -> str:
        """What it did, with its numbers."""
        of_text = TEXTS[self.text]
        return (
            f"{self.words[0].upper()}{self.words[1:]}: harmful answers {reads(self.harm)}, {of_text} {reads(self.own)} "
            f"nats per token; {of_text} minus harm {reads(self.turned, 3)}, where the mask's harm minus {of_text} is "
            f"{reads(self.against, 3)}."
        )


def mirrors_of(results: pd.DataFrame, mask: Headline) -> list[Mirror]:
    """The mirrors of this mask that the run measured; none where it has none."""

    wanted = CONTROLS.get(str(mask.first["contrast"]), ())
    controls = ["none", *(control for control, _, _ in wanted)]
    rows = rows_at(results[results["control"].isin(controls) & results["value"].notna()], mask.settings)
    of_metric = {m: report_rows(rows, m) for m in ("delta_nll", *(difference for _, _, difference in wanted))}

    def at_mask(metric: str, control: str, category: str) -> pd.Series | None:
        rows = of_metric[metric]
        rows = rows[(rows["control"] == control) & (rows["category"] == category)]
        return None if rows.empty else rows.iloc[0]

    found = []
    for control, of_text, difference in wanted:
        harm = at_mask("delta_nll", control, "harm")
        if harm is not None:
            own, turned = at_mask("delta_nll", control, of_text), at_mask(difference, control, "harm")
            found.append(Mirror(control, of_text, harm, own, turned, at_mask(difference, "none", "harm")))
    return found


def reached_as_far(share: float, mirrors: Sequence[Mirror]) -> list[Mirror]:
    """The mirrors that reach harmful answers with as large a share of their own effect as ``share``, that with which a
    harm type's mask reaches the other types: then transfer does not stand out from what any text's mask does."""
    return [m for m in mirrors if not math.isnan(m.reach) and not math.isnan(share) and m.reach >= share]


def reach_words(mirrors: Sequence[Mirror]) -> str:
    """``a mask for harmless text reaches harmful answers with 12 % of its own effect, …``; why not where unknown."""
    if not mirrors:
        return NO_MIRROR.removesuffix(".").lower()
    shares = ["an unknown share" if math.isnan(m.reach) else f"{100 * m.reach:.0f} %" for m in mirrors]
    told = [f"one for {TEXTS[m.text]} with {share}" for m, share in zip(mirrors, shares, strict=True)]
    first = f"a mask for {TEXTS[mirrors[0].text]} reaches harmful answers with {shares[0]}"
    return f"{', '.join([first, *told[1:]])} of its own effect".replace("-", "−")


def harm_row(mask: Headline) -> pd.Series | None:
    """The mask's ΔL on harmful answers of all types together; None where it was not measured."""
    rows = mask.effect[(mask.effect["category"] == "harm") & mask.effect["value"].notna()]
    return None if rows.empty else rows.iloc[0]


def nats(row: pd.Series | None, digits: int = 3) -> str:
    """``+0.035``; "not measured" without a row."""
    return text.NOT_MEASURED if row is None else text.signed(float(row["value"]), digits)

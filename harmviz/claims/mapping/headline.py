"""Which stored rows a run is summed up by. Pure; the choice is fixed beforehand and never looks at the values.

Two points are summed up. The *unchosen* one is closest to the compactness claim (METHOD.md, C2): 0.001 % of the scored
weights, 1 % protected, all categories' mean, selected as in the paper. The *chosen* ones, one a selection, were picked
on validation prompts when the run was made and are reported on prompts that had no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from harmviz.display.text import is_harm
from harmviz.runs import Run

TARGET_Q, TARGET_P, MASK = 1e-5, 0.01, "mean(all)"
_KEYS = ["mask", "q", "p", "scope", "contrast", "skip_tokens", "condition"]
_LAST = ["safe", "benign", "benign_own"]


@dataclass(frozen=True)
class Headline:
    """The loss shifts of one mask: ``effect`` one row per measured set, harm first; ``random`` the control by set."""

    effect: pd.DataFrame
    random: dict[str, float]

    @property
    def first(self) -> pd.Series:
        """A row to read the mask's own facts (q, p, n_weights, contrast…) from."""
        return self.effect.iloc[0]


def report_rows(results: pd.DataFrame, metric: str = "delta_nll") -> pd.DataFrame:
    """The rows of one metric measured on report prompts: none that chose (q, p), none of half masks."""
    rows = results[(results["experiment"] == "effect") & (results["metric"] == metric) & results["category"].notna()]
    return rows[rows["condition"].isna()]


def at(rows: pd.DataFrame, point: pd.Series | dict[str, Any]) -> pd.DataFrame:
    """The rows measured with these settings (those of ``mask, q, p, scope, contrast, skip_tokens, condition`` given)."""
    keep = pd.Series(True, index=rows.index)
    for key in _KEYS:
        if key in point:
            keep &= rows[key].isna() if pd.isna(point[key]) else (rows[key] == point[key]).fillna(False).astype(bool)
    return rows[keep]


def headline(results: pd.DataFrame) -> Headline | None:
    """The effect at the unchosen point, or None where the run measured no effect."""
    shifts = report_rows(results)
    points = shifts[shifts["control"] == "none"][_KEYS].drop_duplicates()
    if points.empty:
        return None
    nearest = points.assign(
        mask_=(points["mask"] != MASK),
        contrast_=(points["contrast"] != "none"),
        scope_=(points["scope"] != "global"),
        q_=(points["q"] - TARGET_Q).abs(),
        p_=(points["p"] - TARGET_P).abs(),
    ).sort_values(["mask_", "contrast_", "scope_", "q_", "p_", "skip_tokens"], kind="stable")
    return _headline(shifts, nearest.iloc[0])


def chosen_point(run: Run, contrast: str) -> dict[str, Any] | None:
    """(q, p) chosen on validation prompts for this selection, as ``at`` takes it; None where the run chose none."""
    found = run.manifest["method"].get("headline", {}).get(contrast)
    if found is None:
        return None
    skipped = run.manifest["parameters"].get("skip_tokens", 0)  # the same point is measured with and without openers
    return {
        "mask": MASK,
        "contrast": contrast,
        "scope": "global",
        "q": found["q"],
        "p": found["p"],
        "skip_tokens": skipped,
    }


def chosen_headline(run: Run, results: pd.DataFrame, contrast: str) -> Headline | None:
    """The effect at the chosen point of this selection, or None where it was not measured."""
    point = chosen_point(run, contrast)
    return None if point is None else _headline(report_rows(results), point)


def _headline(shifts: pd.DataFrame, point: pd.Series | dict[str, Any]) -> Headline | None:
    here = at(shifts, point)
    effect = here[here["control"] == "none"].drop_duplicates("category")
    if effect.empty:
        return None
    order = effect["category"].map(set_order)
    effect = effect.loc[order.sort_values(kind="stable").index]
    controls = here[(here["control"] == "random") & here["value"].notna()]
    return Headline(effect, {str(c): float(v) for c, v in controls.groupby("category")["value"].mean().items()})


def set_order(category: str) -> tuple[int, str]:
    """A key that sorts measured sets: the mean of all harm types, the types, same-topic safe ones, then safe, benign, own."""
    if is_harm(category):
        return 0, "" if category == "harm" else category
    return 1, str(_LAST.index(category)) if category in _LAST else "-" + category

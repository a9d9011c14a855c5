"""Which stored rows a run is summed up by. Pure; the choice is fixed beforehand and never looks at the values.

Two points are summed up. The *unchosen* one is closest to the compactness claim (METHOD.md, C2): 0.001 % of the scored
weights, 1 % protected, all categories' mean, selected as in the paper. The *chosen* ones, one a selection, were picked
on validation prompts when the run was made and are reported on prompts that had no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harmviz.display.text import is_harm
from harmviz.masks.lists import Contrast
from harmviz.runs import Run
from harmviz.runs.point import MEAN_OF_ALL, Point

#: The point closest to the claim, chosen by nobody.
UNCHOSEN = Point(MEAN_OF_ALL, q=1e-5, p=0.01)
#: The selections a run may choose a point for, the one that is shown first in front.
CHOSEN: tuple[Contrast, ...] = ("both", "none")
#: The columns of a row that say under which mask it was measured.
_SETTINGS = ("mask", "q", "p", "scope", "contrast", "skip_tokens", "condition")
_LAST = ("safe", "benign", "benign_own")


@dataclass(frozen=True)
class Headline:
    """The loss shifts of one mask: ``effect`` one row per measured set, harm first; ``random`` the control by set."""

    effect: pd.DataFrame
    random: dict[str, float]

    @property
    def first(self) -> pd.Series:
        """A row to read the mask's own facts (q, p, n_weights, contrast…) from."""
        return self.effect.iloc[0]

    @property
    def settings(self) -> dict[str, Any]:
        """Under which mask it was measured, as ``rows_at`` takes it."""
        return {name: self.first[name] for name in _SETTINGS}


def report_rows(results: pd.DataFrame, metric: str = "delta_nll") -> pd.DataFrame:
    """The rows of one metric measured on report prompts: none that chose (q, p), none of half masks."""
    rows = results[(results["experiment"] == "effect") & (results["metric"] == metric) & results["category"].notna()]
    return rows[rows["condition"].isna()]


def rows_at(rows: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """The rows whose ``mask, q, p, scope, contrast, skip_tokens, condition`` are these; what is not given is free."""
    keep = pd.Series(True, index=rows.index)
    for name in _SETTINGS:
        if name in settings:
            value = settings[name]
            same = rows[name].isna() if pd.isna(value) else (rows[name] == value).fillna(False).astype(bool)
            keep &= same
    return rows[keep]


def headline(results: pd.DataFrame) -> Headline | None:
    """The effect at the unchosen point, or None where the run measured no effect."""
    shifts = report_rows(results)
    points = shifts[shifts["control"] == "none"][list(_SETTINGS)].drop_duplicates()
    if points.empty:
        return None
    nearest = points.assign(
        mask_=(points["mask"] != UNCHOSEN.set),
        contrast_=(points["contrast"] != UNCHOSEN.contrast),
        scope_=(points["scope"] != UNCHOSEN.scope),
        q_=(points["q"] - UNCHOSEN.q).abs(),
        p_=(points["p"] - UNCHOSEN.p).abs(),
    ).sort_values(["mask_", "contrast_", "scope_", "q_", "p_", "skip_tokens"], kind="stable")
    return _headline(shifts, {str(name): value for name, value in nearest.iloc[0].items()})


def chosen_point(run: Run, contrast: str) -> Point | None:
    """The point chosen on validation prompts for this selection; None where the run chose none."""
    choice = run.manifest["method"].get("headline", {}).get(contrast)
    return None if choice is None else Point(MEAN_OF_ALL, choice["q"], choice["p"], contrast=contrast)


def rows_at_chosen(run: Run, rows: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """The rows at the point chosen for this selection; none where the run chose none.

    The same point is measured with and without the openers of answers: taken is what the run's own setting says.
    """
    point = chosen_point(run, contrast)
    return rows.iloc[:0] if point is None else rows_at(rows, _chosen_settings(run, point))


def chosen_headline(run: Run, results: pd.DataFrame, contrast: str) -> Headline | None:
    """The effect at the chosen point of this selection, or None where it was not measured."""
    point = chosen_point(run, contrast)
    return None if point is None else _headline(report_rows(results), _chosen_settings(run, point))


def first_headline(run: Run, results: pd.DataFrame) -> Headline | None:
    """What is said of the run where one mask is enough: its chosen contrastive point, else its plain one, else the
    unchosen one; None where the run measured no effect."""
    chosen = (shown for c in CHOSEN if (shown := chosen_headline(run, results, c)) is not None)
    return next(chosen, None) or headline(results)


def _chosen_settings(run: Run, point: Point) -> dict[str, Any]:
    return {**point.as_dict(), "skip_tokens": run.manifest["parameters"].get("skip_tokens", 0)}


def _headline(shifts: pd.DataFrame, settings: Mapping[str, Any]) -> Headline | None:
    rows = rows_at(shifts, settings)
    effect = rows[rows["control"] == "none"].drop_duplicates("category")
    if effect.empty:
        return None
    order = effect["category"].map(set_order)
    effect = effect.loc[order.sort_values(kind="stable").index]
    controls = rows[(rows["control"] == "random") & rows["value"].notna()]
    return Headline(effect, {str(c): float(v) for c, v in controls.groupby("category")["value"].mean().items()})


def set_order(category: str) -> tuple[int, str]:
    """A key that sorts measured sets: mean of all harm types, the types, same-topic safe ones, safe, benign, own."""
    if is_harm(category):
        return 0, "" if category == "harm" else category
    return 1, str(_LAST.index(category)) if category in _LAST else "-" + category

"""Which stored rows a run is summed up by. Pure; the choice is fixed beforehand and never looks at the values.

The point shown is the one closest to the compactness claim (METHOD.md, C2): 0.001 % of the scored weights, 1 %
protected, all categories' mean, selected as in the paper. Picking the best-looking point instead would report on the
prompts it was chosen by.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harmviz.ui.text import is_harm

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


def headline(results: pd.DataFrame) -> Headline | None:
    """The rows a run is summed up by, or None where it measured no effect."""
    shifts = results[(results["experiment"] == "effect") & (results["metric"] == "delta_nll") & results["category"].notna()]
    # Report prompts only: rows with a condition were measured on the prompts that chose (q, p), or under half masks.
    shifts = shifts[shifts["condition"].isna()]
    pruned = shifts[shifts["control"] == "none"]
    if pruned.empty:
        return None
    points = pruned[_KEYS].drop_duplicates()
    nearest = points.assign(
        mask_=(points["mask"] != MASK),
        contrast_=(points["contrast"] != "none"),
        scope_=(points["scope"] != "global"),
        q_=(points["q"] - TARGET_Q).abs(),
        p_=(points["p"] - TARGET_P).abs(),
    ).sort_values(["mask_", "contrast_", "scope_", "q_", "p_", "skip_tokens"], kind="stable")
    chosen = nearest.iloc[0]

    def of_point(frame: pd.DataFrame) -> pd.DataFrame:
        keep = pd.Series(True, index=frame.index)
        for key in _KEYS:
            keep &= frame[key].isna() if pd.isna(chosen[key]) else (frame[key] == chosen[key]).fillna(False).astype(bool)
        return frame[keep]

    effect = of_point(pruned).drop_duplicates("category")
    order = effect["category"].map(lambda c: (0, "" if c == "harm" else c) if is_harm(c) else (1, str(_LAST.index(c)) if c in _LAST else "-" + c))
    effect = effect.loc[order.sort_values(kind="stable").index]
    controls = of_point(shifts[(shifts["control"] == "random") & shifts["value"].notna()])
    return Headline(effect, {str(c): float(v) for c, v in controls.groupby("category")["value"].mean().items()})

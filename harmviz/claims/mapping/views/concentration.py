"""How few weights carry a set's harm score: numbers and words of the Lorenz curves. Pure; nothing draws."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.tables import rows_table
from harmviz.display.text import is_harm
from harmviz.display.words import Words


def concentration(results: pd.DataFrame) -> pd.DataFrame:
    """Lorenz points of every set, as ``figures.transfer.lorenz_curves`` takes them, with its Gini and effective count.

    ``comparable``: the set rests on the commonest number of scoring answers among the harm types (the larger one where
    two are as common). Concentration rises with that number, whatever the model.
    """
    rows = results[(results["experiment"] == "concentration") & results["value"].notna() & results["n"].notna()]
    points = rows[rows["metric"] == "lorenz_share"]
    harm_n = points[points["mask"].map(is_harm).astype(bool)].drop_duplicates("mask")["n"].astype(int)
    common = max(harm_n, key=lambda n: (int((harm_n == n).sum()), n)) if len(harm_n) else -1

    def of_set(metric: str) -> pd.Series:
        values = rows[rows["metric"] == metric].drop_duplicates("mask").set_index("mask")["value"]
        return points["mask"].map(values.astype(float))

    columns = {
        "set": points["mask"].map(text.set_name),
        "category": points["mask"],
        "q": points["q"],
        "share": points["value"],
        "n": points["n"].astype(int),
        "n_weights": points["n_weights"],
        "comparable": points["n"].astype(int) == common,
        "gini": of_set("gini"),
        "effective_count": of_set("effective_count"),
    }
    return pd.DataFrame(columns).reset_index(drop=True)


def concentration_words(points: pd.DataFrame) -> Words:
    """Title, subtitle and reading of the Lorenz curves."""
    equal, rest = points[points["comparable"]], points[~points["comparable"]]
    n = int(equal["n"].iloc[0])
    names = list(dict.fromkeys(equal["set"]))
    held = equal[(equal["q"] == 0.01) & equal["category"].map(is_harm).astype(bool)]["share"]
    title = (
        "How concentrated is the harm score?"
        if held.empty
        else f"The top 1 % of weights hold {_range(held)} of a type's harm score"
    )
    other = f" Dotted: {rest['set'].nunique()} sets with another n." if not rest.empty else ""
    return Words(
        title,
        f"Share of the positive harm score held by the largest weights. Solid: {len(names)} sets with n = {n} scoring "
        f"answers each.{other}",
        "A curve further up and left: fewer weights carry the score. Compare solid curves only: with fewer answers a "
        "score is noisier and looks less concentrated, whatever the model. No interval: one scoring sample each. The "
        "score is signed SNIP as in the paper; the selection above changes nothing here.",
        f"Lorenz curves of the positive harm score of {points['set'].nunique()} sets, log scale. {title}.",
    )


def _range(shares: pd.Series) -> str:
    low, high = f"{100 * shares.min():.0f}", f"{100 * shares.max():.0f}"
    return f"{low} %" if low == high else f"{low}–{high} %"


def concentration_table(points: pd.DataFrame) -> str:
    """Gini and effective count of every set as a table; those at equal n first."""
    lines = points.drop_duplicates("category").sort_values("comparable", ascending=False, kind="stable")
    body = []
    for row in lines.itertuples():
        gini = "–" if pd.isna(row.gini) else f"{row.gini:.3f}"
        effective = "–" if pd.isna(row.effective_count) else text.count(round(row.effective_count))
        comparable = "yes" if row.comparable else "no, other n"
        body.append([explained(str(row.set)), str(row.n), gini, effective, comparable])
    n_equal = int(lines["comparable"].sum())
    return rows_table(["set", "scoring answers, n", "Gini", "effective count", "comparable"], body, {n_equal})


def colours(points: pd.DataFrame, categories: Mapping[str, str], *, other: str) -> dict[str, str]:
    """How a set reads → its colour: those given for harm types, ``other`` for the rest."""
    sets = points.drop_duplicates("category")
    return {str(row.set): categories.get(str(row.category), other) for row in sets.itertuples()}

"""The comparison's picture, as reports and notebooks show it, and what it does not say."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harmviz.claims.rankings.figures import REACH, gain_chart
from harmviz.claims.rankings.finding import finding, marks
from harmviz.claims.rankings.settings import GRADIENT_FREE, LIMITS, words
from harmviz.display import text
from harmviz.display.picture import Picture
from harmviz.display.style import Theme
from harmviz.display.words import Words
from harmviz.runs import Run


def chart_rows(run: Run, results: pd.DataFrame) -> pd.DataFrame:
    """A line a ranking and fraction, as ``figures.gain_chart`` takes it."""
    lines = []
    for ranking, q, shifts, specific in marks(run, results):
        paid, bought = shifts["benign"]["value"], specific["value"]
        lines.append(
            {
                "ranking": ranking,
                "name": words(ranking),
                "q": q,
                "benign": paid,
                "specific": bought,
                "ci_low": specific["ci_low"],
                "ci_high": specific["ci_high"],
                "note": f"{words(ranking)}\n{text.count(specific['n_weights'])} weights pruned\n"
                f"harm − safe {text.signed(bought, 3)}, benign {text.signed(paid, 3)}",
            }
        )
    return pd.DataFrame(lines)


def pictures(run: Run, theme: Theme) -> Iterator[Picture]:
    """One picture: gain over cost."""
    results = run.results()
    rows = chart_rows(run, results)
    n = int(results.loc[results["metric"] == "harm_specific", "n"].max())
    beyond = rows[rows["benign"] > REACH].groupby("name", sort=False)["benign"].min()
    out = "; ".join(f"{name} at {text.signed(paid, 1)}" for name, paid in beyond.items())
    subtitle = (
        f"A line a ranking, a mark a fraction of weights; bars: 95 % over prompts, n = {n}. Dotted: limits compared."
    )
    found = Words(
        "What does a ranking buy for what benign answers pay?",
        f"{subtitle} Out of view: {out} nats benign." if out else subtitle,
        "Higher at the same place is better: harmful answers lose more beyond safe ones for the same benign cost.",
        finding(run).sentence,
    )
    yield Picture("rankings-gains", gain_chart(rows, theme, title=found.title, subtitle=found.subtitle), rows, found)


def limits(run: Run) -> list[str]:
    """What the comparison does not say."""
    wanda = "The gradient-free ranking is Wanda made contrastive, one of many that need no gradients."
    return [
        f"Rankings are compared at {len(LIMITS)} limits, each against the paper's: the more rankings, the likelier it "
        "is that one is clear of it by chance.",
        "Harmless answers are by others: what a pruned model does to its own answers is not measured here.",
        *([wanda] if GRADIENT_FREE in run.manifest["method"]["rankings"] else []),
    ]

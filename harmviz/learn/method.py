"""The first three lessons: what a harm-generation weight is, how it is found, what a control is. Nothing draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from harmviz.claims.mapping.headline import UNCHOSEN, chosen_point
from harmviz.claims.mapping.reported import Reported, first_contrast, reads
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.errors import SelectionInexact
from harmviz.learn.lesson import Lesson
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import MEAN, ListKey
from harmviz.masks.selection import Selection, select
from harmviz.runs import Run
from harmviz.runs.point import selector_words

#: ``maps`` count positive scores in half-decade bins from 1e-12 to 1e0; the first and last hold what lies beyond.
_LOWEST, _STEP = -12.0, 0.5
#: So many weights of each kind show a cloud without slowing the page.
_SAMPLE = 500
_CONTROLS = {
    "none": "the mask itself",
    "random": "random",
    "magnitude": "magnitude-matched",
    "utility": "utility-matched",
    "benign_signed": "benign-signed",
    "safe_signed": "safe-signed",
}


# -- 1 --------------------------------------------------------------------------------------------------------------
def scores(run: Run, results: pd.DataFrame, maps: Mapping[str, np.ndarray]) -> Lesson:
    """What a harm-generation weight is: the histogram of positive harm scores of one type."""
    category, n_scored = _typical(run), int(run.manifest["model"]["n_scored_weights"])
    stored = maps.get(f"{category}/histogram")
    counts = np.zeros(0, dtype=np.int64) if stored is None else stored.sum(axis=0)
    bins = _bins(counts, strongest=max(1, math.floor(UNCHOSEN.q * n_scored)))
    positive, name = int(counts.sum()), text.set_name(category)
    body = (
        "Set one weight to zero, and the loss of an answer moves a little. A weight's harm score says by how much "
        f"it rises for harmful answers. For type {name}, {text.percent(positive / n_scored)} of "
        f"{text.count(n_scored)} scored weights have a positive score, and nearly all of it is "
        f"tiny.{_held_by_the_strongest(results, category)} Harm-generation weights are sought among the few on the "
        "far right. A high score alone is no proof: harmless text may need the same weight."
    )
    return Lesson(
        "What is a harm-generation weight?",
        body,
        Words(
            "Nearly every harm score is tiny",
            f"Weights by positive harm score for {name}<br>n = {_n_scoring(run, category)} scoring prompts · "
            f"vermilion: the strongest {text.percent(UNCHOSEN.q)}",
            "Each bar counts weights. Both axes are logarithmic: one line up is ten times as many weights. Vermilion "
            "bars lie wholly among the strongest. A histogram has no interval; what these weights do is measured in "
            "step 4.",
            f"Histogram of positive harm scores for {name}, both axes logarithmic",
        ),
        bins if positive else bins.iloc[:0],
    )


def _typical(run: Run) -> str:
    """The harm type scored on most prompts; by name where several are."""
    return min(text.harm_types(run.manifest["data"]["counts"]), key=lambda c: (-_n_scoring(run, c), c))


def _n_scoring(run: Run, category: str) -> int:
    return sum(n for part, n in run.manifest["data"]["counts"][category].items() if part.startswith("scoring"))


def _bins(counts: np.ndarray, *, strongest: int) -> pd.DataFrame:
    """``exponent, count, strong``: the bins from the lowest on; strong: all of a bin is among the ``strongest``."""
    bins = pd.DataFrame({"exponent": _LOWEST + _STEP * (np.arange(len(counts)) - 1), "count": counts})
    bins["strong"] = bins["count"][::-1].cumsum()[::-1] <= strongest
    return bins[bins["exponent"] >= _LOWEST].reset_index(drop=True)


def _held_by_the_strongest(results: pd.DataFrame, category: str) -> str:
    """A sentence on how much of the positive score the strongest weights hold; nothing where it was not measured."""
    share = results[(results["experiment"] == "concentration") & (results["metric"] == "lorenz_share")]
    share = share[(share["mask"] == category) & share["value"].notna() & (share["q"] >= UNCHOSEN.q * 0.999)]
    share = share[(share["n_weights"] >= 1).fillna(False)].sort_values("q")
    if share.empty:
        return ""
    top = share.iloc[0]
    return (
        f" The strongest {text.count(int(top['n_weights']))} hold {text.percent(float(top['value']))} of all positive "
        f"score, {top['value'] / top['q']:,.0f} times their share."
    )


# -- 2 --------------------------------------------------------------------------------------------------------------
def selection(run: Run, reported: Reported, candidates: Candidates | None) -> Lesson:
    """How the weights are found: harm score against utility rank, at the point chosen for the plain selection."""
    point = chosen_point(run, "none") or UNCHOSEN
    fates = None if candidates is None else _fates(candidates, point.q, point.p)
    protected, lost, taken = text.percent(point.p), "", "those"
    if fates is not None:
        taken = f"the {text.count(fates.n_taken)}"
        if fates.highest_protected is not None:
            lost = (
                f" Of {taken} highest harm scores, {text.count(fates.highest_protected)} are protected for that reason."
            )
    if (broken := reported.row("none", "benign", control="unprotected")) is not None:
        lost += (
            " Zeroing the highest scores without protection moves the loss of harmless answers by "
            f"{reads(broken, 1)} nats."
        )
    body = (
        "Every weight gets two numbers: a harm score from harmful answers, and a utility score from harmless ones. The "
        f"top {protected} by utility are protected, because harmless text needs them most.{lost} Of the rest, {taken} "
        "with the highest harm score become the mask: the list of weights to set to zero."
    )
    return Lesson(
        "How are they found?",
        body,
        Words(
            "Right of the line, from the top down",
            "A sample of the strongest weights, mean of all types, as in the paper<br>"
            f"dashed: {protected} protected · taken: {taken.removeprefix('the ')} weights",
            f"Each dot is a weight; at most {_SAMPLE} of each colour are drawn. Left of the dashed line a weight is "
            "protected. Right of it, the mask takes the highest. Weaker weights than these exist in great numbers and "
            "are not drawn.",
            "Scatter plot of harm score over rank by utility, with the protected zone on the left",
        ),
        pd.DataFrame() if fates is None else fates.points,
        point.p,
    )


class _Fates(NamedTuple):
    """A sample of weights and what becomes of them; how many are taken; how many of as many highest are protected."""

    points: pd.DataFrame
    n_taken: int
    highest_protected: int | None


def _fates(candidates: Candidates, q: float, p: float) -> _Fates | None:
    """The rule applied to the stored candidates; None where they do not settle it."""
    try:
        chosen = select(candidates, Selection(candidates.categories, q=q, p=p)).global_index
    except SelectionInexact:
        return None
    taken = np.searchsorted(candidates.global_index, chosen)
    score, rank = candidates.score(MEAN), candidates.tail_count / candidates.table.n_weights
    fate = np.where(rank <= p, "protected", "not taken").astype(object)
    fate[taken] = "taken"
    kinds = ("not taken", "protected", "taken")
    kept = np.concatenate([_spread(np.flatnonzero((fate == kind) & (score > 0))) for kind in kinds])
    points = pd.DataFrame({"utility_rank": rank[kept], "harm_score": score[kept], "fate": fate[kept]})
    top = candidates.orders.get(ListKey(MEAN, "none", 0.0, "global"))
    return _Fates(points, len(taken), None if top is None else int(np.sum(rank[top[: len(taken)]] <= p)))


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most ``_SAMPLE`` of the rows, evenly spaced, the same every time."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(int))] if len(rows) > _SAMPLE else rows


# -- 3 --------------------------------------------------------------------------------------------------------------
def controls(run: Run, reported: Reported) -> Lesson:
    """What a control is: the mask beside five masks of equal size, on harmful and on harmless answers."""
    contrast = first_contrast(run)
    mask, random, benign_signed = (
        reported.row(contrast, "harm", control=c) for c in ("none", "random", "benign_signed")
    )
    on_benign = reported.row(contrast, "benign", control="benign_signed")
    body = (
        "Zeroing weights may just do damage. A control is a mask of the same size that was chosen without looking at "
        f"harm. Here the mask moves harmful answers by {reads(mask, 3)} nats per token; random weights: "
        f"{reads(random, 3)}. A benign-signed mask, found on harmless answers in the same way, moves harmful ones by "
        f"{reads(benign_signed)} and harmless ones by {reads(on_benign)}. A finding needs a vermilion dot right of the "
        "random and matched controls, and well right of its own blue dot."
    )
    size, n_scored = "", run.manifest["model"]["n_scored_weights"]
    if mask is not None:
        size = f"{text.fraction_of(int(mask['n_weights']), n_scored)} each · "
    return Lesson(
        "What is a control?",
        body,
        Words(
            "The same number of weights, chosen otherwise",
            f"{size}{selector_words(contrast).short} selection<br>ΔL in nats per token, 95 % intervals, report prompts",
            "Right of the line: without these weights that text is less likely. Drawn controls (random, "
            "magnitude-matched, utility-matched) are means over several draws on a third of the prompts.",
            "Dot plot of loss shifts on harmful and harmless answers under the mask and five controls",
        ),
        _control_table(reported, contrast),
    )


def _control_table(reported: Reported, contrast: str) -> pd.DataFrame:
    lines = []
    for control, label in _CONTROLS.items():
        for category in ("harm", "benign"):
            if (row := reported.row(contrast, category, control=control)) is not None:
                measured = row[["value", "ci_low", "ci_high", "n", "q", "p", "n_weights", "unit"]].to_dict()
                harm = text.is_harm(category)
                lines.append({"label": label, "control": control, "category": category, "harm": harm, **measured})
    return pd.DataFrame(lines)

"""Steps 1 to 3: how few weights are strong, what a score is, why the useful ones are protected. Nothing draws."""

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
from harmviz.learn.lesson import Lesson, Question, among, kept, one_in
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import MEAN, Contrast, ListKey
from harmviz.masks.selection import Selection, select
from harmviz.runs import Run
from harmviz.runs.point import selector_words

#: ``maps`` count positive scores in half-decade bins from 1e-12 to 1e0; the first and last hold what lies beyond.
_LOWEST, _STEP = -12.0, 0.5
#: So many weights of each kind show a cloud without slowing the page.
_SAMPLE = 500
#: The places in a mask, by score, at which step 2 looks.
_RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


# -- 1 --------------------------------------------------------------------------------------------------------------
def score_bins(run: Run, maps: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """``exponent`` (log10 of a bin's lower edge), ``count``, ``above`` (weights in it or further right) of one type."""
    stored = maps.get(f"{_typical(run)}/histogram")
    counts = np.zeros(0, dtype=np.int64) if stored is None else stored.sum(axis=0)
    bins = pd.DataFrame({"exponent": _LOWEST + _STEP * (np.arange(len(counts)) - 1), "count": counts})
    bins = bins[bins["exponent"] >= _LOWEST].reset_index(drop=True)
    return bins.assign(above=bins["count"][::-1].cumsum()[::-1]) if bins["count"].sum() else bins.iloc[:0]


def thresholds(bins: pd.DataFrame) -> list[float]:
    """The exponents that the reader may draw the line at: where weights lie on both sides."""
    return [] if bins.empty else [float(e) for e in bins.loc[(bins["count"] > 0) & (bins["above"] > 0), "exponent"]]


def scores(run: Run, results: pd.DataFrame, bins: pd.DataFrame, exponent: float | None = None) -> Lesson:
    """How few weights are strong: the histogram of positive harm scores of one type, cut at 10^exponent."""
    category, n_scored = _typical(run), int(run.manifest["model"]["n_scored_weights"])
    name, said = text.set_name(category), ""
    if not bins.empty:
        strongest = max(1, math.floor(UNCHOSEN.q * n_scored))
        offered = bins[bins["count"] > 0]
        cut = exponent if exponent is not None else float(offered["exponent"].max())
        bins = bins.assign(strong=bins["exponent"] >= cut)
        n = int(bins.loc[bins["strong"], "count"].sum())
        size = f" That is {one_in(n / n_scored)} ({text.fraction_of(n, n_scored)})." if n else " No weight is."
        fewer = " Fewer than a mask of this project holds." if n < strongest else ""
        said = f"Right of the line: the weights that harmful text leans on hardest.{size}{fewer}"
    body = (
        f"This model has {text.count(n_scored)} scored weights: just numbers. Zero one, and the loss of an answer "
        "moves a little. A weight's harm score says by how much it rises for harmful answers. Move the line: how few "
        "weights are left on its right?"
    )
    return Lesson(
        "A few numbers among many",
        body,
        said,
        Words(
            "Nearly every harm score is tiny",
            f"Weights by positive harm score for {name}<br>n = {_n_scoring(run, category)} scoring prompts · "
            "vermilion: right of your line",
            "Each bar counts weights. Both axes are logarithmic: one line up is ten times as many weights. A histogram "
            "has no interval; what these weights do is measured in later steps.",
            f"Histogram of positive harm scores for {name}, both axes logarithmic",
        ),
        bins,
        _about_concentration(results, category),
    )


def _typical(run: Run) -> str:
    """The harm type scored on most prompts; by name where several are."""
    return min(text.harm_types(run.manifest["data"]["counts"]), key=lambda c: (-_n_scoring(run, c), c))


def _n_scoring(run: Run, category: str) -> int:
    return sum(n for part, n in run.manifest["data"]["counts"][category].items() if part.startswith("scoring"))


def _about_concentration(results: pd.DataFrame, category: str) -> Question | None:
    """How much of the positive score the strongest weights hold; None where it was not measured."""
    share = results[(results["experiment"] == "concentration") & (results["metric"] == "lorenz_share")]
    share = share[(share["mask"] == category) & share["value"].notna() & (share["q"] >= UNCHOSEN.q * 0.999)]
    share = share[(share["n_weights"] >= 1).fillna(False)].sort_values("q")
    if share.empty:
        return None
    held, q = float(share.iloc[0]["value"]), float(share.iloc[0]["q"])
    options, right = among(
        (held < 2 * q, "About their share: one weight is like another"),
        (held < 0.5, "Many times their share, and still less than half"),
        (True, "More than half of it"),
    )
    return Question(
        f"Take the strongest {one_in(q)}. How much of all positive score do they hold together?",
        options,
        right,
        f"The {text.count(int(share.iloc[0]['n_weights']))} strongest hold {text.percent(held)} of it, "
        f"{held / q:,.0f} times their share. The score is concentrated, but spread over many weights too.",
    )


# -- 2 --------------------------------------------------------------------------------------------------------------
class Place(NamedTuple):
    """A weight of the mask: its rank by score, its matrix and flat index there, and its row among the candidates."""

    rank: int
    matrix: str
    flat: int
    row: int
    address: str


def places(run: Run, candidates: Candidates | None) -> list[Place]:
    """Weights of the chosen mask at a few ranks, the strongest first; none where the run settles no mask."""
    contrast: Contrast = "both" if first_contrast(run) == "both" else "none"
    point = chosen_point(run, contrast) or UNCHOSEN
    if candidates is None:
        return []
    try:
        asked = Selection(candidates.categories, q=point.q, p=point.p, contrast=contrast)
        chosen = select(candidates, asked).global_index
    except SelectionInexact:
        return []
    rows = np.searchsorted(candidates.global_index, chosen)
    ordered = rows[np.argsort(-candidates.score(MEAN, contrast, rows), kind="stable")]
    found = []
    for rank in (r for r in _RANKS if r <= len(ordered)):
        row = int(ordered[rank - 1])
        matrix, flat = candidates.table[int(candidates.matrix[row])], int(candidates.flat[row])
        unit, source = (int(x[0]) for x in matrix.out_in(np.array([flat])))
        address = f"layer {matrix.layer}, {matrix.module_kind}, from unit {source} to unit {unit}"
        found.append(Place(rank, matrix.name, flat, row, address))
    return found


def weight(run: Run, results: pd.DataFrame, candidates: Candidates | None, place: Place | None) -> Lesson:
    """What a score is: one weight of the mask, and its score for every set of texts."""
    table, said = pd.DataFrame(), ""
    if candidates is not None and place is not None:
        sets = [*candidates.categories, *(b for b in ("safe", "benign") if b in candidates.listed_baselines)]
        values = [float(candidates.scores[s][place.row]) for s in sets]
        table = pd.DataFrame({"set": sets, "label": [text.set_name(s) for s in sets], "value": values}).assign(
            harm=lambda t: t["set"].map(text.is_harm)
        )
        harm = table.loc[table["harm"], "value"].mean()
        said = f"Weight {place.rank} of the mask: {place.address}. Without it, the loss of harmful answers would "
        said += f"{'rise' if harm > 0 else 'fall'} by {abs(harm):.2g} nats per token, to first order."
    body = (
        "Read an answer, and follow its loss back through the network: the gradient reaches every weight at once. "
        "Weight times gradient, with its sign turned, foretells what zeroing that weight does to the loss. Choose a "
        "weight, and compare its score for different texts."
    )
    return Lesson(
        "The gradient reaches a weight",
        body,
        said,
        Words(
            "One weight, many kinds of text",
            f"Score of one weight of the mask ({selector_words(first_contrast(run)).short})<br>"
            "nats per token, mean over the scoring answers",
            "Right of the line: this text would become less likely without the weight. Vermilion: harmful answers by "
            "type. Blue: harmless ones. Single weights have no interval; masks are measured in later steps.",
            "Bar chart of one weight's score for every harm type and for harmless text",
        ),
        table,
        _about_prediction(results),
    )


def _about_prediction(results: pd.DataFrame) -> Question | None:
    """Whether the score foretells what zeroing does, by the run's causal check."""
    rows = results[(results["experiment"] == "causal") & results["value"].notna()].set_index("metric")["value"]
    if not {"predicted", "measured", "relative_error"} <= set(rows.index):
        return None
    error = float(rows["relative_error"])
    options, right = among(
        (error <= 0.1, "Yes, to within a tenth"),
        (error <= 0.5, "Roughly, to within a half"),
        (True, "No, it foretold something else"),
    )
    return Question(
        "A score is a forecast. This run turned a mask's weights down a little and measured. Was the forecast right?",
        options,
        right,
        f"Foretold {text.signed(float(rows['predicted']), 3)}, measured {text.signed(float(rows['measured']), 3)} nats "
        f"per token and unit of strength: {text.percent(error)} apart. That is for small steps; zeroing whole weights "
        "is measured, not foretold.",
    )


# -- 3 --------------------------------------------------------------------------------------------------------------
def protection(run: Run, reported: Reported, candidates: Candidates | None, *, protect: bool) -> Lesson:
    """Why the useful weights are protected: harm score against utility rank, with the rule and without."""
    point = chosen_point(run, "none") or UNCHOSEN
    fates = None if candidates is None else _fates(candidates, point.q, point.p if protect else 0.0)
    control = "none" if protect else "unprotected"
    harm, benign = (reported.row("none", c, control=control) for c in ("harm", "benign"))
    said = ""
    if benign is not None and harm is not None:
        said = (
            f"{'With' if protect else 'Without'} protection a token of a harmless answer {kept(benign['value'])} (ΔL "
            f"{reads(benign)}), one of a harmful answer {kept(harm['value'])} (ΔL {reads(harm)})."
        )
    protected = text.percent(point.p)
    body = (
        f"Harmless text leans on weights too. The top {protected} by utility score ({one_in(point.p)}) are protected: "
        "never zeroed. Of the rest, those with the highest harm score become the mask. Switch protection off: what is "
        "taken then, and what breaks?"
    )
    n_taken = "" if fates is None else f" · taken: {text.count(fates.n_taken)} weights"
    return Lesson(
        "Spare what harmless text needs",
        body,
        said,
        Words(
            "Right of the line, from the top down" if protect else "From the top down, wherever they are",
            "A sample of the strongest weights, mean of all types, as in the paper<br>"
            f"{f'dashed: {protected} protected' if protect else 'nothing protected'}{n_taken}",
            f"Each dot is a weight; at most {_SAMPLE} of each colour are drawn. Left means that harmless text needs it "
            "more. Weaker weights than these exist in great numbers and are not drawn.",
            "Scatter plot of harm score over rank by utility, with the weights that the rule takes",
        ),
        pd.DataFrame() if fates is None else fates.points,
        _about_damage(reported),
        point.p if protect else None,
    )


def _about_damage(reported: Reported) -> Question | None:
    """Whether zeroing without protection breaks harmless text, told by both intervals."""
    bare, kept_safe = (reported.row("none", "benign", control=c) for c in ("unprotected", "none"))
    harm = reported.row("none", "harm", control="unprotected")
    if bare is None or kept_safe is None or harm is None:
        return None
    broke = bool(bare["ci_low"] > kept_safe["ci_high"])
    options, right = among(
        (False, "Yes: what is less likely is gone"),
        (broke, "No: harmless text broke with it, and damage is not safety"),
        (True, "It is no different: protection changes nothing here"),
    )
    return Question(
        f"Without protection harmful answers move by {reads(harm)} nats per token. Is that the better mask?",
        options,
        right,
        f"Harmless answers move by {reads(bare)} without protection and by {reads(kept_safe)} with it. What a mask "
        "leaves alone counts as much as what it hits.",
    )


class _Fates(NamedTuple):
    """A sample of weights and what becomes of them, and how many are taken."""

    points: pd.DataFrame
    n_taken: int


def _fates(candidates: Candidates, q: float, p: float) -> _Fates | None:
    """The rule applied to the stored candidates; None where they do not settle it."""
    if p == 0 and ListKey(MEAN, "none", 0.0, "global") not in candidates.orders:
        return None
    try:
        chosen = select(candidates, Selection(candidates.categories, q=q, p=p)).global_index
    except SelectionInexact:
        return None
    taken = np.searchsorted(candidates.global_index, chosen)
    score, rank = candidates.score(MEAN), candidates.tail_count / candidates.table.n_weights
    fate = np.where(rank <= p, "protected", "not taken").astype(object)
    fate[taken] = "taken"
    kinds = ("not taken", "protected", "taken")
    drawn = np.concatenate([_spread(np.flatnonzero((fate == kind) & (score > 0))) for kind in kinds])
    points = pd.DataFrame({"utility_rank": rank[drawn], "harm_score": score[drawn], "fate": fate[drawn]})
    return _Fates(points, len(taken))


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most ``_SAMPLE`` of the rows, evenly spaced, the same every time."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(int))] if len(rows) > _SAMPLE else rows

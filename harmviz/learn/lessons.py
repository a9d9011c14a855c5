"""The six lessons of *Learn*: for each a heading, at most 90 words with the run's own numbers, and a picture's rows.

Pure functions; nothing here draws. A number that a run did not measure is left out of the sentence; a picture without
rows says so. The texts state what was measured and never assume which way it went.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from harmviz.claims.mapping.headline import UNCHOSEN, chosen_point
from harmviz.claims.mapping.reported import Reported, first_contrast, reads, value
from harmviz.claims.mapping.views import compare, overlap, overlap_words
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.errors import SelectionInexact
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


@dataclass(frozen=True)
class Lesson:
    """One step. ``table`` is empty where the run lacks the rows; ``extra`` is what else the picture needs."""

    heading: str
    body: str
    words: Words
    table: pd.DataFrame
    extra: float | None = None


def with_everything(run: Run) -> bool:
    """Whether the run has what the lessons draw from: chosen points, candidates and maps."""
    return {"candidates.safetensors", "maps.safetensors"} <= set(run.manifest["files"]) and chosen_point(
        run, "none"
    ) is not None


# -- 1 --------------------------------------------------------------------------------------------------------------
def _typical(run: Run) -> str:
    """The harm type scored on most prompts; by name where several are."""
    counts = run.manifest["data"]["counts"]
    scored = {
        c: sum(n for part, n in parts.items() if part.startswith("scoring"))
        for c, parts in counts.items()
        if text.is_harm(c)
    }
    return min(scored, key=lambda c: (-scored[c], c))


def scores(run: Run, results: pd.DataFrame, maps: Mapping[str, np.ndarray]) -> Lesson:
    """What a harm-generation weight is: the histogram of positive harm scores of one type."""
    category, n_scored = _typical(run), int(run.manifest["model"]["n_scored_weights"])
    counts = (
        maps[f"{category}/histogram"].sum(axis=0) if f"{category}/histogram" in maps else np.zeros(0, dtype=np.int64)
    )
    strongest = max(1, math.floor(UNCHOSEN.q * n_scored))
    bins = pd.DataFrame({"exponent": _LOWEST + _STEP * (np.arange(len(counts)) - 1), "count": counts})
    bins["strong"] = bins["count"][::-1].cumsum()[::-1] <= max(strongest, 1)
    bins = bins[bins["exponent"] >= _LOWEST].reset_index(drop=True)
    share = results[
        (results["experiment"] == "concentration")
        & (results["metric"] == "lorenz_share")
        & (results["mask"] == category)
    ]
    share = share[
        share["value"].notna() & (share["q"] >= UNCHOSEN.q * 0.999) & (share["n_weights"] >= 1).fillna(False)
    ].sort_values("q")
    held = ""
    if not share.empty:
        top = share.iloc[0]
        held = (
            f" The strongest {text.count(int(top['n_weights']))} hold {text.percent(float(top['value']))} of all positive score, "
            f"{top['value'] / top['q']:,.0f} times their share."
        )
    positive = int(counts.sum())
    name = text.set_name(category)
    body = (
        "Set one weight to zero, and the loss of an answer moves a little. A weight's harm score says by how much it rises for "
        f"harmful answers. For type {name}, {text.percent(positive / n_scored)} of {text.count(n_scored)} scored weights have a positive "
        f"score, and nearly all of it is tiny.{held} Harm-generation weights are sought among the few on the far right. A high score "
        "alone is no proof: harmless text may need the same weight."
    )
    return Lesson(
        "What is a harm-generation weight?",
        body,
        Words(
            "Nearly every harm score is tiny",
            f"Weights by positive harm score for {name}<br>n = {_n_scoring(run, category)} scoring prompts · vermilion: the strongest {text.percent(UNCHOSEN.q)}",
            "Each bar counts weights. Both axes are logarithmic: one line up is ten times as many weights. Vermilion bars lie wholly "
            "among the strongest. A histogram has no interval; what these weights do is measured in step 4.",
            f"Histogram of positive harm scores for {name}, both axes logarithmic",
        ),
        bins if positive else bins.iloc[:0],
    )


def _n_scoring(run: Run, category: str) -> int:
    return sum(n for part, n in run.manifest["data"]["counts"][category].items() if part.startswith("scoring"))


# -- 2 --------------------------------------------------------------------------------------------------------------
def _spread(rows: np.ndarray) -> np.ndarray:
    """At most ``_SAMPLE`` of the rows, evenly spaced, the same every time."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(int))] if len(rows) > _SAMPLE else rows


def finding(run: Run, reported: Reported, candidates: Candidates | None) -> Lesson:
    """How the weights are found: harm score against utility rank, at the point chosen for the plain selection."""
    point = chosen_point(run, "none") or UNCHOSEN
    p, found = (
        point.p,
        None if candidates is None else _fates(candidates, point.q, point.p),
    )
    lost = ""
    if found is not None and found.highest_protected is not None:
        lost = f" Of the {text.count(found.n_taken)} highest harm scores, {text.count(found.highest_protected)} are protected for that reason."
    if (broken := reported.row("none", "benign", control="unprotected")) is not None:
        lost += f" Zeroing the highest scores without protection moves the loss of harmless answers by {reads(broken, 1)} nats."
    taken = "those" if found is None else f"the {text.count(found.n_taken)}"
    body = (
        "Every weight gets two numbers: a harm score from harmful answers, and a utility score from harmless ones. The top "
        f"{text.percent(p)} by utility are protected, because harmless text needs them most.{lost} Of the rest, {taken} "
        "with the highest harm score become the mask: the list of weights to set to zero."
    )
    return Lesson(
        "How are they found?",
        body,
        Words(
            "Right of the line, from the top down",
            f"A sample of the strongest weights, mean of all types, as in the paper<br>dashed: {text.percent(p)} protected · taken: {taken.removeprefix('the ')} weights",
            f"Each dot is a weight; at most {_SAMPLE} of each colour are drawn. Left of the dashed line a weight is protected. Right of it, "
            "the mask takes the highest. Weaker weights than these exist in great numbers and are not drawn.",
            "Scatter plot of harm score over rank by utility, with the protected zone on the left",
        ),
        pd.DataFrame() if found is None else found.points,
        p,
    )


class _Fates(NamedTuple):
    """A sample of weights and what becomes of them; how many are taken; how many of as many highest scores are protected."""

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
    kept = np.concatenate(
        [_spread(np.flatnonzero((fate == f) & (score > 0))) for f in ("not taken", "protected", "taken")]
    )
    points = pd.DataFrame({"utility_rank": rank[kept], "harm_score": score[kept], "fate": fate[kept]})
    top = candidates.orders.get(ListKey(MEAN, "none", 0.0, "global"))
    return _Fates(points, len(taken), None if top is None else int(np.sum(rank[top[: len(taken)]] <= p)))


# -- 3 --------------------------------------------------------------------------------------------------------------
def controls(run: Run, reported: Reported) -> Lesson:
    """What a control is: the mask beside five masks of equal size, on harmful and on harmless answers."""
    contrast = first_contrast(run)
    lines = []
    for control, label in _CONTROLS.items():
        for category in ("harm", "benign"):
            if (row := reported.row(contrast, category, control=control)) is not None:
                facts = row[["value", "ci_low", "ci_high", "n", "q", "p", "n_weights", "unit"]].to_dict()
                lines.append(
                    {"label": label, "control": control, "category": category, "harm": text.is_harm(category), **facts}
                )
    table = pd.DataFrame(lines)
    own, drawn, benign = (reported.row(contrast, "harm", control=c) for c in ("none", "random", "benign_signed"))
    other = reported.row(contrast, "benign", control="benign_signed")
    body = (
        "Zeroing weights may just do damage. A control is a mask of the same size that was chosen without looking at harm. "
        f"Here the mask moves harmful answers by {reads(own, 3)} nats per token; random weights: {reads(drawn, 3)}. A benign-signed "
        f"mask, found on harmless answers in the same way, moves harmful ones by {reads(benign)} and harmless ones by {reads(other)}. "
        "A finding needs a vermilion dot right of the random and matched controls, and well right of its own blue dot."
    )
    size = (
        ""
        if own is None
        else f"{text.fraction_of(int(own['n_weights']), run.manifest['model']['n_scored_weights'])} each · "
    )
    return Lesson(
        "What is a control?",
        body,
        Words(
            "The same number of weights, chosen otherwise",
            f"{size}{selector_words(contrast).short} selection<br>ΔL in nats per token, 95 % intervals, report prompts",
            "Right of the line: without these weights that text is less likely. Drawn controls (random, magnitude-matched, "
            "utility-matched) are means over several draws on a third of the prompts.",
            "Dot plot of loss shifts on harmful and harmless answers under the mask and five controls",
        ),
        table,
    )


# -- 4 --------------------------------------------------------------------------------------------------------------
def pruning(run: Run, results: pd.DataFrame, reported: Reported, contrast: str) -> Lesson:
    """What pruning showed: ΔL over q on validation prompts, and the chosen point's numbers on report prompts."""
    point = chosen_point(run, contrast)
    levels = compare.measured_p([run], [results], contrast)
    p = point.p if point and point.p in levels else (levels[0] if levels else math.nan)
    table = compare.curve_table([run], [results], contrast, p) if levels else pd.DataFrame()
    harm, safe, benign = (reported.row(contrast, c) for c in ("harm", "safe", "benign"))
    shown = {"harm": "harmful answers", "safe": "same-topic safe", "benign": "harmless, by others"}
    table = table if table.empty else table.assign(label=table["set"].map(shown))
    size = (
        ""
        if harm is None
        else f" ({text.fraction_of(int(harm['n_weights']), run.manifest['model']['n_scored_weights'])})"
    )
    body = (
        f"The more weights are zeroed, the more the loss moves. Validation prompts chose how many: the dashed line{size}. "
        "Held-out prompts then gave, in nats per token: "
        f"harmful answers {reads(harm)}, same-topic safe answers {reads(safe)}, harmless answers by others {reads(benign)}. "
        "The first is the effect; how far it stands above the other two says how much is about harm."
    )
    n = {} if table.empty else {str(c): int(g["n"].max()) for c, g in table.groupby("set", sort=False)}
    return Lesson(
        "What did pruning show?",
        body,
        Words(
            f"{'Contrastive' if contrast == 'both' else 'As in the paper'}: ΔL as more weights are zeroed",
            "validation prompts, 95 % intervals"
            + ("" if not n else f"<br>{text.percent(p)} protected · n: " + ", ".join(f"{c} {v}" for c, v in n.items())),
            "Dots are measurements, thin lines only join them, bars are 95 % intervals. Dashed: the chosen share. These prompts chose "
            "it, so the numbers that count are those of the held-out prompts in the text.",
            "Line chart of loss shifts over the fraction pruned, for harmful, same-topic safe and benign answers",
        ),
        table,
        None if point is None else point.q,
    )


# -- 5 --------------------------------------------------------------------------------------------------------------
def sharing(run: Run, results: pd.DataFrame) -> Lesson:
    """Whether the types are one thing: like-with-like overlap of the plain selection's masks."""
    heading = "Is it one set for every type of harm?"
    found = (
        overlap.overlap_at(results, "none", stored["none"][-1])
        if (stored := overlap.points(results)).get("none")
        else None
    )
    if found is None or len(found.categories) < 2:
        nothing = Words("Not measured", "", "", "")
        return Lesson(
            heading,
            "This run scored too few types, or stored no overlap, so that the question is open here.",
            nothing,
            pd.DataFrame(),
        )
    table = overlap.comparison(found)
    mean = {g: float(v) for g, v in table.groupby("kind")["value"].mean().items()}
    texts = {b: found.half_mean(b) for b in found.baselines}
    shown = {"safe": "same-topic safe answers", "benign": "harmless answers by others"}
    others = " and ".join(f"{_share(v)} with {shown[b]}" for b, v in texts.items() if not math.isnan(v))
    body = (
        "If all harm hung on one set, the masks of two types would hold the same weights. Jaccard is the weights in both masks "
        f"divided by the weights in either. Two harm types reach {_share(mean.get('harm'))} on average, {_share(mean.get('chance'))} by chance. "
        f"But a type reaches only {_share(mean.get('ceiling'))} with itself on other prompts, the ceiling, and a harm type reaches {others}. "
        f"{overlap_words.sentence(found)}."
    )
    return Lesson(
        heading,
        body,
        Words(
            "How much do two masks share?",
            f"top {text.percent(found.q)} of each type, as in the paper\n{text.percent(found.p)} protected · masks from half the answers each",
            "Each dot is a pair of masks; its line is the range over the pairings of halves, not an interval. Ink tick: the mean. "
            "Vermilion right of blue would mean that harm shares what other text does not.",
            "Strip chart of overlaps: harm with harm, with harmless text, the ceiling and chance",
        ),
        table,
    )


def _share(value: float | None) -> str:
    return text.NOT_MEASURED if value is None or math.isnan(value) else text.percent(value)


# -- 6 --------------------------------------------------------------------------------------------------------------
def limits(reported: Reported) -> Lesson:
    """What pruning does not show: the harm-specific part of both selections, and what the mask costs."""
    lines = []
    wanted = (
        ("none", "harm", "harm_specific", "as in the paper: harm minus safe"),
        ("both", "harm", "harm_specific", "contrastive: harm minus safe"),
        ("none", "benign_own", "delta_nll", "as in the paper: own answers"),
        ("both", "benign_own", "delta_nll", "contrastive: own answers"),
    )
    for contrast, category, metric, label in wanted:
        if (row := reported.row(contrast, category, metric)) is not None:
            drawn = reported.row(contrast, category, metric, control="random")
            lines.append(
                {
                    "label": label,
                    "category": category,
                    "metric": metric,
                    "contrast": contrast,
                    "harm": text.is_harm(category),
                    **row[["value", "ci_low", "ci_high", "n", "q", "p", "n_weights", "unit"]].to_dict(),
                    "control": math.nan if drawn is None else float(drawn["value"]),
                }
            )
    parts = []
    for contrast, name in (("none", "As in the paper"), ("both", "Contrastive")):
        if (row := reported.row(contrast, "harm", "harm_specific")) is not None:
            verdict = (
                "which includes 0: it is not specific to harm here"
                if row["ci_low"] <= 0 <= row["ci_high"]
                else "clear of 0"
            )
            parts.append(
                f"{name}, harm minus same-topic safe is {text.signed(float(row['value']), 3)} ({text.interval(row['ci_low'], row['ci_high'], 3)}), {verdict}."
            )
    if (own := reported.row("both", "benign_own")) is not None:
        parts.append(f"The contrastive mask has a cost: the model's own harmless answers move by {reads(own)}.")
    body = (
        "A higher loss is no proof of safety. These texts became less likely, for this model and this data. "
        + " ".join(parts)
        + " Intervals cover the choice of prompts to measure on, not the choice of prompts to score on."
    )
    return Lesson(
        "What does it not show?",
        body,
        Words(
            "How much is about harm, and what does it cost?",
            "ΔL in nats per token at the chosen points, 95 % intervals<br>report prompts · ring: random mask of equal size",
            "Vermilion: the part of the effect that same-topic harmless text does not share; a bar that crosses the line cannot be told "
            "from nothing. Blue: what the model's own harmless answers lose.",
            "Dot plot of the harm-specific effect and of the cost on own answers, for both selections",
        ),
        pd.DataFrame(lines),
    )


# -- check yourself -------------------------------------------------------------------------------------------------
def questions(run: Run, reported: Reported) -> list[tuple[str, str]]:
    """Three questions with their answers, from the run's numbers; those that it cannot answer are left out."""
    best = first_contrast(run)
    harm, drawn, plain, safe = (
        reported.row(best, "harm"),
        reported.row(best, "harm", control="random"),
        reported.row("none", "harm"),
        reported.row("none", "safe"),
    )
    specific = reported.row("none", "harm", "harm_specific")
    found = []
    if harm is not None and drawn is not None:
        found.append(
            (
                f"A random mask of {text.count(int(harm['n_weights']))} weights moves harmful answers by {value(drawn, 3)} nats, the mask by {value(harm, 3)}. Is the effect about harm?",
                "Not yet. It shows that it matters which weights are zeroed, and not only how many. Whether the effect is about harm is asked "
                "by the same-topic safe answers: harm minus safe must be clear of 0.",
            )
        )
    if plain is not None and safe is not None and specific is not None:
        clear = specific["ci_low"] > 0 or specific["ci_high"] < 0
        found.append(
            (
                f"Selected as in the paper, the mask moves harmful answers by {reads(plain, 3)} and same-topic safe answers by {reads(safe, 3)}. What has it found?",
                f"The difference is {reads(specific, 3)}. "
                + (
                    "Its interval is clear of 0: the two kinds of text are not hit alike."
                    if clear
                    else "Its interval includes 0: on this model these weights support text on such topics, harmful or not. Without the safe answers as a control it would have looked like a finding."
                ),
            )
        )
    if harm is not None:
        kept = math.exp(-float(harm["value"]))
        found.append(
            (
                f"The loss of harmful answers moved by {value(harm)} nats per token. How much less likely is each token, and is the model safe now?",
                f"exp(−ΔL) = {kept:.2f}: on (geometric) average a token of those answers keeps {text.percent(kept)} of its probability. "
                "That is no proof of safety: other harmful answers may stay as likely as before, and nothing here made the model refuse.",
            )
        )
    return found

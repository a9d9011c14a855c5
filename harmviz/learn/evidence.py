"""Steps 4 to 6: how many weights to prune, a control instead, and the same topics without harm. Nothing draws."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from harmviz.claims.mapping.headline import chosen_point
from harmviz.claims.mapping.reported import Reported, first_contrast, reads
from harmviz.claims.mapping.views import compare
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.learn.lesson import Lesson, Question, among, kept, listed, one_in
from harmviz.runs import Run
from harmviz.runs.point import selector_words

SETS = {"harm": "harmful answers", "safe": "same-topic safe", "benign": "harmless, by others"}
CONTROLS = {
    "none": "the mask itself",
    "random": "random",
    "magnitude": "magnitude-matched",
    "utility": "utility-matched",
    "benign_signed": "benign-signed",
    "safe_signed": "safe-signed",
}
#: Where a control's weights come from, after "as many weights".
_FROM = {
    "random": "drawn at random",
    "magnitude": "of the same size, drawn at random",
    "utility": "that harmless text needs as much",
    "benign_signed": "found on harmless answers by the same rule",
    "safe_signed": "found on harmless answers on the same topics by the same rule",
}


# -- 4 --------------------------------------------------------------------------------------------------------------
def curve(run: Run, results: pd.DataFrame) -> pd.DataFrame:
    """ΔL over q on validation prompts, for the selection and protection that the course shows; empty without rows.

    ``kept, kept_low, kept_high``: exp(−ΔL), the factor on a token's probability (geometric mean).
    """
    contrast = first_contrast(run)
    levels, point = compare.measured_p([run], [results], contrast), chosen_point(run, contrast)
    if not levels:
        return pd.DataFrame()
    p = point.p if point is not None and point.p in levels else levels[0]
    table = compare.curve_table([run], [results], contrast, p)
    shares = {
        name: np.exp(-table[column])
        for name, column in (("kept", "value"), ("kept_low", "ci_high"), ("kept_high", "ci_low"))
    }
    return table.assign(label=table["set"].map(SETS), **shares)


def pruning(run: Run, reported: Reported, table: pd.DataFrame, q: float | None = None) -> Lesson:
    """What pruning does: how much of its probability a token keeps as more weights are zeroed."""
    contrast = first_contrast(run)
    point, n_scored = chosen_point(run, contrast), int(run.manifest["model"]["n_scored_weights"])
    said, subtitle = "", "validation prompts, 95 % intervals"
    if not table.empty:
        q = q if q is not None else float(table["q"].max())
        here = table[np.isclose(table["q"], q)].set_index("set")
        n = int(here["n_weights"].iloc[0])
        texts = {"harm": "a harmful answer", "safe": "a safe answer on the same topics", "benign": "a harmless one"}
        parts = [f"a token of {words} {kept(here.loc[s, 'value'])}" for s, words in texts.items() if s in here.index]
        share = f"{text.count(n)} weights, {one_in(n / n_scored)}" if n else "no weight"
        said = f"Zeroed: {share}. Then {listed(parts)}."
        counts = ", ".join(f"{c} {int(part['n'].max())}" for c, part in table.groupby("label", sort=False))
        subtitle += f"<br>n: {counts}"
    body = (
        "Zero the weights with the highest scores, and read the same answers again. Nothing is retrained; each token "
        "is just more or less likely than it was. Prune more, and watch how likely a token stays."
    )
    return Lesson(
        "Prune, and watch a token's probability",
        body,
        said,
        Words(
            "What a token keeps of its probability",
            subtitle,
            "exp(−ΔL), the factor on a token's probability (geometric mean). Dots are measurements, thin lines only "
            "join them, bars are 95 % intervals. Dashed: where you are.",
            "Line chart of the probability a token keeps over the share of weights zeroed, by kind of text",
        ),
        table,
        _about_chosen(reported, contrast),
        q if q is not None else None if point is None else point.q,
    )


def _about_chosen(reported: Reported, contrast: str) -> Question | None:
    """Which kind of text lost most at the chosen point, on report prompts."""
    rows = {s: reported.row(contrast, s) for s in SETS}
    shifts = {s: float(row["value"]) for s, row in rows.items() if row is not None}
    if len(shifts) < len(SETS):
        return None
    most = max(shifts, key=shifts.__getitem__)
    numbers = listed([f"{SETS[s]} {reads(rows[s])}" for s in SETS])
    return Question(
        "At the point that validation prompts chose, held-out prompts were measured. Which text became least likely?",
        tuple(words[0].upper() + words[1:] for words in SETS.values()),
        list(SETS).index(most),
        f"In nats per token: {numbers}. (+0.69 would be half as likely.)",
    )


# -- 5 --------------------------------------------------------------------------------------------------------------
def offered_controls(reported: Reported, contrast: str) -> list[str]:
    """The masks of equal size that this run measured on harmful answers, the mask itself first."""
    return [c for c in CONTROLS if reported.row(contrast, "harm", control=c) is not None]


def swap(run: Run, reported: Reported, control: str = "none") -> Lesson:
    """What a control is: the mask's effect, beside that of as many weights chosen otherwise."""
    contrast = first_contrast(run)
    mask, harm, benign = (
        reported.row(contrast, category, control=c)
        for category, c in (("harm", "none"), ("harm", control), ("benign", control))
    )
    said = ""
    if harm is not None:
        who = "Without the mask's weights" if control == "none" else f"Without as many weights {_FROM[control]}"
        other = "" if benign is None else f", one of a harmless answer {kept(benign['value'])}"
        said = f"{who}, a token of a harmful answer {kept(harm['value'])}{other} (ΔL harmful {reads(harm)})."
    body = (
        "Zeroing weights may simply do damage. A control tells: a mask of the same size that was chosen without "
        "looking at harm. Swap the mask for random weights, then for others. What stays of the effect?"
    )
    size, n_scored = "", run.manifest["model"]["n_scored_weights"]
    if mask is not None:
        size = f"{text.fraction_of(int(mask['n_weights']), n_scored)} each · "
    return Lesson(
        "Swap the mask for a random one",
        body,
        said,
        Words(
            "The same number of weights, chosen otherwise",
            f"{size}{selector_words(contrast).short} selection<br>ΔL in nats per token, 95 % intervals, report prompts",
            "Right of the line: without these weights that text is less likely. Drawn controls (random, "
            "magnitude-matched, utility-matched) are means over several draws on a third of the prompts.",
            "Dot plot of loss shifts on harmful and harmless answers under the mask and a control",
        ),
        _control_table(reported, contrast),
        _about_size(reported, contrast),
        shown=control,
    )


def _control_table(reported: Reported, contrast: str) -> pd.DataFrame:
    lines = []
    for control, label in CONTROLS.items():
        for category in ("harm", "benign"):
            if (row := reported.row(contrast, category, control=control)) is not None:
                measured = row[["value", "ci_low", "ci_high", "n", "q", "p", "n_weights", "unit"]].to_dict()
                harm = text.is_harm(category)
                lines.append({"label": label, "control": control, "category": category, "harm": harm, **measured})
    return pd.DataFrame(lines)


def _about_size(reported: Reported, contrast: str) -> Question | None:
    mask, random = (reported.row(contrast, "harm", control=c) for c in ("none", "random"))
    if mask is None or random is None:
        return None
    options, right = among(
        (mask["ci_low"] > random["ci_high"], "That it matters which weights are zeroed, not only how many"),
        (False, "That the mask is about harm, and about nothing else"),
        (True, "Nothing: random weights do as much"),
    )
    return Question(
        f"As many random weights move harmful answers by {reads(random, 3)} nats, the mask by {reads(mask, 3)}. What "
        "does that show?",
        options,
        right,
        "A random control speaks about the number of weights alone. Whether an effect is about harm is asked by other "
        "texts on the same topics: that is the next step.",
    )


# -- 6 --------------------------------------------------------------------------------------------------------------
def topic(run: Run, reported: Reported, contrast: str) -> Lesson:
    """Topic or harm: the effect on harmful answers beside that on safe answers to the same kind of request."""
    rows = {
        "harmful answers": reported.row(contrast, "harm"),
        "same-topic safe": reported.row(contrast, "safe"),
        "harmless, by others": reported.row(contrast, "benign"),
        "harm minus safe": reported.row(contrast, "harm", "harm_specific"),
    }
    lines = []
    for label, row in rows.items():
        if row is not None:
            random = reported.row(contrast, str(row["category"]), str(row["metric"]), control="random")
            measured = row[["metric", "category", "value", "ci_low", "ci_high", "n", "q", "p", "n_weights", "unit"]]
            control = math.nan if random is None else float(random["value"])
            harm = text.is_harm(str(row["category"]))
            lines.append({"label": label, "harm": harm, **measured.to_dict(), "control": control})
    specific, said = rows["harm minus safe"], ""
    if specific is not None:
        reach = "includes 0: topic, for all that is known" if _includes_0(specific) else "is clear of 0"
        said = (
            f"Selected {selector_words(contrast).short}, harm minus same-topic safe is {reads(specific, 3)}; the "
            f"interval {reach}."
        )
    body = (
        "A text about poison shares words with one about poison control. So every kind of harmful answer has "
        "neighbours: safe answers to such requests. What hits both alike is about the topic. Select weights the other "
        "way: which mask tells the two apart?"
    )
    return Lesson(
        "Harm, or just the topic?",
        body,
        said,
        Words(
            f"{selector_words(contrast).heading}: harmful text against its neighbours",
            "ΔL in nats per token at the chosen point, 95 % intervals<br>report prompts · ring: random mask",
            "Vermilion: harmful answers, and what of their effect same-topic safe answers do not share. Blue: harmless "
            "ones. A bar that crosses the line cannot be told from nothing.",
            "Dot plot of loss shifts on harmful, same-topic safe and harmless answers, and of harm minus safe",
        ),
        pd.DataFrame(lines),
        _about_topic(reported),
    )


def _includes_0(row: pd.Series) -> bool:
    return bool(row["ci_low"] <= 0 <= row["ci_high"])


def _about_topic(reported: Reported) -> Question | None:
    harm, safe = reported.row("none", "harm"), reported.row("none", "safe")
    specific = reported.row("none", "harm", "harm_specific")
    if harm is None or safe is None or specific is None:
        return None
    options, right = among(
        (_includes_0(specific), "That these weights support text on such topics, harmful or not"),
        (specific["ci_low"] > 0, "Weights that harmful text needs more than safe text on the same topics"),
        (True, "Weights that safe text needs more than harmful text"),
    )
    return Question(
        f"Selected as in the paper, the mask moves harmful answers by {reads(harm, 3)} and same-topic safe answers by "
        f"{reads(safe, 3)}. What has it found?",
        options,
        right,
        f"The difference is {reads(specific, 3)}. Without the safe answers as a control it would look like a finding "
        "about harm.",
    )

"""The last three lessons: what pruning showed, whether all types hang on one set, what it does not show. Pure."""

from __future__ import annotations

import math

import pandas as pd

from harmviz.claims.mapping.headline import chosen_point
from harmviz.claims.mapping.reported import Reported, reads
from harmviz.claims.mapping.views import compare, overlap, overlap_words
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.learn.lesson import Lesson
from harmviz.runs import Run
from harmviz.runs.point import selector_words

_CURVES = {"harm": "harmful answers", "safe": "same-topic safe", "benign": "harmless, by others"}
_SELECTIONS = ("none", "both")


# -- 4 --------------------------------------------------------------------------------------------------------------
def pruning(run: Run, results: pd.DataFrame, reported: Reported, contrast: str) -> Lesson:
    """What pruning showed: ΔL over q on validation prompts, and the chosen point's numbers on report prompts."""
    point = chosen_point(run, contrast)
    levels = compare.measured_p([run], [results], contrast)
    p = point.p if point and point.p in levels else (levels[0] if levels else math.nan)
    table = compare.curve_table([run], [results], contrast, p) if levels else pd.DataFrame()
    harm, safe, benign = (reported.row(contrast, c) for c in ("harm", "safe", "benign"))
    size = ""
    if harm is not None:
        size = f" ({text.fraction_of(int(harm['n_weights']), run.manifest['model']['n_scored_weights'])})"
    body = (
        "The more weights are zeroed, the more the loss moves. Validation prompts chose how many: the dashed "
        f"line{size}. Held-out prompts then gave, in nats per token: harmful answers {reads(harm)}, same-topic safe "
        f"answers {reads(safe)}, harmless answers by others {reads(benign)}. The first is the effect; how far it "
        "stands above the other two says how much is about harm."
    )
    subtitle = "validation prompts, 95 % intervals"
    if not table.empty:
        table = table.assign(label=table["set"].map(_CURVES))
        counts = ", ".join(f"{c} {int(part['n'].max())}" for c, part in table.groupby("set", sort=False))
        subtitle += f"<br>{text.percent(p)} protected · n: {counts}"
    return Lesson(
        "What did pruning show?",
        body,
        Words(
            f"{selector_words(contrast).heading}: ΔL as more weights are zeroed",
            subtitle,
            "Dots are measurements, thin lines only join them, bars are 95 % intervals. Dashed: the chosen share. "
            "These prompts chose it, so the numbers that count are those of the held-out prompts in the text.",
            "Line chart of loss shifts over the fraction pruned, for harmful, same-topic safe and benign answers",
        ),
        table,
        None if point is None else point.q,
    )


# -- 5 --------------------------------------------------------------------------------------------------------------
def sharing(run: Run, results: pd.DataFrame) -> Lesson:
    """Whether the types are one thing: like-with-like overlap of the plain selection's masks."""
    heading = "Is it one set for every type of harm?"
    fractions = overlap.points(results).get("none")
    shared = overlap.overlap_at(results, "none", fractions[-1]) if fractions else None
    if shared is None or len(shared.categories) < 2:
        body = "This run scored too few types, or stored no overlap, so that the question is open here."
        return Lesson(heading, body, Words("Not measured", "", "", ""), pd.DataFrame())
    table = overlap.comparison(shared)
    mean = {str(kind): float(v) for kind, v in table.groupby("kind")["value"].mean().items()}
    texts = {"safe": "same-topic safe answers", "benign": "harmless answers by others"}
    halves = {words: shared.half_mean(b) for b, words in texts.items() if b in shared.baselines}
    others = " and ".join(f"{_share(value)} with {words}" for words, value in halves.items() if not math.isnan(value))
    body = (
        "If all harm hung on one set, the masks of two types would hold the same weights. Jaccard is the weights in "
        f"both masks divided by the weights in either. Two harm types reach {_share(mean.get('harm'))} on average, "
        f"{_share(mean.get('chance'))} by chance. But a type reaches only {_share(mean.get('ceiling'))} with itself on "
        f"other prompts, the ceiling, and a harm type reaches {others}. {overlap_words.sentence(shared)}."
    )
    return Lesson(
        heading,
        body,
        Words(
            "How much do two masks share?",
            f"top {text.percent(shared.q)} of each type, as in the paper\n"
            f"{text.percent(shared.p)} protected · masks from half the answers each",
            "Each dot is a pair of masks; its line is the range over the pairings of halves, not an interval. Ink "
            "tick: the mean. Vermilion right of blue would mean that harm shares what other text does not.",
            "Strip chart of overlaps: harm with harm, with harmless text, the ceiling and chance",
        ),
        table,
    )


def _share(value: float | None) -> str:
    return text.NOT_MEASURED if value is None or math.isnan(value) else text.percent(value)


# -- 6 --------------------------------------------------------------------------------------------------------------
def limits(reported: Reported) -> Lesson:
    """What pruning does not show: the harm-specific part of both selections, and what the mask costs."""
    parts = []
    for contrast in _SELECTIONS:
        if (row := reported.row(contrast, "harm", "harm_specific")) is not None:
            includes_0 = row["ci_low"] <= 0 <= row["ci_high"]
            verdict = "which includes 0: it is not specific to harm here" if includes_0 else "clear of 0"
            interval = text.interval(row["ci_low"], row["ci_high"], 3)
            parts.append(
                f"{selector_words(contrast).heading}, harm minus same-topic safe is "
                f"{text.signed(float(row['value']), 3)} ({interval}), {verdict}. "
            )
    if (cost := reported.row("both", "benign_own")) is not None:
        parts.append(f"The contrastive mask has a cost: the model's own harmless answers move by {reads(cost)}. ")
    body = (
        "A higher loss is no proof of safety. These texts became less likely, for this model and this data. "
        f"{''.join(parts)}Intervals cover the choice of prompts to measure on, not the choice of prompts to score on."
    )
    return Lesson(
        "What does it not show?",
        body,
        Words(
            "How much is about harm, and what does it cost?",
            "ΔL in nats per token at the chosen points, 95 % intervals<br>"
            "report prompts · ring: random mask of equal size",
            "Vermilion: the part of the effect that same-topic harmless text does not share; a bar that crosses the "
            "line cannot be told from nothing. Blue: what the model's own harmless answers lose.",
            "Dot plot of the harm-specific effect and of the cost on own answers, for both selections",
        ),
        _limit_table(reported),
    )


def _limit_table(reported: Reported) -> pd.DataFrame:
    lines = []
    wanted = {"harm minus safe": ("harm", "harm_specific"), "own answers": ("benign_own", "delta_nll")}
    for words, (category, metric) in wanted.items():
        for contrast in _SELECTIONS:
            if (row := reported.row(contrast, category, metric)) is None:
                continue
            random = reported.row(contrast, category, metric, control="random")
            lines.append(
                {
                    "label": f"{selector_words(contrast).short}: {words}",
                    "category": category,
                    "metric": metric,
                    "contrast": contrast,
                    "harm": text.is_harm(category),
                    **row[["value", "ci_low", "ci_high", "n", "q", "p", "n_weights", "unit"]].to_dict(),
                    "control": math.nan if random is None else float(random["value"]),
                }
            )
    return pd.DataFrame(lines)

"""Steps 7 to 9: one set for all harm or several, what it changes in words, what it does not show. Nothing draws."""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

import pandas as pd

from harmviz.claims.mapping.reported import Reported, first_contrast, reads
from harmviz.claims.mapping.views import overlap, overlap_words
from harmviz.claims.scene import finding as scenes
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.learn.lesson import Lesson, Question, among
from harmviz.runs import Run
from harmviz.runs.point import selector_words
from harmviz.stats.estimate import Estimate

#: In place of a harm type: all of them.
EVERY = "every"
SETS = scenes.SETS
_SELECTIONS = ("none", "both")


# -- 7 --------------------------------------------------------------------------------------------------------------
def overlap_of(results: pd.DataFrame) -> overlap.Overlap | None:
    """The overlap of the plain selection's masks at the largest stored q; None with fewer than two types."""
    fractions = overlap.points(results).get("none")
    shared = overlap.overlap_at(results, "none", fractions[-1]) if fractions else None
    return None if shared is None or len(shared.categories) < 2 else shared


def sharing(shared: overlap.Overlap | None, category: str | None = None) -> Lesson:
    """Whether the types are one thing: like-with-like overlap of all masks, or of one type's with the others."""
    heading = "One set for every kind of harm?"
    if shared is None:
        body = "This run scored too few types, or stored no overlap, so that the question is open here."
        return Lesson(heading, body, "", Words("Not measured", "", "", ""), pd.DataFrame())
    table = overlap.comparison(shared)
    if category is not None:
        table = table[(table["a"] == category) | (table["b"] == category)]
        table = table.assign(mean=table.groupby("group")["value"].transform("mean"))
        table["mean_text"] = "mean " + table["mean"].map(_share)
    mean = {str(kind): float(v) for kind, v in table.groupby("kind")["value"].mean().items()}
    who = "Two harm types" if category is None else f"{text.set_name(category).capitalize()} and another type"
    said = (
        f"{who} share {_share(mean.get('harm'))} of their weights, {_share(mean.get('chance'))} by chance, and "
        f"{_share(mean.get('text'))} with harmless text. {overlap_words.sentence(shared)}."
    )
    body = (
        "If all harm hung on one set of weights, the masks of two harm types would hold the same ones, up to a "
        "ceiling: what one type shares with itself on other prompts. Harmless text may share as much. Pick a type, and "
        "compare."
    )
    return Lesson(
        heading,
        body,
        said,
        Words(
            "How much do two masks share?",
            f"top {text.percent(shared.q)} of each type, as in the paper\n"
            f"{text.percent(shared.p)} protected · masks from half the answers each",
            "Each dot is a pair of masks; its line is the range over the pairings of halves, not an interval. Ink "
            "tick: the mean. Vermilion right of blue would mean that harm shares what other text does not.",
            "Strip chart of overlaps: harm with harm, with harmless text, the ceiling and chance",
        ),
        table,
        _about_sharing(shared),
    )


def _about_sharing(shared: overlap.Overlap) -> Question | None:
    harm = shared.half_mean("harm")
    texts = {b: shared.half_mean(b) for b in shared.baselines}
    measured = {b: v for b, v in texts.items() if not math.isnan(v)}
    if math.isnan(harm) or not measured:
        return None
    most, ceilings = max(measured.values()), [v for v in shared.ceiling.values() if not math.isnan(v)]
    ceiling = sum(ceilings) / len(ceilings) if ceilings else math.nan
    options, right = among(
        (harm > most and harm >= 0.9 * ceiling, "Yes: two types share all that can be shared"),
        (harm > most, "In part: more with each other than with harmless text, and less than the ceiling"),
        (True, "No sign of it: they share no more with each other than with harmless text"),
    )
    return Question(
        "Do the masks of two harm types share something that is about harm?",
        options,
        right,
        f"On average two harm types share {_share(harm)}, a harm type and harmless text up to {_share(most)}; a type "
        f"with itself {_share(ceiling)}. These are means of pairs; the page behind has every pair and its limits.",
    )


def _share(value: float | None) -> str:
    return text.NOT_MEASURED if value is None or math.isnan(value) else text.percent(value)


# -- 8 --------------------------------------------------------------------------------------------------------------
def asked_sets(scene: Run | None) -> list[str]:
    """The sets of requests that a stage scene measured, the one it quotes first."""
    return [] if scene is None else [str(s) for s in scene.manifest["parameters"]["sources"]]


def in_words(scene: Run | None, results: pd.DataFrame, asked: str | None = None) -> Lesson:
    """What it changes in words: how many requests the model declines, intact, pruned, and with random weights off."""
    heading = "Does the model answer differently?"
    opener = "" if scene is None else f" (“{scene.manifest['parameters']['opener']}”)"
    body = (
        f"So far texts were only read. Now the model writes. Words put into its mouth{opener} talk it into answering. "
        "Zero the weights: does it turn them away again? Do as many random weights do the same? Choose the requests."
    )
    if scene is None or not asked_sets(scene):
        return Lesson(heading, body, "", Words("Not measured", "", "", ""), pd.DataFrame())
    first = scenes.numbers(scene, results, asked=asked)
    lines = []
    for other in asked_sets(scene):
        shown = scenes.numbers(scene, results, asked=other)
        for state, rate in (("intact", shown.intact), ("mask", shown.mask), ("random", shown.random)):
            if rate is not None:
                lines.append({"set": other, "label": _asked(other), "state": state, **_row(rate)})
    table = pd.DataFrame(lines)
    chosen = scene.manifest["method"]["chosen"]
    size = text.fraction_of(int(chosen["n_weights"]), int(scene.manifest["model"]["n_scored_weights"]))
    said = ""
    if first.intact is not None and first.mask is not None:
        control = "" if first.random is None else f"; without as many random ones {scenes.count(first.random)}"
        said = (
            f"Of {_asked(first.asked)}, talked into answering, {scene.model_name} {first.reading.verb} "
            f"{scenes.count(first.intact)}; without these weights {scenes.count(first.mask)}{control}."
        )
    return Lesson(
        heading,
        body,
        said,
        Words(
            f"Requests that the model {first.reading.verb}",
            f"{escape(scene.model_name)} · {size}<br>95 % intervals over requests · {first.reading.short}",
            f"Further right: more requests {first.reading.past}. Ink: as it is. Vermilion: without the weights. "
            "Grey: without as many random ones. Where vermilion stays with ink it does not hold.",
            f"Dot plot of the share of requests {first.reading.past}, intact, pruned and with random weights pruned",
        ),
        table[table["set"] == first.asked].reset_index(drop=True) if len(table) else table,
        _about_sets(scene, results),
    )


def _asked(source: str) -> str:
    return scenes.SETS.get(source, source)


def _row(rate: Estimate) -> dict[str, float | int | None]:
    return {"value": rate.value, "ci_low": rate.ci_low, "ci_high": rate.ci_high, "n": rate.n}


def _about_sets(scene: Run, results: pd.DataFrame) -> Question | None:
    """On how many of the sets the mask's interval lies above the intact model's value and the random control's."""
    clear: dict[str, bool] = {}
    for source in asked_sets(scene):
        shown = scenes.numbers(scene, results, asked=source)
        if shown.intact is None or shown.mask is None or shown.mask.ci_low is None:
            return None
        others = [shown.intact.value] + ([] if shown.random is None else [shown.random.value])
        clear[source] = shown.mask.ci_low > max(others)
    if not clear:
        return None
    options, right = among(
        (all(clear.values()), "On every set of requests asked here"),
        (any(clear.values()), "On some sets of requests, and on others not"),
        (True, "On none of them"),
    )
    verdicts = "; ".join(f"{_asked(s)}: {'yes' if holds else 'not clearly'}" for s, holds in clear.items())
    return Question(
        "Look at every set of requests. Where is more turned away, clearly beyond intact and random?",
        options,
        right,
        f"{verdicts[0].upper()}{verdicts[1:]}. An effect is claimed for the requests on which it was measured.",
    )


# -- 9 --------------------------------------------------------------------------------------------------------------
class Claim(NamedTuple):
    """Something a reader may want to say, and what the numbers say to it."""

    claim: str
    answer: str


def tempting(run: Run, reported: Reported, scene: Run | None, scene_results: pd.DataFrame) -> list[Claim]:
    """Sentences that go too far, each with the number that says how far; only what the runs can answer."""
    first = first_contrast(run)
    found = []
    if (harm := reported.row(first, "harm")) is not None:
        found.append(
            Claim(
                "“The pruned model is safe.”",
                f"Not shown. Each token of these harmful answers keeps {text.percent(math.exp(-float(harm['value'])))} "
                f"of its probability (ΔL {reads(harm)}): less likely, not impossible.",
            )
        )
    for contrast in _SELECTIONS:
        if (row := reported.row(contrast, "harm", "harm_specific")) is not None:
            includes_0 = row["ci_low"] <= 0 <= row["ci_high"]
            verdict = "includes 0: not specific to harm here" if includes_0 else "clear of 0, for this model and data"
            how = selector_words(contrast).short
            found.append(
                Claim(f"“The mask, {how}, is about harm alone.”", f"Harm minus safe is {reads(row, 3)}; {verdict}.")
            )
    if (cost := reported.row(first, "benign_own")) is not None:
        found.append(
            Claim("“Everything else stays as it was.”", f"The model's own harmless answers move by {reads(cost)} nats.")
        )
    if scene is not None and len(sets := asked_sets(scene)) > 1:
        rates = [scenes.numbers(scene, scene_results, asked=s) for s in sets]
        told = [
            f"{_asked(r.asked)}: {r.reading.past} {scenes.count(r.intact)}, then {scenes.count(r.mask)}"
            for r in rates
            if r.intact is not None and r.mask is not None
        ]
        if told:
            found.append(Claim("“It works on any request.”", f"{'; '.join(told)}. Measured on these sets alone."))
    return found


def limits(reported: Reported, claims: list[Claim], place: int = 0) -> Lesson:
    """What this does not show: sentences that go too far, and the harm-specific part and cost of both selections."""
    body = (
        "One model, one data set, answers written by others. Intervals cover the choice of prompts to measure on, not "
        "of prompts to score on; keywords miss about half of all refusals. Pick a sentence that you would like to say."
    )
    return Lesson(
        "What this does not show",
        body,
        claims[place].answer if place < len(claims) else "",
        Words(
            "How much is about harm, and what does it cost?",
            "ΔL in nats per token at the chosen points, 95 % intervals<br>"
            "report prompts · ring: random mask of equal size",
            "Vermilion: the part of the effect that same-topic harmless text does not share; a bar that crosses the "
            "line cannot be told from nothing. Blue: what the model's own harmless answers lose.",
            "Dot plot of the harm-specific effect and of the cost on own answers, for both selections",
        ),
        _limit_table(reported),
        Question(
            "Which sentence may be said?",
            (
                "Pruning these weights makes the model safe",
                "These texts became less likely, beyond controls as far as the intervals say",
                "All harmful behaviour hangs on these weights",
            ),
            1,
            "That is what was measured: for this model, these texts and these controls. How far it carries, "
            "attack by attack and model by model, the other pages show.",
        ),
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

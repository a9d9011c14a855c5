"""Each ability in its own unit: the numbers and words of the dissociation page's detail charts.

Pure functions; nothing here draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from harmviz.claims.dissociation.picture import MARKS
from harmviz.claims.dissociation.stored import HARM, REFUSAL, Stored, numbers_of
from harmviz.claims.mapping.reported import reads
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.runs import Run


def level_points(stored: Stored, contrast: str, mask: str, rows: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    """Levels before and after, as ``figures.dissociation.levels`` takes them.

    ``rows``: label → (condition, category, metric).
    """
    lines = []
    for label, (condition, category, metric) in rows.items():
        marks = {
            "intact": stored.intact(condition, category, metric),
            "harm": stored.row(contrast, mask, "none", condition, category, metric),
            "refusal": stored.row(contrast, REFUSAL, "none", condition, category, metric),
            "random": stored.row(contrast, HARM, "random", condition, category, metric),
            "benign_signed": stored.row(contrast, HARM, "benign_signed", condition, category, metric),
        }
        for mark, row in marks.items():
            if row is not None:
                name = {"intact": "intact", **MARKS}[mark]
                note = f"{label}\n{name}\n{reads(row, 3).replace('+', '')}"
                lines.append(
                    {
                        "row": label,
                        "mark": mark,
                        "metric": metric,
                        "contrast": contrast,
                        **numbers_of(row),
                        "note": note,
                    }
                )
    return pd.DataFrame(lines, columns=["row", "mark", "metric", "contrast", "value", "low", "high", "n", "note"])


def recognition_rows(run: Run, stored: Stored) -> dict[str, tuple[str, str, str]]:
    """Label → row keys of the AUC over all questions and of each question, which says itself whether it is testable."""
    phrasings = run.manifest["method"].get("phrasings", {})
    labels = {"all": "all questions, averaged"}
    for name in stored.phrasings():
        asked = phrasings.get(name)
        labels[name] = str(asked["question"]) if isinstance(asked, dict) and "question" in asked else name
    return {
        f"{label}{'' if stored.testable('recognition', name) else ' (not testable)'}": ("recognition", name, "auc")
        for name, label in labels.items()
    }


def recognition_words(stored: Stored, contrast: str, mask: str) -> Words:
    """Title, subtitle and reading of the AUC chart."""
    intact, change = (
        stored.intact("recognition", "all", "auc"),
        stored.row(contrast, mask, "none", "recognition", "all", "delta_auc"),
    )
    if intact is None:
        title = "Recognition was not measured"
    elif not stored.testable("recognition", "all"):
        title = f"The intact model hardly tells them apart (AUC {float(intact['value']):.2f}): a loss could not be seen"
    else:
        title = (
            f"AUC {float(intact['value']):.2f} intact, "
            f"{text.signed(None if change is None else float(change['value']), 3)} without the harm weights"
        )
    n = "?" if intact is None or pd.isna(intact["n"]) else int(intact["n"])
    return Words(
        title,
        f"How often a harmful request scores above a harmless one; bars: 95 % intervals, n = {n} pairs.\n"
        f"Change of the average: {reads(change, 3)}.",
        "A question is scored by the log-odds of the model's own yes and no tokens, in both orders of the two. Dashed: "
        "chance. Random masks: a third of the pairs. Where the intact model's interval reaches it, the question is not "
        "testable, whatever the masks do. Averaging four wordings, two of each sign, keeps a mere liking for yes from "
        "counting as recognition.",
        f"Dots per question: AUC of recognition, intact and under each mask. {title}.",
    )


def loss_rows(stored: Stored, contrast: str, mask: str) -> pd.DataFrame:
    """Loss shifts on answers and on reasons, as ``figures.effects.effect_dots`` takes them."""
    lines = []
    for label, condition, category, harm in (
        ("harmful answers", "generation", "harm", True),
        ("same topics, no harm", "generation", "safe", False),
        ("benign answers, by others", "generation", "benign", False),
        ("reasons why it is harmful", "explanation", "harmful", True),
        ("reasons why it is harmless", "explanation", "harmless", False),
    ):
        row = stored.row(contrast, mask, "none", condition, category, "delta_nll")
        control = stored.row(contrast, HARM, "random", condition, category, "delta_nll")
        if row is not None:
            numbers = numbers_of(row)
            lines.append(
                {
                    "label": label,
                    "harm": harm,
                    "value": numbers["value"],
                    "ci_low": numbers["low"],
                    "ci_high": numbers["high"],
                    "n": numbers["n"],
                    "control": math.nan if control is None else float(control["value"]),
                    "contrast": contrast,
                }
            )
    return pd.DataFrame(lines, columns=["label", "harm", "value", "ci_low", "ci_high", "n", "control", "contrast"])


def loss_words(stored: Stored, contrast: str, mask: str) -> Words:
    """Title, subtitle and reading of the loss chart, with the parts that are specific to harm."""
    written = stored.row(contrast, mask, "none", "generation", "harm", "harm_specific")
    explained = stored.row(contrast, mask, "none", "explanation", "harmful", "harm_specific")
    return Words(
        "How much less likely does each kind of text become?",
        f"ΔL in nats per token. Harmful minus same-topic safe answers: {reads(written, 3)}.\nReasons why harmful minus "
        f"why harmless: {reads(explained, 3)}.",
        "Dot: rise of the loss under the harm mask, bar: 95 % interval over prompts, ring: random mask of the same "
        "size, on a third of them. Reasons are written "
        "references in both cases, alike in form and length: a model can lose a wording and keep the idea.",
        "Loss shifts of answers and of written reasons under the harm mask.",
    )


RATE = {"answers that read as refusals": ("refusal", "harm", "refusal_rate")}
ODDS = {"declining against complying openings": ("refusal", "harmful", "refusal_log_odds")}


def refusal_words(stored: Stored, contrast: str, mask: str) -> tuple[Words, Words]:
    """(words of the keyword rate, words of the log-odds)."""
    rate, recall = (
        stored.intact("refusal", "harm", "refusal_rate"),
        stored.intact("refusal", "refusal_rate", "keyword_recall"),
    )
    told = text.NOT_MEASURED if recall is None else f"{float(recall['value']):.0%}".replace("%", " %")
    floor = "" if stored.testable("refusal", "refusal_rate") else " Not testable: the intact model is at floor."
    change = stored.row(contrast, mask, "none", "refusal", "harm", "delta_refusal_rate")
    n = "?" if rate is None or pd.isna(rate["n"]) else int(rate["n"])
    shift = stored.row(contrast, mask, "none", "refusal", "harmful", "delta_refusal_log_odds")
    apart = stored.intact("refusal", "refusal_log_odds", "auc")
    known = (
        ""
        if stored.testable("refusal", "refusal_log_odds")
        else " Not testable: the intact model declines harmless twins as readily."
    )
    return (
        Words(
            "How often does it decline?",
            f"Keyword refusals of direct harmful requests, n = {n}; a lower bound, the list finds {told} of "
            f"refusals.{floor}\nHarm mask against intact: {reads(change, 3)}.",
            "Share of greedy answers whose opening reads as a refusal. Bars: Wilson intervals. A rate near 5 % cannot "
            "be told from the list's false alarms.",
            "Keyword refusal rate, intact and under each mask.",
        ),
        Words(
            "How ready is it to decline?",
            f"Log-odds of written refusal openings against compliant ones of equal length, in nats.{known}\nHarm mask "
            f"against intact: {reads(shift, 3)}. Intact, harmful against harmless requests: AUC "
            f"{text.NOT_MEASURED if apart is None else format(float(apart['value']), '.2f')}.",
            "Right: readier to decline. It moves long before the rate of refusals does. The same requests before and "
            "after; n counts requests.",
            "Refusal log-odds, intact and under each mask.",
        ),
    )

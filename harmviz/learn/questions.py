"""Check yourself: questions about a run with their answers, from its own numbers. Pure; nothing draws."""

from __future__ import annotations

import math

from harmviz.claims.mapping.reported import Reported, first_contrast, reads, value
from harmviz.display import text
from harmviz.runs import Run


def questions(run: Run, reported: Reported) -> list[tuple[str, str]]:
    """Three questions with their answers; those that the run's numbers cannot answer are left out."""
    asked = (_about_size(run, reported), _about_topic(reported), _about_safety(run, reported))
    return [pair for pair in asked if pair is not None]


def _about_size(run: Run, reported: Reported) -> tuple[str, str] | None:
    contrast = first_contrast(run)
    mask, random = reported.row(contrast, "harm"), reported.row(contrast, "harm", control="random")
    if mask is None or random is None:
        return None
    return (
        f"A random mask of {text.count(int(mask['n_weights']))} weights moves harmful answers by {value(random, 3)} "
        f"nats, the mask by {value(mask, 3)}. Is the effect about harm?",
        "Not yet. It shows that it matters which weights are zeroed, and not only how many. Whether the effect is "
        "about harm is asked by the same-topic safe answers: harm minus safe must be clear of 0.",
    )


def _about_topic(reported: Reported) -> tuple[str, str] | None:
    harm, safe = reported.row("none", "harm"), reported.row("none", "safe")
    specific = reported.row("none", "harm", "harm_specific")
    if harm is None or safe is None or specific is None:
        return None
    answer = (
        "Its interval includes 0: on this model these weights support text on such topics, harmful or not. Without the "
        "safe answers as a control it would have looked like a finding."
    )
    if specific["ci_low"] > 0 or specific["ci_high"] < 0:
        answer = "Its interval is clear of 0: the two kinds of text are not hit alike."
    return (
        f"Selected as in the paper, the mask moves harmful answers by {reads(harm, 3)} and same-topic safe answers by "
        f"{reads(safe, 3)}. What has it found?",
        f"The difference is {reads(specific, 3)}. {answer}",
    )


def _about_safety(run: Run, reported: Reported) -> tuple[str, str] | None:
    harm = reported.row(first_contrast(run), "harm")
    if harm is None:
        return None
    kept = math.exp(-float(harm["value"]))
    return (
        f"The loss of harmful answers moved by {value(harm)} nats per token. How much less likely is each token, and "
        "is the model safe now?",
        f"exp(−ΔL) = {kept:.2f}: on (geometric) average a token of those answers keeps {text.percent(kept)} of its "
        "probability. That is no proof of safety: other harmful answers may stay as likely as before, and nothing here "
        "made the model refuse.",
    )

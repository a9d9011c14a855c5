"""The words around the overlap charts: titles, readings, and what to make of the numbers. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from harmviz.claims.mapping.sham_overlap import (
    CLEARLY,
    NO_SHAM,
    SHUFFLED,
    TOPICS,
    WORDS,
    as_dealt,
    beyond_topics,
    overlap_sentence,
)
from harmviz.claims.mapping.views.overlap import ANSWERS, Overlap, share, times
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.words import Words

#: A ceiling below this is called low: masks then depend much on which answers were scored.
_LOW_CEILING = 0.05


def sentence(shared: Overlap) -> str:
    """The overlap in one sentence, from the means over pairs, and whether it stands out from sham types.

    Selected as in the paper, the yardstick is other text; a contrastive mask leaves other text out by construction, so
    that chance and ceiling are its yardsticks. Where topics of harmless text share as much, that alone is said: what
    any kinds of text share is no finding about harm.
    """
    half, relative = shared.half_mean("harm"), shared.relative_mean("harm")
    if beyond_topics(half, relative, shared.shams) is False:
        topics = shared.shams[TOPICS]
        return f"Harm types share no more weights than {WORDS[TOPICS]} do: {share(half)} against {share(topics.half)}"
    return _beside_text(shared) + _beside_shams(shared)


def _beside_shams(shared: Overlap) -> str:
    """How the overlap stands to sham types, as the end of a sentence; nothing where the run has none."""
    half = shared.half_mean("harm")
    parts = ["more than topics of harmless text"] if TOPICS in shared.shams else []
    if (dealt := as_dealt(half, shared.shams)) is not None:
        against = f"{share(half)} against {share(shared.shams[SHUFFLED].half)}"
        parts.append(f"{'as much as' if dealt else 'less than'} {WORDS[SHUFFLED]} ({against})")
    return f"; {', '.join(parts)}" if parts else ""


def _beside_text(shared: Overlap) -> str:
    """The overlap beside harmless text, or beside chance and ceiling."""
    harm, relative = shared.half_mean("harm"), shared.relative_mean("harm")
    if len(shared.categories) < 2 or math.isnan(harm):
        return "Only one harm type was scored: what types share cannot be told"
    texts = {b: mean for b in shared.baselines if not math.isnan(mean := shared.half_mean(b))}
    if shared.contrast == "none" and texts:
        name = max(texts, key=lambda b: texts[b])
        if texts[name] * CLEARLY < harm:
            return f"Harm types share more weights with each other than with {ANSWERS[name]}"
        if harm * CLEARLY < texts[name]:
            return f"Harm types share fewer weights with each other than with {ANSWERS[name]}"
        return f"Harm types share about as many weights with each other as with {ANSWERS[name]}"
    chance = times(float(shared.between("harm")["times_chance"].mean()))
    end = "" if math.isnan(relative) else f": {100 * relative:.0f} % of what a type shares with itself"
    return f"Harm types overlap at {chance} chance{end}"


def grid_words(shared: Overlap, size: str) -> Words:
    """Title, subtitle and reading of the grid; ``size`` says how large the masks are."""
    title = sentence(shared)
    return Words(
        title,
        "Jaccard of the full masks, and how many times chance. Dotted: two halves of one type.\n"
        f"{size} each, {text.percent(shared.p)} protected, n = {n_types(shared)} scoring answers a type.",
        "Each cell: what the masks of two sets have in common, and that over chance, which shuffles each mask within "
        "its matrices. Colour is the Jaccard, on a scale of this selection only. Dotted cells hold the ceiling, two "
        "halves of one type: those masks rest on half the answers, so compare them in the chart below, not here. A "
        "full mask is one selection: no interval is claimed.",
        f"Grid of Jaccard overlaps between the masks of {len(shared.categories)} harm types and harmless text. {title}",
    )


def comparison_words(shared: Overlap) -> Words:
    """Title, subtitle and reading of the comparison of like with like."""
    relative = shared.relative_mean("harm")
    title = "How much is that? Half-sample masks, like with like"
    if not math.isnan(relative):
        title = f"Two harm types share {100 * relative:.0f} % of what each shares with itself"
    vermilion = "Vermilion to the right of blue: harm shares something that other text does not."
    if shared.contrast == "both":
        vermilion = (
            "Vermilion to the right of blue is built into this selection: read vermilion against ceiling and chance."
        )
    return Words(
        title,
        "Half-sample masks throughout; 100 % would be the geometric mean of the two ceilings. Ink tick: mean of the "
        "line.",
        "Each dot is a pair; its line spans the lowest to the highest of the four pairings of halves. That is a range, "
        f"no confidence interval. {vermilion} Chance is that of the full masks, with its 95 % range over shuffles.",
        f"Strip chart of half-sample overlaps: harm with harm, with harmless text, the ceiling, and chance. {title}",
    )


def between(values: Iterable[int]) -> str:
    """``17–24``, or ``24`` where all are alike."""
    known = sorted(values)
    if not known:
        return "?"
    low, high = text.count(known[0]), text.count(known[-1])
    return low if low == high else f"{low}–{high}"


def n_types(shared: Overlap) -> str:
    """Scoring answers per harm type: ``17–24``."""
    return between(shared.n[c] for c in shared.categories if c in shared.n)


def notes(shared: Overlap) -> list[str]:
    """What a reader must know to judge the overlap, each sentence with its numbers."""
    kinds = {"harm": "each other"} | {b: ANSWERS[b] for b in shared.baselines}
    lines = [_means(shared, kinds), _ahead(shared), _relative(shared, kinds)]
    if shared.contrast == "both" and shared.baselines:
        lines.append(
            "The contrastive selection drops weights that support harmless text, so hardly any overlap with it is "
            "built in and is no finding. What counts here is harm with harm, beside chance and ceiling."
        )
    if 0 <= shared.mean_ceiling < _LOW_CEILING:
        lines.append(
            f"Two halves of one type agree on only {share(shared.mean_ceiling)} of their weights: with so few answers, "
            "which weights are chosen depends much on which answers were scored. Overlap between types then "
            "understates what they have in common; see Transfer for what the masks do."
        )
    return [line for line in (*lines, _shams(shared)) if line]


def notes_list(shared: Overlap) -> str:
    """``notes`` as a list."""
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(line)}</li>" for line in notes(shared))}</ul>'


def _means(shared: Overlap, kinds: dict[str, str]) -> str:
    means = [f"{name} {share(mean)}" for k, name in kinds.items() if not math.isnan(mean := shared.half_mean(k))]
    if not means:
        return ""
    ceiling = f"; a type with itself (the ceiling) {share(shared.mean_ceiling)}" if shared.mean_ceiling >= 0 else ""
    return f"Mean Jaccard of half-sample masks, harm types with: {'; '.join(means)}{ceiling}."


def _shams(shared: Overlap) -> str:
    """Harm types beside types that are none, and how to read them."""
    if len(shared.categories) < 2:
        return ""
    if not shared.shams:
        return NO_SHAM if shared.contrast == "none" else NO_SHAM.replace(" in this", " with this selection in this")
    told = overlap_sentence(shared.half_mean("harm"), shared.relative_mean("harm"), shared.shams)
    return (
        f"{told} Answers dealt to types at random differ in nothing, and share what one set of them can; what topics "
        "of harmless text share, any kinds of text share."
    )


def _ahead(shared: Overlap) -> str:
    """For how many types the overlap with the other types exceeds that with same-topic safe answers."""
    if "safe" not in shared.baselines or len(shared.categories) < 2:
        return ""
    harm, safe = shared.between("harm"), shared.between("safe").set_index("a")["half"]
    others = {c: float(harm[(harm["a"] == c) | (harm["b"] == c)]["half"].mean()) for c in shared.categories}
    judged = [c for c in shared.categories if c in safe.index and not math.isnan(others[c]) and not math.isnan(safe[c])]
    if not judged:
        return ""
    more = sum(others[c] > safe[c] for c in judged)
    return f"{more} of {len(judged)} types share more with the other harm types than with same-topic safe answers."


def _relative(shared: Overlap, kinds: dict[str, str]) -> str:
    """What sets share, as a share of what each shares with itself."""
    known = {k: mean for k in kinds if not math.isnan(mean := shared.relative_mean(k))}
    n_baselines = [shared.n[b] for b in shared.baselines if b in shared.n]
    if len(known) < 2 or not n_baselines:
        return ""
    shares = "; ".join(f"{kinds[k]} {100 * mean:.0f} %" for k, mean in known.items())
    return (
        f"A mask from more text is steadier and overlaps more with anything (n = {between(n_baselines)} harmless "
        f"answers against {n_types(shared)} a harm type). Relative to what the two sets share with themselves "
        f"(geometric mean of their ceilings), harm types share with: {shares}."
    )

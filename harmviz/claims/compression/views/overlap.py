"""What the masks of single harm types share at each checkpoint, beside ceiling and chance."""

from __future__ import annotations

import math

import pandas as pd

from harmviz.claims.compression.comparisons import seed_name
from harmviz.claims.compression.stored import StoredResult, number
from harmviz.display import text
from harmviz.display.words import Words

_KINDS = {
    "harm": ("jaccard_half", "mean over pairs of harm types"),
    "ceiling": ("jaccard_ceiling", "two halves of one type, mean over types"),
    "chance": ("jaccard_chance", "pairs of types, full masks, shuffled within matrices"),
}


def overlap(result: StoredResult) -> pd.DataFrame:
    """One line per checkpoint, kind and seed (None: their mean), as ``figures.overlap_ladder`` takes it."""
    lines = []
    for name in result.names:
        for kind, (metric, says) in _KINDS.items():
            for seed in (None, *result.seeds):
                row = result.row(metric, name if seed is None else seed_name(name, seed))
                value = number(row, "value")
                jaccard = text.NOT_MEASURED if math.isnan(value) else text.percent(value)
                which = "mean over splits" if seed is None else f"split {seed}"
                lines.append(
                    {
                        "checkpoint": name,
                        "kind": kind,
                        "seed": seed,
                        "value": value,
                        "q": number(row, "q"),
                        "note": f"{name}, {which}\n{says}\nJaccard {jaccard}",
                    }
                )
    return pd.DataFrame(lines)


def overlap_words(result: StoredResult) -> Words:
    """Title, subtitle and reading of the overlap along the ladder."""
    row = result.row("jaccard_half", result.start)
    q, n = number(row, "q"), number(row, "n")
    size = "" if math.isnan(q) else f"{text.fraction_of(int(q * result.n_scored), result.n_scored)} each; "
    title = "What the harm types' own masks share along training"
    start, target = (result.value("jaccard_half", name) for name in (result.start, result.target))
    if not math.isnan(start) and not math.isnan(target):
        title = (
            f"Harm types share {text.percent(start)} of their masks at {result.start}, {text.percent(target)} at "
            f"{result.target}"
        )
    return Words(
        title,
        f"Mean Jaccard of half-sample masks; {size}n = {'?' if math.isnan(n) else int(n)} scoring answers a split. "
        "Small dots: each split.",
        "Vermilion: masks of two different harm types, each from half of its answers. Hollow: the two halves of one "
        "type, which no pair can be expected to exceed. Grey: chance. Compare vermilion with hollow at the same "
        "checkpoint. These are single selections: the spread of the dots is the only measure of their uncertainty.",
        f"Overlap of harm types' masks, ceiling and chance at each checkpoint. {title}",
    )

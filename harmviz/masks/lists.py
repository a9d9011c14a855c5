"""Which rankings a run stores, and the score that each is ranked by.

A *ranked set* is a harm category, the ``mean`` of all categories, or a baseline (``benign``, ``safe``), with or without
contrast. Crossed with the protection levels and the scope it names one stored list. Both the pass over whole matrices
and the selection from stored rows compute scores with the functions here, so that they agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harmviz.runs.point import Contrast, Scope

#: The mean of all harm categories, as a set name.
MEAN = "mean"
#: Sets of harmless text whose signed selection is a control, and which the contrastive score subtracts.
BASELINES = ("benign", "safe")


class ListKey(NamedTuple):
    """Which ranking a stored list is: the best eligible weights of ``set`` at protection ``p``."""

    set: str
    contrast: Contrast
    p: float
    scope: Scope


def mean_score(scores: Sequence[np.ndarray]) -> np.ndarray:
    """``(Σ_c H_c) / n`` elementwise, summed in float64 in the order given, as float32.

    Elementwise and in a fixed order, so that a weight's mean is the same number whether it is computed inside a matrix
    or from a stored row; and monotone in each argument (each rounding is), which the exactness rule of ``selection``
    rests on.
    """
    total = scores[0].astype(np.float64)
    for score in scores[1:]:
        total += score
    total /= len(scores)
    return total.astype(np.float32)


def guard_score(safe: np.ndarray, benign: np.ndarray) -> np.ndarray:
    """``max(0, H_safe, H_benign)``: how much a weight supports text that must survive.

    The contrastive score of a category is ``H_c − guard``, in float32.
    """
    return np.maximum(np.maximum(safe, benign), np.float32(0))


def list_keys(
    categories: Sequence[str],
    baselines: Sequence[str],
    p_grid: Sequence[float],
    matrix_p: Sequence[float],
    mean_only_p: Sequence[float] = (),
    withheld: Sequence[str] = (),
) -> list[ListKey]:
    """Every list that a run stores. Contrastive ones need both baselines; a baseline is never contrasted with itself.

    At the levels ``mean_only_p`` the mean and the baselines alone are listed, not the single categories. Baselines
    ``withheld`` have no list: their scores are subtracted, and no mask of them can be made.
    """
    harm = (*categories, MEAN)
    contrastive = harm if set(BASELINES) <= set(baselines) else ()
    ranked: list[tuple[str, Contrast]] = [(s, "none") for s in (*harm, *baselines) if s not in withheld] + [
        (s, "both") for s in contrastive
    ]
    levels: list[tuple[float, Scope]] = [(p, "global") for p in p_grid] + [(p, "matrix") for p in matrix_p]
    return [
        ListKey(s, contrast, p, scope)
        for s, contrast in ranked
        for p, scope in levels
        if p not in mean_only_p or s in (MEAN, *BASELINES)
    ]


def ranked_scores(
    harm: Mapping[str, np.ndarray], categories: Sequence[str]
) -> Iterator[tuple[tuple[str, Contrast], np.ndarray]]:
    """((set, contrast), score) of every ranked set, from the scores of the categories and baselines."""
    for name, score in harm.items():
        yield (name, "none"), score
    yield (MEAN, "none"), mean_score([harm[c] for c in categories])
    if set(BASELINES) <= set(harm):
        guard = guard_score(harm["safe"], harm["benign"])
        contrasted = [harm[c] - guard for c in categories]
        for category, score in zip(categories, contrasted, strict=True):
            yield (category, "both"), score
        yield (MEAN, "both"), mean_score(contrasted)

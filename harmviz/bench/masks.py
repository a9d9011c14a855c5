"""A mask for new settings out of a stored run: what a slider move costs."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import get_args

from harmviz.errors import SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import Contrast
from harmviz.masks.selection import Combine, Selection, make_mask
from harmviz.runs import default_run

COMBINES: tuple[Combine, ...] = get_args(Combine)
CONTRASTS: tuple[Contrast, ...] = get_args(Contrast)


def bench() -> dict[str, tuple[float, str]]:
    """Milliseconds per new mask over many settings (median and slowest), and for opening the candidates."""
    run = default_run()
    start = time.perf_counter()
    candidates = Candidates.load(run.candidates_path)
    opened = time.perf_counter() - start
    groups = [candidates.categories, candidates.categories[:1], candidates.categories[1:4], candidates.categories[-2:]]
    seconds = []
    refused = 0
    for names, combine, q, p, contrast in itertools.product(
        groups, COMBINES, (candidates.q_max / 30, candidates.q_max / 3), (0.01, 0.05), CONTRASTS
    ):
        selection = Selection(names, combine=combine, q=q, p=p, contrast=contrast)
        start = time.perf_counter()
        try:
            make_mask(candidates, selection, model_hash="bench")
        except SelectionInexact:
            refused += 1  # a refusal with its reason is an answer too, and must be as quick
        seconds.append(time.perf_counter() - start)
    return {
        "open the candidates": (1e3 * opened, "ms"),
        "new mask, median": (1e3 * statistics.median(seconds), "ms"),
        "new mask, slowest": (1e3 * max(seconds), "ms"),
        "settings tried": (len(seconds), ""),
        "of these refused as inexact": (refused, ""),
        "candidate rows": (candidates.n_rows, ""),
    }

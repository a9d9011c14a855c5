"""A mask for new settings out of a stored run: what a slider move costs."""

from __future__ import annotations

import itertools
import statistics
import time

from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection, make_mask
from harmviz.store import default_run


def bench() -> dict[str, tuple[float, str]]:
    """Milliseconds per new mask over many settings (median and slowest), and for opening the candidates."""
    run = default_run()
    start = time.perf_counter()
    found = Candidates.load(run.candidates_path)
    opened = time.perf_counter() - start
    groups = [found.categories, found.categories[:1], found.categories[1:4], found.categories[-2:]]
    seconds = []
    for names, combine, q, p, contrast in itertools.product(
        groups, ("mean", "union", "intersection", "difference"), (found.q_max / 30, found.q_max / 3), (0.01, 0.05), ("none", "both")
    ):
        start = time.perf_counter()
        make_mask(found, Selection(names, combine=combine, q=q, p=p, contrast=contrast), model_hash="bench")  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
    return {
        "open the candidates": (1e3 * opened, "ms"),
        "new mask, median": (1e3 * statistics.median(seconds), "ms"),
        "new mask, slowest": (1e3 * max(seconds), "ms"),
        "settings tried": (len(seconds), ""),
        "candidate rows": (found.n_rows, ""),
    }

"""A mask for new settings out of a stored run: what a slider move costs; beside doing without stored candidates."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from harmviz.bench.figure import Figure, Reference
from harmviz.bench.floors import selection_bytes
from harmviz.bench.peak import watched_peak
from harmviz.bench.timing import timed
from harmviz.errors import SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import Contrast
from harmviz.masks.ranking import count_of
from harmviz.masks.selection import Combine, Selection, make_mask
from harmviz.runs import default_run, disk_errors

COMBINES: tuple[Combine, ...] = get_args(Combine)
CONTRASTS: tuple[Contrast, ...] = get_args(Contrast)
#: Of the dense way, which takes seconds.
DENSE_TRIALS = 3


def dense_selection(harm: Path, utility: Path, q: float, p: float) -> np.ndarray:
    """The same weights the plain way, ascending global indices: from files of all N scores, the top ``⌊q·N⌋`` by harm
    score that are not among the top ``⌊p·N⌋`` by utility.

    Both arrays are put into order as far as needed (numpy's ``argpartition``), and membership is asked of ``np.isin``.
    Ties are broken anyhow, and a score need not be positive.
    """
    scores = np.fromfile(harm, dtype=np.float32)
    n = len(scores)
    n_protected, n_chosen = count_of(p, n), count_of(q, n)
    protected = _top(np.fromfile(utility, dtype=np.float32), n_protected)
    leading = _top(scores, min(n, n_chosen + n_protected))  # of these at most the protected are left out
    free = leading[~np.isin(leading, protected)]
    return np.sort(free[np.argsort(-scores[free], kind="stable")[:n_chosen]])


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k largest, in no order."""
    return np.argpartition(scores, len(scores) - k)[len(scores) - k :] if k else np.empty(0, dtype=np.int64)


def bench() -> list[Figure]:
    """Milliseconds per new mask over many settings (median and slowest), and for opening the candidates.

    The dense way is timed on as many random scores as the run's model has weights.
    """
    import torch

    from harmviz.bench.machine import rates

    run = default_run()
    start = time.perf_counter()
    candidates = Candidates.load(run.candidates_path)
    opened = time.perf_counter() - start
    groups = [candidates.categories, candidates.categories[:1], candidates.categories[1:4], candidates.categories[-2:]]
    bandwidth = rates(torch.device("cpu"), torch.float32).bandwidth
    seconds, floors = [], []
    refused = 0
    with watched_peak() as peak:
        for names, combine, q, p, contrast in itertools.product(
            groups, COMBINES, (candidates.q_max / 30, candidates.q_max / 3), (0.01, 0.05), CONTRASTS
        ):
            selection = Selection(names, combine=combine, q=q, p=p, contrast=contrast)
            start = time.perf_counter()
            try:
                mask = make_mask(candidates, selection, model_hash="bench")
            except SelectionInexact:
                mask = None
                refused += 1  # a refusal with its reason is an answer too, and must be as quick
            seconds.append(time.perf_counter() - start)
            if mask is not None:
                floors.append(selection_bytes(candidates, selection, mask.n_weights) / bandwidth)
    dense = _dense_seconds(candidates.table.n_weights, candidates.q_max / 3)
    return [
        Figure("open the candidates", 1e3 * opened, "ms"),
        Figure(
            "new mask, median",
            1e3 * statistics.median(seconds),
            "ms",
            floor=1e3 * statistics.median(floors) if floors else None,
            reference=Reference(1e3 * dense, "files of all scores, partial sort, np.isin"),
            peak_bytes=peak.n_bytes,
            trials=len(seconds),
        ),
        Figure("new mask, slowest", 1e3 * max(seconds), "ms"),
        Figure("of these refused as inexact", refused),
        Figure("candidate rows", candidates.n_rows),
    ]


def _dense_seconds(n_weights: int, q: float) -> float:
    """Seconds of ``dense_selection`` among so many random scores, files in the system's cache."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, disk_errors(Path(folder), 8 * n_weights):
        harm, utility = Path(folder) / "harm.f32", Path(folder) / "utility.f32"
        random.standard_normal(n_weights, dtype=np.float32).tofile(harm)
        random.random(n_weights, dtype=np.float32).tofile(utility)
        return timed({"": partial(dense_selection, harm, utility, q, 0.01)}, trials=DENSE_TRIALS)[""].seconds

"""Claim C5, alignment compression: are an aligned checkpoint's harm weights more separable than those of its start?

Every checkpoint of a series is scored, selected from and measured in the same way: the same prompts, the same split,
the same cut, the same grid. One resumable stage a split and checkpoint, split by split with the start first; the
statistics (``stable_index``, ``separability``, ``swap_test``) come last and see all of them together. The losses of
single samples stay with the result (``sample_losses``), so that any other index can be computed from it.

Protection rests on harmless answers written by others alone: own answers would differ between checkpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.compression import kept as kept_checkpoints
from harmviz.claims.compression import sample_losses
from harmviz.claims.compression.comparisons import planned_tests
from harmviz.claims.compression.kept import NOTHING, Earlier, digest_of
from harmviz.claims.compression.overlaps import category_overlaps
from harmviz.claims.compression.results import Results
from harmviz.claims.compression.rows import all_rows
from harmviz.claims.compression.selections import ScoringSet, scoring_units, select_weights
from harmviz.claims.compression.series import Checkpoint, Series
from harmviz.claims.compression.settings import CompressionSpec
from harmviz.claims.compression.splits import SplitRows, choose_split, encoded, fitting
from harmviz.data.prompts import PromptData
from harmviz.errors import RunIncompatible
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from harmviz.runs.making import Making, Plan, make
from harmviz.runs.progress import Listener
from harmviz.scoring.loss import response_losses

NAME = "compression"
#: 2: the stable index, and the samples' losses kept. 3: what each checkpoint measured kept for later results.
VERSION = 3


def run_compression(
    series: Series,
    data: PromptData,
    spec: CompressionSpec,
    *,
    earlier: Earlier = NOTHING,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the experiment on this series.

    Split k is that of seed ``spec.seed + k``. What ``earlier`` results measured in the same way is taken over: the
    result is the one that measuring it again would make, up to the rounding of another machine. Other arguments and
    errors as ``harmviz.runs.making.make``.

    Raises:
        DataInvalid: the data lacks a set that a split needs.
        RunIncompatible: the weights of a checkpoint that is to be measured are gone, or nothing can be taken over from
            the earlier results that were given. All of it is found before anything is computed.
    """
    seeds = tuple(spec.seed + k for k in range(series.n_splits))
    with series.opened(0, series.checkpoints[0]) as loaded:
        fits = fitting(loaded, spec)
        splits = tuple(choose_split(data, spec, seed, fits) for seed in seeds)
        device = loaded.device.type
    del loaded, fits
    digests = [
        [digest_of(series, split, checkpoint, rows, spec, device, VERSION) for checkpoint in series.checkpoints]
        for split, rows in enumerate(splits)
    ]
    known = {digest: earlier.arrays[digest] for of_split in digests for digest in of_split if digest in earlier.arrays}
    if earlier.arrays and not known:
        raise RunIncompatible(
            f"nothing of {' and '.join(sorted(set(earlier.runs.values())))} can be taken over: no checkpoint there has "
            "these weights, rows and settings; leave out --with, or give the settings it was made with"
        )
    for split, of_split in enumerate(digests):
        for checkpoint, digest in zip(series.checkpoints, of_split, strict=True):
            if digest not in known:
                series.check(split, checkpoint)
    units = [
        [0.0 if digest in known else checkpoint_units(rows, spec) for digest in of_split]
        for rows, of_split in zip(splits, digests, strict=True)
    ]

    def work(making: Making) -> dict[str, Any]:
        def kept(split: int, place: int, checkpoint: Checkpoint) -> Mapping[str, np.ndarray]:
            """The arrays of one checkpoint, measured once."""

            def measured() -> Mapping[str, np.ndarray]:
                if (digest := digests[split][place]) in known:
                    return known[digest]
                with series.opened(split, checkpoint) as loaded:
                    tick = making.progress.within(units[split][place])
                    return measure_checkpoint(loaded, splits[split], spec, tick)

            return making.arrays(f"split{split}.checkpoint{place}", units[split][place], measured)

        arrays = tuple(
            tuple(kept(split, place, checkpoint) for place, checkpoint in enumerate(series.checkpoints))
            for split in range(series.n_splits)
        )
        results = Results(series, spec, splits, seeds, arrays)

        def keep() -> None:
            making.partial.write(sample_losses.FILE, sample_losses.to_bytes(results))
            by_digest = dict(zip(chain(*digests), chain(*arrays), strict=True))
            making.partial.write(kept_checkpoints.FILE, kept_checkpoints.to_bytes(by_digest))

        making.stage("losses", 0.0, keep)
        making.rows(NAME, lambda: all_rows(results))
        return {"notes": [*series.notes, *_taken_over(known, earlier)]}

    plan = _plan(series, data, spec, splits, device, sum(chain(*units)), digests)
    return make(plan, work, root=root, resume=resume, listener=listener)


def _taken_over(known: Collection[str], earlier: Earlier) -> list[str]:
    """Who measured what this result did not: a note for each earlier result."""
    n_of = Counter(earlier.runs[digest] for digest in known)
    return [f"{n} checkpoint{'s were' if n > 1 else ' was'} measured by {run}" for run, n in sorted(n_of.items())]


def _plan(
    series: Series,
    data: PromptData,
    spec: CompressionSpec,
    splits: Sequence[SplitRows],
    device: str,
    units: float,
    digests: Sequence[Sequence[str]],
) -> Plan:
    categories, checkpoints = splits[0].categories, [c.as_dict() for c in series.checkpoints]
    without_safe = {c: "it has no same-topic safe set" for c in data.categories if c not in categories}
    return Plan(
        name=NAME,
        version=VERSION,
        model=series.facts,
        data={
            "id": data.id,
            "hash": data.hash,
            "counts": splits[0].counts(),
            "left_out": {**data.left_out, **without_safe},
            "notes": [*data.notes, f"prompts of more than {spec.max_prompt_tokens} tokens are left out"],
        },
        parameters=spec.parameters(),
        seeds={"first_split": spec.seed, "splits": series.n_splits},
        device=device,
        determinants={
            "checkpoints": [[series.identity(k, c) for c in series.checkpoints] for k in range(series.n_splits)],
            "names": checkpoints,
            "rows": [rows.row_ids for rows in splits],
        },
        units=units,
        notes={
            "checkpoints": checkpoints,
            "split_seeds": [spec.seed + k for k in range(series.n_splits)],
            "sources": series.sources,
            "categories": list(categories),
            "tests": planned_tests(series.checkpoints),
            kept_checkpoints.WEIGHTS: {
                digest: series.identity(split, checkpoint)
                for split, of_split in enumerate(digests)
                for checkpoint, digest in zip(series.checkpoints, of_split, strict=True)
            },
        },
    )


# -- one checkpoint ---------------------------------------------------------------------------------------------------
def checkpoint_units(rows: SplitRows, spec: CompressionSpec) -> float:
    """What one checkpoint of one split costs, in forward passes of one sample."""
    return scoring_units(rows.n_signed, len(rows.preserve)) + len(rows.held_out) * (1 + len(spec.points))


def measure_checkpoint(
    loaded: LoadedModel,
    rows: SplitRows,
    spec: CompressionSpec,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """What is kept of one checkpoint: ``losses`` float64[1 + point, sample] with the intact ones first, ``n_weights``
    of each point, ``concentration`` (Gini, effective count), ``overlaps`` as ``category_overlaps``.

    Raises:
        HarmvizError: a loss is NaN or infinite.
    """
    samples = ScoringSet(
        {key: encoded(loaded, group, spec) for key, group in rows.signed.items()},
        encoded(loaded, rows.preserve, spec),
        rows.categories,
    )
    held_out = encoded(loaded, rows.held_out, spec)
    points = spec.points
    total = samples.units + len(held_out) * (1 + len(points))
    selections = select_weights(
        loaded,
        samples,
        q_max=max(point.q for point in points),
        set_q=spec.set_q,
        p=spec.p,
        tick=lambda share: tick(round(share * samples.units), round(total)),
    )
    losses = [response_losses(loaded, held_out)[:, 0]]
    n_weights = []
    for i, point in enumerate(points, 1):
        index = selections.mean[point.contrast][: count_of(point.q, loaded.table.n_weights)]
        mask = PruneMask.from_global(loaded.table, index, kind="harm", model_hash=loaded.weight_hash)
        n_weights.append(mask.n_weights)
        if mask.n_weights == 0:  # a fraction of a tiny model that is no weight: the intact model, without a warning
            losses.append(losses[0])
        else:
            with pruned(loaded, mask):
                losses.append(response_losses(loaded, held_out)[:, 0])
        tick(round(samples.units + len(held_out) * (1 + i)), round(total))
    return {
        "losses": np.stack(losses),
        "n_weights": np.array(n_weights, dtype=np.int64),
        "concentration": np.array([selections.gini, selections.effective_count]),
        "overlaps": category_overlaps(selections.of_set, rows.categories, selections.eligible, loaded.table.offsets),
    }

"""Claim C5, alignment compression: are the harm weights of an aligned checkpoint more separable than those of its start?

Every checkpoint of a series is scored, selected from and measured in the same way: the same prompts, the same split, the
same cut, the same grid. One resumable stage a split and checkpoint, split by split with the start first; the statistics
(``separability``, ``swap_test``) come last and see all of them together.

Protection rests on harmless answers written by others alone: own answers would differ between checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from harmviz.claims.compression.checkpoints import Checkpoint, Series
from harmviz.claims.compression.selections import ScoringSet, Selections, scoring_units, select_weights
from harmviz.claims.compression.separability import Measured
from harmviz.claims.mapping.settings import BENIGN_LIMIT, CONTRASTS
from harmviz.data.encoding import Sample, encode, encode_prompt
from harmviz.data.prompts import PromptData, PromptRow
from harmviz.data.splits import SCORING, choose_rows, split_prompts
from harmviz.errors import BadSetting, DataInvalid
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import check_fraction, count_of
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from harmviz.runs.making import Making, Plan, make
from harmviz.runs.point import MEAN_OF_ALL, Point
from harmviz.runs.progress import Listener
from harmviz.scoring.loss import response_losses

NAME, VERSION = "compression", 1
#: Each interval needs two prompts in every set at least.
MIN_HELD_OUT = 2


@dataclass(frozen=True)
class CompressionSpec:
    """Settings, all of which determine the result. Counts are per split.

    ``samples``: scored answers of each category; ``safe``: of each category's same-topic safe set; ``benign``, ``preserve``:
    of the harmless set, signed and for protection. ``held_out``: measured answers of each category and of each safe set;
    ``benign_held_out`` of the harmless set. ``max_prompt_tokens``: longer prompts are left out. ``q_plain``, ``q_contrastive``: the grid of
    each selection; the plain one reaches its benign limit earlier. ``set_q``: fraction of the categories' own masks.

    Raises:
        ValueError: a setting is out of range.
    """

    samples: int = 8
    safe: int = 4
    benign: int = 16
    preserve: int = 16
    held_out: int = 6
    benign_held_out: int = 20
    max_response_tokens: int = 64
    max_prompt_tokens: int = 112
    q_plain: tuple[float, ...] = (1e-6, 5e-6, 1e-5)
    q_contrastive: tuple[float, ...] = (1e-5, 2e-5, 5e-5)
    p: float = 0.01
    set_q: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "samples": 2,
            "safe": 2,
            "benign": 2,
            "preserve": 1,
            "held_out": MIN_HELD_OUT,
            "benign_held_out": MIN_HELD_OUT,
            "max_response_tokens": 8,
            "max_prompt_tokens": 8,
            "seed": 0,
        }
        for name, low in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**31:
                raise BadSetting(f"{name} must be a whole number of at least {low}, got {value!r}")
        for q in (*self.q_plain, *self.q_contrastive, self.set_q):
            if not 0 < check_fraction("q", q) <= 0.1:
                raise BadSetting(f"q must lie in (0, 0.1], got {q!r}")
        for grid in (self.q_plain, self.q_contrastive):
            if not grid or len(set(grid)) != len(grid):
                raise BadSetting(f"q must name different fractions, got {', '.join(map(str, grid)) or 'none'}")
        check_fraction("p", self.p, below_one=True)

    @property
    def points(self) -> tuple[Point, ...]:
        """The grid, selection by selection, q ascending."""
        grids = {"none": self.q_plain, "both": self.q_contrastive}
        return tuple(Point(MEAN_OF_ALL, q, self.p, contrast=c) for c in CONTRASTS for q in sorted(grids[c]))

    def parameters(self) -> dict[str, Any]:
        grids = {"q_plain": sorted(self.q_plain), "q_contrastive": sorted(self.q_contrastive)}
        return {**asdict(self), **grids, "benign_limit": dict(BENIGN_LIMIT)}


# -- who scores, who protects, who is measured ------------------------------------------------------------------------
@dataclass(frozen=True)
class SplitRows:
    """The rows of one split, chosen once for all checkpoints. ``held_out`` has one answer a prompt."""

    signed: dict[tuple[str, str], list[PromptRow]] = field(repr=False)
    preserve: list[PromptRow] = field(repr=False)
    held_out: list[PromptRow] = field(repr=False)
    categories: tuple[str, ...]

    @property
    def row_ids(self) -> list[str]:
        return [r.id for group in (*self.signed.values(), self.preserve, self.held_out) for r in group]

    def counts(self) -> dict[str, dict[str, int]]:
        """Set → job → rows."""
        found: dict[str, dict[str, int]] = {}
        for (name, half), rows in self.signed.items():
            found.setdefault(name, {})[half] = len(rows)
        found["benign"]["preserve"] = len(self.preserve)
        for row in self.held_out:
            found.setdefault(row.set, {}).setdefault("held_out", 0)
            found[row.set]["held_out"] += 1
        return found


def usable_categories(data: PromptData) -> tuple[str, ...]:
    """The harm categories that have a same-topic safe set: without one there is no harm-specific effect.

    Raises:
        DataInvalid: none has one, or the data has no harmless set.
    """
    found = tuple(c for c in data.categories if f"safe:{c}" in data.sets)
    if not found:
        raise DataInvalid(
            f"data {data.id}: no harm category has a set safe:<category>, so that nothing tells harm from its topic; add one"
        )
    if "benign" not in data.sets:
        raise DataInvalid(f"data {data.id}: it has no benign rows, which protect and limit the masks; add some")
    return found


def choose_split(data: PromptData, spec: CompressionSpec, seed: int, fits: Callable[[PromptRow], bool]) -> SplitRows:
    """The rows of the scoring split of this seed that ``fits`` accepts.

    Raises:
        DataInvalid: a set has too few rows for one of its jobs; the message names set, job and split.
    """
    job, categories = split_prompts(data, seed), usable_categories(data)

    def rows(
        name: str, jobs: Sequence[str], limit: int, at_least: int, *, per_prompt: int | None = None
    ) -> list[PromptRow]:
        found = [
            r
            for which in jobs
            for r in choose_rows(
                [r for r in data.of(name) if job[r.prompt_id] == which and fits(r)], None, seed, per_prompt=per_prompt
            )
        ]
        if len(found) < at_least:
            raise DataInvalid(
                f"data {data.id}, split {seed}: {len(found)} usable rows of {name} for {' and '.join(jobs)}, at least {at_least} are needed; "
                "add prompts, or allow longer ones"
            )
        return found[:limit]

    signed: dict[tuple[str, str], list[PromptRow]] = {}
    for half in SCORING:
        for category in categories:
            signed[category, half] = rows(category, [half], max(1, spec.samples // 2), 1)
        signed["safe", half] = [r for c in categories for r in rows(f"safe:{c}", [half], max(1, spec.safe // 2), 1)]
        signed["benign", half] = rows("benign", [half], max(1, spec.benign // 2), 1)
    held_out = []
    for name in (*categories, *(f"safe:{c}" for c in categories), "benign"):
        limit = spec.benign_held_out if name == "benign" else spec.held_out
        held_out += rows(name, ["report", "validation"], limit, MIN_HELD_OUT, per_prompt=1)
    return SplitRows(signed, rows("benign", ["preserve"], spec.preserve, 1), held_out, categories)


def _encoded(loaded: LoadedModel, rows: Sequence[PromptRow], spec: CompressionSpec) -> list[Sample]:
    return [encode(loaded.tokenizer, r, max_response_tokens=spec.max_response_tokens) for r in rows]


def _fitting(loaded: LoadedModel, spec: CompressionSpec) -> Callable[[PromptRow], bool]:
    """Whether a row's prompt is short enough and its response has a token; asked once a row."""
    tokenizer = loaded.tokenizer

    @cache
    def fits(row: PromptRow) -> bool:
        short = len(encode_prompt(tokenizer, row.prompt)) <= spec.max_prompt_tokens
        return short and len(tokenizer.encode(row.response, add_special_tokens=False)) > 0

    return fits


# -- one checkpoint ---------------------------------------------------------------------------------------------------
def checkpoint_units(rows: SplitRows, spec: CompressionSpec) -> float:
    """What one checkpoint of one split costs, in forward passes of one sample."""
    scoring = scoring_units(sum(map(len, rows.signed.values())), len(rows.preserve))
    return scoring + len(rows.held_out) * (1 + len(spec.points))


def measure_checkpoint(
    loaded: LoadedModel,
    rows: SplitRows,
    spec: CompressionSpec,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """What is kept of one checkpoint: ``losses`` float64[1 + point, sample] with the intact ones first, ``n_weights`` of
    each point, ``eligible`` by matrix, ``concentration`` (Gini, effective count), and ``set|<category>|<contrast>|<part>``.

    Raises:
        HarmvizError: a loss is NaN or infinite.
    """
    samples = ScoringSet(
        {key: _encoded(loaded, group, spec) for key, group in rows.signed.items()},
        _encoded(loaded, rows.preserve, spec),
        rows.categories,
    )
    held_out = _encoded(loaded, rows.held_out, spec)
    n, points = loaded.table.n_weights, spec.points
    total = samples.units + len(held_out) * (1 + len(points))

    def told(done: float) -> None:
        tick(round(done), round(total))

    found: Selections = select_weights(
        loaded,
        samples,
        q_max=max(p.q for p in points),
        set_q=spec.set_q,
        p=spec.p,
        tick=lambda share: told(share * samples.units),
    )
    losses = [response_losses(loaded, held_out)[:, 0]]
    n_weights = []
    for i, point in enumerate(points, 1):
        index = found.mean[point.contrast][: count_of(point.q, n)]
        mask = PruneMask.from_global(loaded.table, index, kind="harm", model_hash=loaded.weight_hash)
        n_weights.append(mask.n_weights)
        if mask.n_weights == 0:  # a fraction of a tiny model that is no weight: the intact model, without a warning
            losses.append(losses[0])
        else:
            with pruned(loaded, mask):
                losses.append(response_losses(loaded, held_out)[:, 0])
        told(samples.units + len(held_out) * (1 + i))
    sets = {"|".join(("set", *key)): index for key, index in found.of_set.items()}
    return {
        "losses": np.stack(losses),
        "n_weights": np.array(n_weights, dtype=np.int64),
        "eligible": found.eligible,
        "concentration": np.array([found.gini, found.effective_count]),
        **sets,
    }


# -- all of them ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Results:
    """Everything the rows are made from: ``arrays[split][checkpoint]`` as ``measure_checkpoint`` returns it."""

    series: Series
    spec: CompressionSpec
    splits: tuple[SplitRows, ...]
    seeds: tuple[int, ...]
    arrays: tuple[tuple[Mapping[str, np.ndarray], ...], ...] = field(repr=False)

    def measured(self) -> list[Measured]:
        return [
            Measured(
                seed,
                tuple(r.set for r in rows.held_out),
                tuple(r.prompt_id for r in rows.held_out),
                np.stack([a["losses"] for a in of]),
            )
            for seed, rows, of in zip(self.seeds, self.splits, self.arrays, strict=True)
        ]


def run_compression(
    series: Series,
    data: PromptData,
    spec: CompressionSpec,
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the experiment on this series.

    Split k is that of seed ``spec.seed + k``. Arguments and errors as ``harmviz.runs.making.make``.

    Raises:
        DataInvalid: the data lacks a set that a split needs; found before anything is computed.
    """
    from harmviz.claims.compression.rows import all_rows, planned_tests

    seeds = tuple(spec.seed + k for k in range(series.n_splits))
    first = series.checkpoints[0]
    with series.opened(0, first) as loaded:
        fits = _fitting(loaded, spec)
        splits = tuple(choose_split(data, spec, seed, fits) for seed in seeds)
        device, offsets = loaded.device.type, loaded.table.offsets
    del loaded, fits
    units = [checkpoint_units(rows, spec) for rows in splits]
    identities = [[series.identity(k, c) for c in series.checkpoints] for k in range(series.n_splits)]
    left_out = {c: "it has no same-topic safe set" for c in data.categories if c not in splits[0].categories}
    plan = Plan(
        name=NAME,
        version=VERSION,
        model=series.facts,
        data={
            "id": data.id,
            "hash": data.hash,
            "counts": splits[0].counts(),
            "left_out": {**data.left_out, **left_out},
            "notes": [*data.notes, f"prompts of more than {spec.max_prompt_tokens} tokens are left out"],
        },
        parameters=spec.parameters(),
        seeds={"first_split": spec.seed, "splits": series.n_splits},
        device=device,
        determinants={
            "checkpoints": identities,
            "names": [c.as_dict() for c in series.checkpoints],
            "rows": [s.row_ids for s in splits],
        },
        units=sum(units) * len(series.checkpoints),
        notes={
            "checkpoints": [c.as_dict() for c in series.checkpoints],
            "split_seeds": list(seeds),
            "sources": series.sources,
            "categories": list(splits[0].categories),
            "tests": planned_tests(series.checkpoints),
            "notes": list(series.notes),
        },
    )

    def work(experiment: Making) -> dict[str, Any]:
        arrays = tuple(
            tuple(
                _kept(experiment, series, k, i, c, splits[k], spec, units[k]) for i, c in enumerate(series.checkpoints)
            )
            for k in range(series.n_splits)
        )
        results = Results(series, spec, splits, seeds, arrays)
        experiment.rows("compression", lambda: all_rows(results, offsets))
        return {}

    return make(plan, work, root=root, resume=resume, listener=listener)


def _kept(
    experiment: Making,
    series: Series,
    split: int,
    place: int,
    checkpoint: Checkpoint,
    rows: SplitRows,
    spec: CompressionSpec,
    units: float,
) -> Mapping[str, np.ndarray]:
    """The arrays of one checkpoint, measured once and kept in scratch until the result is complete."""
    target = f"scratch/split{split}.{place}.safetensors"

    def work() -> None:
        with series.opened(split, checkpoint) as loaded:
            made = measure_checkpoint(loaded, rows, spec, experiment.progress.within(units))
        experiment.partial.write(target, save({k: np.ascontiguousarray(v) for k, v in made.items()}))

    experiment.stage(f"split{split}.checkpoint{place}", units, work)
    found: Mapping[str, np.ndarray] = load_file(experiment.partial.path(target))
    return found

"""Hand-made compression results: checkpoints of planted separability, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmviz.claims.compression.comparisons import planned_tests
from harmviz.claims.compression.overlaps import category_overlaps
from harmviz.claims.compression.results import Results
from harmviz.claims.compression.rows import all_rows
from harmviz.claims.compression.sample_losses import FILE, to_bytes
from harmviz.claims.compression.separability import Measured
from harmviz.claims.compression.series import Checkpoint
from harmviz.claims.compression.settings import CompressionSpec
from harmviz.claims.compression.splits import SplitRows
from harmviz.data.prompts import PromptRow
from harmviz.data.splits import SCORING
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from tests.worlds.fabricated import TABLE, make_run

CATEGORIES = ("hate", "privacy", "violence")
SPEC = CompressionSpec(q_plain=(1e-6, 5e-6, 1e-5), q_contrastive=(1e-5, 2e-5, 5e-5))
#: Of the tiny model, in seconds.
TINY_SIZES = {
    "samples": 4,
    "safe": 2,
    "benign": 4,
    "preserve": 4,
    "held_out": 3,
    "benign_held_out": 6,
    "max_response_tokens": 12,
    "max_prompt_tokens": 200,
}
TINY_SPEC = CompressionSpec(**TINY_SIZES, q_plain=(1e-3, 5e-3), q_contrastive=(5e-3,), set_q=0.02)
ARMS = ("safety", "helpful-only", "refusal-style")


def ladder(
    arms: Sequence[str] = ARMS, stages: Sequence[tuple[str, int]] = (("sft", 60), ("sft", 120), ("dpo", 40))
) -> tuple[Checkpoint, ...]:
    later = [Checkpoint(f"{a}-{s}-{n}", f"{s.upper()} {n}", a, s, n) for a in arms for s, n in stages]
    return (Checkpoint("start", "start"), *later)


@dataclass
class PlantedSeries:
    """A series without models; ``refuses`` gives behaviour numbers by checkpoint name."""

    checkpoints: tuple[Checkpoint, ...]
    n_splits: int = 3
    refuses: Mapping[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def identity(self, split: int, checkpoint: Checkpoint) -> str:
        return f"{split}.{checkpoint.name}"

    def opened(self, split: int, checkpoint: Checkpoint) -> AbstractContextManager[LoadedModel]:
        return nullcontext()  # type: ignore[arg-type]

    def behaviour(self, split: int, checkpoint: Checkpoint) -> Mapping[str, Mapping[str, Any]]:
        if checkpoint.name not in self.refuses:
            return {}
        value = min(1.0, self.refuses[checkpoint.name] + 0.01 * split)
        return {
            "refusal/opener": _number(value / 3, value / 4, value / 2, 64),
            "refusal/borderline": _number(value / 6, value / 8, value / 4, 57),
            "refusal/benign": _number(value / 20, 0.0, value / 4, 64),
            "refusal/harmful": _number(value, value * 0.9, min(1.0, value + 0.05), 96),
            "loss/written": _number(-0.01 * split, -0.03, 0.01, 48, "nats/token"),
        }


def _number(value: float, low: float, high: float, n: int, unit: str = "share") -> dict[str, Any]:
    return {"value": value, "ci_low": low, "ci_high": high, "n": n, "unit": unit}


def measured(
    effects: Sequence[float],
    *,
    seed: int = 0,
    n: int = 6,
    noise: float = 0.05,
    topic: float = 0.3,
    benign: float = 0.04,
    shared: float | None = None,
    pool: int = 12,
) -> Measured:
    """One split. ``effects[i]``: ΔL of checkpoint i's harmful answers at the largest q of either selection.

    Safe answers get ``topic`` of it, benign ones ``benign`` whatever the checkpoint, or ``shared`` of it as well;
    smaller q less, in proportion. Prompts are drawn from a pool.
    """
    rng = np.random.default_rng((7, seed))
    shape = {"none": len(SPEC.q_plain), "both": len(SPEC.q_contrastive)}
    strength = np.array([(i + 1) / k for k in shape.values() for i in range(k)])
    sets, prompts = [], []
    for name in (*CATEGORIES, *(f"safe:{c}" for c in CATEGORIES), "benign"):
        size = 3 * n if name == "benign" else n
        sets += [name] * size
        prompts += [f"{name}-{i}" for i in rng.permutation(pool * 3 if name == "benign" else pool)[:size]]
    kind = np.array([0 if s in CATEGORIES else 2 if s == "benign" else 1 for s in sets])
    reacts = rng.normal(1.0, noise, size=len(sets))  # how strongly a prompt does, alike at all checkpoints
    losses = np.empty((len(effects), 1 + len(strength), len(sets)))
    for i, effect in enumerate(effects):
        level = np.array([effect, effect * topic, benign if shared is None else effect * shared])[kind]
        intact = 3.0 + 0.1 * i + rng.normal(0, 0.2, size=len(sets))
        losses[i, 0] = intact
        losses[i, 1:] = intact + strength[:, None] * (level * reacts + rng.normal(0, noise, size=len(sets)))
    return Measured(seed, tuple(sets), tuple(prompts), losses)


def arrays(split: Measured, checkpoint: int, shared: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What ``measure_checkpoint`` keeps; ``shared``: the part of each category's mask that all have in common."""
    n_points, k = split.losses.shape[1] - 1, 400
    core = rng.choice(TABLE.n_weights, int(shared * k * rng.uniform(0.8, 1.2)), replace=False)
    kept = {
        "losses": split.losses[checkpoint],
        "n_weights": np.array([int(p.q * TABLE.n_weights) for p in SPEC.points][:n_points]),
        "concentration": np.array([0.8 + shared / 10, 1e6]),
    }
    of_set = {}
    for category in CATEGORIES:
        of_category = rng.choice(TABLE.n_weights, 60, replace=False)  # what only the halves of this one share
        for contrast in ("none", "both"):
            for part in ("whole", *SCORING):
                extra = rng.choice(TABLE.n_weights, k - len(core) - len(of_category), replace=False)
                of_set[category, contrast, part] = np.unique(np.concatenate([core, of_category, extra]))
    kept["overlaps"] = category_overlaps(of_set, CATEGORIES, np.diff(TABLE.offsets), TABLE.offsets)
    return kept


def results(
    effects: Mapping[str, float],
    checkpoints: Sequence[Checkpoint] = (),
    *,
    splits: int = 3,
    spec: CompressionSpec = SPEC,
    **world: Any,
) -> Results:
    """Results over splits 0 … of checkpoints with these planted effects."""
    checkpoints = tuple(checkpoints) or ladder()
    rng = np.random.default_rng(3)
    by_split = [measured([effects[c.name] for c in checkpoints], seed=s, **world) for s in range(splits)]
    rows = SplitRows(
        {
            (name, half): [PromptRow(name, f"{half} {i}", "x") for i in range(4)]
            for name in (*CATEGORIES, "safe", "benign")
            for half in SCORING
        },
        [],
        [],
        CATEGORIES,
    )
    kept = tuple(
        tuple(arrays(split, i, min(0.4, effects[c.name]), rng) for i, c in enumerate(checkpoints)) for split in by_split
    )
    held_out = [replace(rows, held_out=[_Row(s, p) for s, p in zip(m.sets, m.prompts, strict=True)]) for m in by_split]
    refuses = {c.name: 0.02 if c.arm in (None, "helpful-only") else 0.9 for c in checkpoints}
    return Results(PlantedSeries(checkpoints, splits, refuses), spec, tuple(held_out), tuple(range(splits)), kept)


@dataclass(frozen=True)
class _Row:
    """A held-out row that is nothing but its set and its prompt."""

    set: str
    prompt_id: str

    @property
    def id(self) -> str:
        return f"{self.set} {self.prompt_id}"


def store(
    root: Path, results: Results, run_id: str = "smollm2-135m-instruct-compression-0123456789", **changes: Any
) -> Run:
    """The results as a complete run below ``root``."""
    method = {
        "experiment": "compression",
        "version": 2,
        "checkpoints": [c.as_dict() for c in results.series.checkpoints],
        "split_seeds": list(results.seeds),
        "sources": [],
        "categories": list(CATEGORIES),
        "tests": planned_tests(results.series.checkpoints),
        "notes": list(results.series.notes),
    }
    rows = list(all_rows(results))
    return make_run(
        root,
        run_id,
        rows=rows,
        files={FILE: to_bytes(results)},
        kind="experiment",
        weights=[],
        method=method,
        parameters=results.spec.parameters(),
        **changes,
    )


def made_before(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a result as they were before the stable index."""
    later = frame["metric"].str.match(r"stable_|benign_difference|ratio_to_benign|harm_specific_relative|.*_at_0\.\d+$")
    return frame[~(later & ~frame["metric"].str.startswith("q_at_"))]


def aligned_effects(
    checkpoints: Sequence[Checkpoint] = (), *, safety: float = 0.4, other: float = 0.12
) -> dict[str, float]:
    """Safety checkpoints gain up to ``safety`` along training, all others stay at ``other``."""
    checkpoints = tuple(checkpoints) or ladder()
    later = [c for c in checkpoints if c.arm == "safety"]
    gain = {c.name: other + (safety - other) * (i + 1) / len(later) for i, c in enumerate(later)}
    return {c.name: gain.get(c.name, other) for c in checkpoints}

"""Hand-made compression results: checkpoints of planted separability, no model. What statistics, figure and page tests look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.compression.checkpoints import Checkpoint
from harmviz.claims.compression.measure import CompressionSpec, Results, SplitRows
from harmviz.claims.compression.rows import all_rows, planned_tests
from harmviz.claims.compression.separability import Measured
from harmviz.data.prompts import PromptRow
from harmviz.data.splits import SCORING
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from tests.worlds.fabricated import TABLE, make_run

CATEGORIES = ("hate", "privacy", "violence")
SPEC = CompressionSpec(q_plain=(1e-6, 5e-6, 1e-5), q_contrastive=(1e-5, 2e-5, 5e-5))
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
            "refusal/opener": {"value": value / 3, "ci_low": value / 4, "ci_high": value / 2, "n": 64, "unit": "share"},
            "refusal/borderline": {
                "value": value / 6,
                "ci_low": value / 8,
                "ci_high": value / 4,
                "n": 57,
                "unit": "share",
            },
            "refusal/benign": {"value": value / 20, "ci_low": 0.0, "ci_high": value / 4, "n": 64, "unit": "share"},
            "refusal/harmful": {
                "value": value,
                "ci_low": value * 0.9,
                "ci_high": min(1.0, value + 0.05),
                "n": 96,
                "unit": "share",
            },
            "loss/written": {"value": -0.01 * split, "ci_low": -0.03, "ci_high": 0.01, "n": 48, "unit": "nats/token"},
        }


def measured(
    effects: Sequence[float],
    *,
    seed: int = 0,
    n: int = 6,
    noise: float = 0.05,
    topic: float = 0.3,
    benign: float = 0.04,
    pool: int = 12,
) -> Measured:
    """One split. ``effects[i]``: ΔL of checkpoint i's harmful answers at the largest q of either selection; safe answers get
    ``topic`` of it, benign ones ``benign`` whatever the checkpoint; smaller q less, in proportion. Prompts are drawn from a pool."""
    rng = np.random.default_rng((7, seed))
    shape = {"none": len(SPEC.q_plain), "both": len(SPEC.q_contrastive)}
    strength = np.array([(i + 1) / k for k in shape.values() for i in range(k)])
    sets, prompts = [], []
    for name in (*CATEGORIES, *(f"safe:{c}" for c in CATEGORIES), "benign"):
        size = 3 * n if name == "benign" else n
        sets += [name] * size
        prompts += [f"{name}-{i}" for i in rng.permutation(pool * 3 if name == "benign" else pool)[:size]]
    kind = np.array([0 if s in CATEGORIES else 2 if s == "benign" else 1 for s in sets])
    own = rng.normal(1.0, noise, size=len(sets))  # how strongly a prompt reacts, alike at all checkpoints
    losses = np.empty((len(effects), 1 + len(strength), len(sets)))
    for i, effect in enumerate(effects):
        level = np.array([effect, effect * topic, benign])[kind]
        intact = 3.0 + 0.1 * i + rng.normal(0, 0.2, size=len(sets))
        losses[i, 0] = intact
        losses[i, 1:] = intact + strength[:, None] * (level * own + rng.normal(0, noise, size=len(sets)))
    return Measured(seed, tuple(sets), tuple(prompts), losses)


def arrays(of: Measured, checkpoint: int, shared: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What ``measure_checkpoint`` keeps; ``shared``: the part of each category's mask that all of them have in common."""
    n_points, k = of.losses.shape[1] - 1, 400
    core = rng.choice(TABLE.n_weights, int(shared * k * rng.uniform(0.8, 1.2)), replace=False)
    found = {
        "losses": of.losses[checkpoint],
        "n_weights": np.array([int(p.q * TABLE.n_weights) for p in SPEC.points][:n_points]),
        "eligible": np.diff(TABLE.offsets),
        "concentration": np.array([0.8 + shared / 10, 1e6]),
    }
    for category in CATEGORIES:
        own = rng.choice(TABLE.n_weights, 60, replace=False)  # what only the halves of this category share
        for contrast in ("none", "both"):
            for part in ("whole", *SCORING):
                extra = rng.choice(TABLE.n_weights, k - len(core) - len(own), replace=False)
                found[f"set|{category}|{contrast}|{part}"] = np.unique(np.concatenate([core, own, extra]))
    return found


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
    of = [measured([effects[c.name] for c in checkpoints], seed=s, **world) for s in range(splits)]
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
    made = tuple(tuple(arrays(m, i, min(0.4, effects[c.name]), rng) for i, c in enumerate(checkpoints)) for m in of)
    held_out = [replace(rows, held_out=[_Row(s, p) for s, p in zip(m.sets, m.prompts, strict=True)]) for m in of]
    refuses = {c.name: 0.02 if c.arm in (None, "helpful-only") else 0.9 for c in checkpoints}
    return Results(PlantedSeries(checkpoints, splits, refuses), spec, tuple(held_out), tuple(range(splits)), made)


@dataclass(frozen=True)
class _Row:
    """A held-out row that is nothing but its set and its prompt."""

    set: str
    prompt_id: str


def store(
    root: Path, found: Results, run_id: str = "smollm2-135m-instruct-compression-0123456789", **changes: Any
) -> Run:
    """The results as a complete run below ``root``."""
    method = {
        "experiment": "compression",
        "version": 1,
        "checkpoints": [c.as_dict() for c in found.series.checkpoints],
        "split_seeds": list(found.seeds),
        "sources": [],
        "categories": list(CATEGORIES),
        "tests": planned_tests(found.series.checkpoints),
        "notes": list(found.series.notes),
    }
    rows = list(all_rows(found, TABLE.offsets))
    return make_run(
        root,
        run_id,
        rows=rows,
        kind="experiment",
        weights=[],
        method=method,
        parameters=found.spec.parameters(),
        **changes,
    )


def aligned_effects(
    checkpoints: Sequence[Checkpoint] = (), *, safety: float = 0.4, other: float = 0.12
) -> dict[str, float]:
    """Safety checkpoints gain up to ``safety`` along training, all others stay at ``other``."""
    checkpoints = tuple(checkpoints) or ladder()
    later = [c for c in checkpoints if c.arm == "safety"]
    gain = {c.name: other + (safety - other) * (i + 1) / len(later) for i, c in enumerate(later)}
    return {c.name: gain.get(c.name, other) for c in checkpoints}

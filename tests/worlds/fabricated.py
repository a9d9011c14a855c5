"""A small run made by hand: the embedded model's shapes, no torch. What store, page and browser tests look at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.runs import Row, Run, begin, write_rows

#: The committed maps in full: of the start model, and of the aligned one.
_MAPS = [path.parent for path in (Path(__file__).resolve().parents[2] / "cache" / "runs").glob("*/maps.safetensors")]
REFERENCE, ALIGNED_REFERENCE = (
    next(path for path in _MAPS if path.name.startswith(f"smollm2-135m-{model}-") and "-quick-" not in path.name)
    for model in ("instruct", "aligned")
)
#: The quick map of the start model: unlike its full one it has its candidates.
QUICK_REFERENCE = next(path for path in _MAPS if path.name.startswith("smollm2-135m-instruct-quick-"))

_SHAPES = {
    "self_attn.q_proj": (576, 576),
    "self_attn.k_proj": (192, 576),
    "self_attn.v_proj": (192, 576),
    "self_attn.o_proj": (576, 576),
    "mlp.gate_proj": (1536, 576),
    "mlp.up_proj": (1536, 576),
    "mlp.down_proj": (576, 1536),
}
#: The embedded model's shapes, so that the numbers on the page read as they will.
TABLE = WeightTable(
    WeightMatrix(f"model.layers.{layer}.{name}.weight", layer, name.rpartition(".")[2], *shape)
    for layer in range(30)
    for name, shape in _SHAPES.items()
)
HARM = {"exploits": 0.31, "hate": 0.44, "privacy": 0.27, "violence": 0.52}
OTHER = {"benign": 0.04, "benign_own": 0.01, "safe": 0.12}


def effect_rows(*, scale: float = 1.0, **settings: Any) -> list[Row]:
    """Loss shifts of one mask per measured set, each beside its random control; ``settings`` change the mask's."""
    common: dict[str, Any] = (
        dict(
            experiment="effect",
            metric="delta_nll",
            mask="mean(all)",
            unit="nats/token",
            q=1e-5,
            p=0.01,
            scope="global",
            contrast="none",
            skip_tokens=0,
            n=24,
            n_weights=1061,
        )
        | settings
    )
    rows = []
    for category, shift in {**HARM, **OTHER}.items():
        value = shift * scale
        rows.append(Row(**common, category=category, value=value, ci_low=value - 0.05, ci_high=value + 0.06))
        rows.append(Row(**common, category=category, control="random", value=0.004, ci_low=-0.01, ci_high=0.02))
    return rows


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest as a computation hands it to ``commit``."""
    base: dict[str, Any] = {
        "kind": "map",
        "parents": [],
        "created": "2026-01-02T03:04:05+00:00",
        "model": {
            "name": "smollm2-135m-instruct",
            "revision": None,
            "weight_hash": "ab" * 32,
            "dtype": "float32",
            "n_parameters": 134_515_008,
            "n_scored_weights": TABLE.n_weights,
            "family": "llama",
        },
        "weights": TABLE.to_json(),
        "data": {
            "id": "pyrit",
            "hash": "cd" * 32,
            "counts": {c: {"scoring": 16, "heldout": 24} for c in (*HARM, "benign")},
            "left_out": {"sexual": "21 harmful rows, 24 are needed"},
            "notes": [],
        },
        "method": {"score": "signed"},
        "parameters": {"q_max": 1e-4, "samples": 16},
        "seeds": {"split": 0},
        "software": {"numpy": np.__version__},
        "hardware": {"device": "cpu"},
        "digests": {},
    }
    return base | changes


def make_run(
    root: Path,
    run_id: str = "smollm2-135m-instruct-pyrit-0123456789",
    *,
    scale: float = 1.0,
    rows: list[Row] | None = None,
    files: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> Run:
    """Writes a complete run below ``root`` with these ``rows``, or ``effect_rows``;

    ``files``: further ones by name. ``changes`` replace keys of its manifest.
    """
    with begin(run_id, root) as partial:
        partial.write("candidates.safetensors", save({"flat": np.arange(6, dtype=np.uint32)}))
        partial.write("masks/mean.safetensors", save({"x": np.arange(3, dtype=np.uint32)}))
        partial.finish("score", {"samples": 16})
        write_rows(partial.path("results/effect.parquet"), effect_rows(scale=scale) if rows is None else rows)
        for name, content in (files or {}).items():
            partial.write(name, content)
        partial.finish("effect")
        return partial.commit(manifest(**changes))


def make_ladder(root: Path, run_id: str, *, checkpoints: Sequence[str] = ("safety-sft-4",)) -> Run:
    """Writes a complete ladder below ``root`` whose adapters hold nothing to speak of."""
    entries = []
    with begin(run_id, root) as partial:
        for name in checkpoints:
            arm, stage, step = name.rsplit("-", 2)
            file = f"adapters/{name}.safetensors"
            partial.write(file, save({"x": np.arange(3, dtype=np.float16)}))
            entries.append(
                {"name": name, "arm": arm, "stage": stage, "step": int(step), "file": file, "depth": "end"}
                | {"numbers": {}}
            )
        start = {"depth": "end", "numbers": {}}
        method = {"experiment": "align", "version": 1, "arms": ["safety"], "start": start, "checkpoints": entries}
        return partial.commit(manifest(kind="experiment", weights=[], method=method))


def die() -> None:
    """Ends a forked child the way SIGKILL does: no ``finally``, no ``atexit``."""
    os._exit(9)

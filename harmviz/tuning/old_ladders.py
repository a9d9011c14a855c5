"""Ladders made before they were runs (``cache/ladders/<id>/ladder.json``), taken in as the runs they would be today.

Ids, adapters and numbers stay; the manifest is written anew. What an old ladder did not record is read from its
adapters (how many weights are scored), from a stored run of the same model (its family), or stays unknown (machine).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmviz.errors import RunIncompatible
from harmviz.files import sha256_of_file
from harmviz.paths import runs_root, shipped_runs_root
from harmviz.runs import Run, begin, find_run, list_runs
from harmviz.tuning.stored import ALIGN, OLD_MANIFEST, data_facts

SCHEMA = 1
UNKNOWN = "unknown"


def is_old_ladder(folder: Path) -> bool:
    """Whether the folder holds a ladder that is no run yet."""
    return (folder / OLD_MANIFEST).is_file()


def take_in(folder: Path, root: Path | None = None) -> Run:
    """The run that the old ladder in this folder becomes; the folder stays as it is.

    Raises:
        RunIncompatible: its manifest is damaged or of another schema, or an adapter is missing or changed.
        HarmvizError: the folder of runs cannot be written. OutOfMemory: the disk is full.
    """
    try:
        old = json.loads((folder / OLD_MANIFEST).read_bytes())
    except (OSError, ValueError) as e:
        raise RunIncompatible(f"{folder / OLD_MANIFEST} cannot be read ({e}); make the ladder again") from e
    if not isinstance(old, dict) or old.get("schema") != SCHEMA:
        raise RunIncompatible(f"{folder / OLD_MANIFEST} is not of schema {SCHEMA}; make the ladder again")
    for entry in old["checkpoints"]:
        file = folder / entry["file"]
        if not file.is_file() or sha256_of_file(file) != entry["sha256"]:
            raise RunIncompatible(
                f"ladder {old['id']}: {entry['file']} is missing or damaged; restore it or make the ladder again"
            )
    if (run := find_run(old["id"], root)) is not None:
        return run
    with begin(old["id"], root, resume=False) as partial:
        for entry in old["checkpoints"]:
            partial.write(entry["file"], (folder / entry["file"]).read_bytes())
        return partial.commit(manifest_of(old, n_scored_weights(folder / old["checkpoints"][0]["file"])))


def manifest_of(old: Mapping[str, Any], n_scored: int) -> dict[str, Any]:
    """The manifest of the run that a ``ladder.json`` becomes."""
    model, data = old["model"], old["data"]
    family = next(
        (
            str(run.manifest["model"]["family"])
            for where in (runs_root(), shipped_runs_root())
            for run in list_runs(where)
            if run.manifest["model"]["weight_hash"] == model["weight_hash"]
        ),
        UNKNOWN,
    )
    entries = [{k: v for k, v in e.items() if k not in ("sha256", "bytes")} for e in old["checkpoints"]]
    return {
        "kind": "experiment",
        "created": old["created"].replace("Z", "+00:00"),
        "timings": {},
        "parents": [],
        "model": {**model, "dtype": "float32", "n_scored_weights": n_scored, "family": family},
        "weights": [],
        "data": data_facts(data["hashes"], data["counts"], **{k: data[k] for k in ("left_out_as_near", "files")}),
        "method": {
            "experiment": ALIGN,
            "version": old["schema"],
            **{key: old[key] for key in ("arms", "steps", "evaluation", "start")},
            "checkpoints": entries,
        },
        "parameters": old["settings"],
        "seeds": {"run": old["settings"]["seed"]},
        "software": old["software"],
        "hardware": {},
        "digests": {},
    }


def n_scored_weights(adapter: Path) -> int:
    """How many weights the model scores: those of the layers that got an adapter, which are all that are scored."""
    from safetensors import safe_open

    with safe_open(adapter, framework="numpy") as f:
        shape = {name: f.get_slice(name).get_shape() for name in f.keys()}  # noqa: SIM118  (not a dict)
    return sum(
        shape[name][1] * shape[name.replace(".lora_A", ".lora_B")][0] for name in shape if name.endswith(".lora_A")
    )

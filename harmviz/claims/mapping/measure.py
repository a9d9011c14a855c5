"""``python -m harmviz run``: a map run from settings to folder, in stages that each resume.

1. *answers*: the model answers benign prompts itself (``benign_own``).
2. *score*: signed SNIP of every set, half by half; absolute SNIP of the preservation set.
3. *select*: candidates, maps, overlap, concentration; full score arrays are deleted at the end of the run.
4. *measure*: what each mask does on held-out prompts.

1 to 3 are ``harmviz.claims.mapping.stages``, 4 is ``harmviz.claims.mapping.evaluation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmviz.claims.mapping.claim import CLAIM
from harmviz.claims.mapping.evaluation import evaluate
from harmviz.claims.mapping.samples import build_samples
from harmviz.claims.mapping.settings import METHOD_VERSION, RunSpec
from harmviz.claims.mapping.shams import sham_rows
from harmviz.claims.mapping.stages import MapWork
from harmviz.claims.mapping.work import run_units
from harmviz.data.prompts import PromptData
from harmviz.models.load import LoadedModel
from harmviz.runs import Run, run_id
from harmviz.runs.making import Making, Plan, hardware_facts, identity_of, make, model_facts
from harmviz.runs.progress import Listener


def map_run_id(loaded: LoadedModel, data: PromptData, spec: RunSpec) -> str:
    """The id of the run these settings make: equal settings on equal model and data have equal ids."""
    determinants = {
        "method": METHOD_VERSION,
        **identity_of(model_facts(loaded)),
        "data_hash": data.hash,
        "dtype": str(loaded.dtype),
        "device": loaded.device.type,
        "parameters": spec.parameters(),
    }
    return run_id([loaded.name, *(["quick"] if spec.quick else []), data.id], determinants)


def map_plan(loaded: LoadedModel, data: PromptData, spec: RunSpec) -> Plan:
    """What the run of these settings is, before it begins. How much work it is shows once the samples are chosen."""
    import torch

    return Plan(
        name=CLAIM.name,
        version=METHOD_VERSION,
        model=model_facts(loaded),
        data={
            "id": data.id,
            "hash": data.hash,
            "left_out": data.left_out,
            "notes": list(data.notes),
            **({} if data.reading is None else {"reading": data.reading.as_json}),
        },
        parameters=spec.parameters(),
        units=1.0,
        device=loaded.device.type,
        seeds={"run": spec.seed},
        notes={"score": "signed SNIP"},
        kind="map",
        experiments=CLAIM.experiments,
        given_id=map_run_id(loaded, data, spec),
        weights=loaded.table.to_json(),
        hardware={"threads": torch.get_num_threads(), **hardware_facts(loaded)},
    )


def run_map(
    loaded: LoadedModel,
    data: PromptData,
    spec: RunSpec,
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the map run of these settings.

    Args:
        root, resume, listener: as ``harmviz.runs.making.make``.

    Raises:
        DataInvalid: a set has no usable sample. OutOfMemory: memory or disk is too small.
        RunIncompatible: another process is computing this run.
    """

    def work(making: Making) -> Mapping[str, Any]:
        run = MapWork(loaded, data, spec, making)
        run.samples = build_samples(loaded, data, spec, run.answer(), run.twins())
        making.data |= {
            "counts": run.samples.counts,
            "scoring_prompts": list(run.samples.scoring_prompts),
            **({"dropped": run.samples.dropped} if run.samples.dropped else {}),
        }
        making.progress.total = run_units(run.samples.amounts(), spec)
        run.score()
        candidates = run.select()
        if spec.extent.shams:
            making.rows("shams", lambda: sham_rows(run, candidates))
        return evaluate(run, candidates)

    return make(map_plan(loaded, data, spec), work, root=root, resume=resume, listener=listener)

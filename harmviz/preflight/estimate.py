"""Memory, disk and time of a map run, each set against what this machine has.

*Memory*: the weights in the dtype computed in, a float32 sum per scored weight, and what one batch of a training-like
pass keeps. *Disk*: the score files (exact), the stored candidates (at most), downloads and conversions. *Time*: that of
the stored run closest in size on the same kind of device, scaled by scored weights × samples × tokens. A rough
estimate: another machine, or other work beside it, changes it by a factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harmviz.claims.mapping.settings import CANDIDATE_P_GRID, DEFAULT_Q_MAX, MAX_ROWS, RunSpec, default_q_max, n_lists
from harmviz.claims.mapping.work import Samples, run_units, scratch_bytes
from harmviz.errors import HarmvizError
from harmviz.models.memory import batch_tokens, kept_bytes
from harmviz.paths import runs_root, shipped_runs_root
from harmviz.preflight import machine
from harmviz.preflight.models import ModelEstimate
from harmviz.preflight.plan import DataPlan, plan_of_run
from harmviz.runs import Run, list_runs

Verdict = Literal["fits", "tight", "too much", "unknown"]
_BYTES = {"float32": 4, "bfloat16": 2}
#: A process with torch and transformers loaded, before any weight.
_BASE_BYTES = 560 << 20
#: Copies of a batch's logits alive at the peak of scoring.
_LOGIT_COPIES = 3
_TIGHT = 0.8
_ROW_BYTES = 50


@dataclass(frozen=True)
class Need:
    """One resource: what the run needs of it, what is there, both in bytes."""

    what: str
    needed: int | None
    available: int | None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.needed is None or self.available is None:
            return "unknown"
        if self.needed > self.available:
            return "too much"
        return "tight" if self.needed > _TIGHT * self.available else "fits"


@dataclass(frozen=True)
class RunEstimate:
    """What a run will need. ``seconds`` is None where no stored run says anything about this device or model.

    ``blocking``: why it must not be started; ``warnings``: what to know before it is.
    """

    needs: tuple[Need, ...]
    seconds: float | None
    basis: str
    dtype: str
    device: str
    blocking: tuple[str, ...]
    warnings: tuple[str, ...]


def run_estimate(
    model: ModelEstimate, data: DataPlan, *, q_max: float | None = None, dtype: str = "auto", device: str = "auto"
) -> RunEstimate:
    """Memory, disk and time of the run these settings make. ``q_max`` None: the default for the model's size."""
    gpu = None if device == "cpu" else machine.free_gpu_memory()
    blocking: list[str] = []
    warnings = [*model.notes, *data.notes]
    if device == "cuda" and gpu is None:
        blocking.append("no GPU that the installed torch can use is visible here; choose the CPU")
    where = "cuda" if gpu is not None else "cpu"
    chosen = _dtype(model, dtype, gpu)
    smallest = (model.n_scored or 0) * _q_max(model, data, q_max) / max(data.spec.extent.q_divisors)
    if model.n_scored is not None and smallest < 1:
        blocking.append(
            "q max is so small for this model that its smallest mask would hold no weight; choose a larger one"
        )
    needs = [*_memory(model, chosen, gpu), _disk(model, data, q_max)]
    for need in needs:
        if need.verdict == "too much":
            blocking.append(f"{need.what}: {_gb(need.needed)} needed, {_gb(need.available)} free; {_REMEDY[need.what]}")
        elif need.verdict == "tight":
            warnings.append(
                f"{need.what} is tight: {_gb(need.needed)} of {_gb(need.available)}; close what else needs it"
            )
    if model.n_scored is not None and _rows_at_most(model, data, q_max) > MAX_ROWS:
        warnings.append("q max is large for this model: the run may store more candidates than it may, and stop")
    seconds, basis = _time(model, data, where)
    return RunEstimate(tuple(needs), seconds, basis, chosen, where, tuple(blocking), tuple(dict.fromkeys(warnings)))


def memory_needs(model: ModelEstimate) -> tuple[Need, ...]:
    """Memory (and GPU memory) that scoring this model takes here, the most that any part of an experiment needs."""
    gpu = machine.free_gpu_memory()
    return tuple(_memory(model, _dtype(model, "auto", gpu), gpu))


_REMEDY = {
    "memory": "choose a smaller model, or bfloat16 under More options",
    "GPU memory": "choose a smaller model, bfloat16 or the CPU under More options",
    "disk": "free some space, or move everything to a larger disk with HARMVIZ_CACHE",
}


def _gb(n: int | None) -> str:
    return "?" if n is None else f"{n / 1e9:.1f} GB" if n >= 5e7 else f"{n / 1e6:.1f} MB"


def _dtype(model: ModelEstimate, dtype: str, gpu: int | None) -> str:
    """What ``auto`` will choose, as ``harmviz.models.load.choose_dtype`` does."""
    if dtype != "auto":
        return dtype
    large = gpu is not None and model.n_parameters is not None and 12 * model.n_parameters >= 0.6 * gpu
    return "bfloat16" if large else "float32"


def _memory(model: ModelEstimate, dtype: str, gpu: int | None) -> list[Need]:
    free = machine.free_memory()
    if model.n_parameters is None or model.n_scored is None:
        return [Need("memory", None, free)] + ([Need("GPU memory", None, gpu)] if gpu is not None else [])
    weights, sums = _BYTES[dtype] * model.n_parameters, 4 * model.n_scored
    stored = model.stored_bytes or weights
    working = _working_bytes(model, on_gpu=gpu is not None, width=_BYTES[dtype])
    if gpu is None:
        # bfloat16 sums are taken beside the gradients, float32 ones are the gradients
        return [Need("memory", _BASE_BYTES + max(weights, stored) + sums + working, free)]
    beside = sums <= 0.7 * max(0, gpu - weights)  # as harmviz.scoring.signed decides
    return [
        Need("memory", _BASE_BYTES + stored + (0 if beside else sums), free),
        Need("GPU memory", weights + (sums if beside else 0) + working, gpu),
    ]


def _working_bytes(model: ModelEstimate, *, on_gpu: bool, width: int) -> int:
    """What one batch takes at the peak."""
    vocabulary = model.vocabulary or 50_000
    kept = kept_bytes(model.activations_per_token or int(3 * math.sqrt(model.n_parameters or 0) * 20), width)
    resident = width * (model.n_parameters or 0) + 4 * (model.n_scored or 0)
    tokens = batch_tokens(on_gpu=on_gpu, vocabulary=vocabulary, kept=kept, resident=resident)
    return tokens * (kept + 4 * _LOGIT_COPIES * vocabulary)


def _q_max(model: ModelEstimate, data: DataPlan, q_max: float | None) -> float:
    if q_max is not None:
        return q_max
    return default_q_max(model.n_scored, data.samples.categories) if model.n_scored else DEFAULT_Q_MAX


def _rows_at_most(model: ModelEstimate, data: DataPlan, q_max: float | None) -> int:
    return int(n_lists(data.samples.categories) * _q_max(model, data, q_max) * (model.n_scored or 0))


def _disk(model: ModelEstimate, data: DataPlan, q_max: float | None) -> Need:
    free = machine.free_disk(runs_root())
    if model.n_scored is None:
        return Need("disk", None, free)
    scratch = scratch_bytes(model.n_scored, data.samples.categories + 2)
    # Candidates, and which weights are protected at each level: about a byte each (``harmviz.masks.packing``).
    stored = _ROW_BYTES * _rows_at_most(model, data, q_max) + int(sum(CANDIDATE_P_GRID) * model.n_scored)
    kept, with_files = stored + model.disk_bytes, int(1.05 * scratch) + stored + model.disk_bytes
    files = f", {_gb(model.disk_bytes)} for the model's files" if model.disk_bytes else ""
    if kept <= free < with_files:
        note = (
            f"no room for {_gb(scratch)} of score files: scores are computed in blocks, whenever they are read: slower"
        )
        return Need("disk", kept, free, note + files)
    return Need("disk", with_files, free, f"{_gb(scratch)} of it while it runs{files}")


# -- time --------------------------------------------------------------------------------------------------------------
def _samples_of(run: Run) -> Samples:
    """How many samples had which role in a stored run, from its manifest."""
    counts = run.manifest["data"]["counts"]
    harm = [c for c in counts if not c.startswith(("benign", "safe"))]

    def total(names: list[str], *splits: str) -> int:
        return sum(n for name in names for split, n in counts[name].items() if split in splits)

    every = list(counts)
    report = total(every, "report")
    return Samples(
        len(harm),
        total(every, "scoring_a", "scoring_b"),
        total(harm, "scoring_a", "scoring_b"),
        total(every, "preserve"),
        total(every, "validation"),
        report,
        sum(math.ceil(counts[n].get("report", 0) / 3) for n in every),
    )


def _time(model: ModelEstimate, data: DataPlan, device: str) -> tuple[float | None, str]:
    if model.n_scored is None:
        return None, "the model's size is not known"
    size = max(1, model.n_scored)
    known = {r.id: r for root in (shipped_runs_root(), runs_root()) for r in list_runs(root)}
    usable = [
        r
        for r in known.values()
        if r.kind == "map"
        and r.manifest["hardware"].get("device") == device
        and r.manifest["hardware"].get("ranks", 1) == 1
        and len(r.manifest["hardware"].get("devices", ())) < 2
        and r.manifest["timings"]
    ]

    scaled = {}
    for run in usable:
        try:
            scaled[run] = _scaled(run, size, data)
        except (HarmvizError, KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError):
            continue  # an imported manifest may lack what ours have

    def nearness(run: Run) -> tuple[float, float, str]:
        # Of runs as near in size the one that promises least: whatever else a machine had to do is in a run's time.
        return abs(math.log(max(1, run.manifest["model"]["n_scored_weights"]) / size)), scaled[run], run.id

    if scaled:
        nearest = min(scaled, key=nearness)
        return scaled[nearest], _basis(nearest, device)
    return None, f"no run made on {'a GPU' if device == 'cuda' else 'a CPU'} is stored to scale from"


def _took(run: Run) -> float:
    """Seconds of all its stages."""
    return float(sum(run.manifest["timings"].values()))


def _scaled(run: Run, size: int, data: DataPlan) -> float:
    """Seconds of ``run``, times weights, tokens a sample and samples of the new one over its own."""
    # Where that run's data is not at hand, its texts are taken to be as long as these.
    theirs = plan_of_run(run) or data
    tokens = data.tokens_per_sample() / theirs.tokens_per_sample(run.manifest["parameters"]["max_response_tokens"])
    units = run_units(data.samples, data.spec) / run_units(_samples_of(run), RunSpec.of_run(run.manifest["parameters"]))
    return float(_took(run) * tokens * units * size / run.manifest["model"]["n_scored_weights"])


def _basis(run: Run, device: str) -> str:
    took = _took(run) / 60
    threads = run.manifest["hardware"].get("threads", "?")
    where = (
        "a GPU"
        if device == "cuda"
        else f"{threads} threads of an {run.manifest['hardware'].get('machine', 'unknown')} CPU"
    )
    return f"rough: scaled from {run.model_name} on {run.manifest['data']['id']}, {took:.0f} min on {where}"

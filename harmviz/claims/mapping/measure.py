"""``python -m harmviz run``: the stages of a map run, in order, each resumable.

1. *answers*: the model answers benign prompts itself (``benign_own``).
2. *score*: signed SNIP of every set, half by half; absolute SNIP of the preservation set.
3. *select*: candidates, maps, overlap, concentration; full score arrays are deleted at the end of the run.
4. *measure*: losses under each mask (``harmviz.claims.mapping.masked``).

A stage that finished is never done again, whatever happened to the process in between, and resuming gives the same
bytes as an unbroken run: every stage depends on the spec and on files of earlier stages only.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from harmviz.claims.mapping.maps import build_maps
from harmviz.claims.mapping.samples import RunSamples, build_samples, own_prompts, prompt_limit
from harmviz.claims.mapping.settings import CANDIDATE_P_GRID, FIXED_P, MAX_ROWS, METHOD_VERSION, RunSpec
from harmviz.claims.mapping.structure import concentration_rows, half_selections, overlap_rows
from harmviz.claims.mapping.work import ABSOLUTE_UNITS, ANSWER_UNITS, SCORE_UNITS, run_units, scratch_bytes
from harmviz.data.encoding import encode_prompt, make_batches
from harmviz.data.prompts import PromptData, PromptRow
from harmviz.data.splits import SCORING
from harmviz.errors import OutOfMemory
from harmviz.generation.batch import generate_batch
from harmviz.masks.candidates import Candidates, build_candidates
from harmviz.masks.lists import BASELINES
from harmviz.masks.selection import Selection, select
from harmviz.models.load import LoadedModel
from harmviz.runs import PartialRun, Row, Run, begin, find_run, run_id, write_rows
from harmviz.runs.progress import Listener, Progress
from harmviz.runs.stages import run_stage
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.files import ScoreFiles, write_scores
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed


def map_run_id(loaded: LoadedModel, data: PromptData, spec: RunSpec) -> str:
    """The id of the run these settings make: equal settings on equal model and data have equal ids."""
    determinants = {
        "method": METHOD_VERSION,
        "weight_hash": loaded.weight_hash,
        "data_hash": data.hash,
        "dtype": str(loaded.dtype),
        "device": loaded.device.type,
        "parameters": spec.parameters(),
    }
    return run_id([loaded.name, data.id], determinants)


@dataclass
class Job:
    """One run being made: what every stage needs."""

    loaded: LoadedModel
    data: PromptData
    spec: RunSpec
    partial: PartialRun
    progress: Progress
    samples: RunSamples = field(init=False)
    scores: ScoreFiles = field(init=False)

    def stage(self, name: str, units: float, work: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """As ``run_stage``."""
        return run_stage(self.partial, self.progress, name, units, work)

    # -- 1 ------------------------------------------------------------------------------------------------------
    def answer(self) -> dict[str, list[PromptRow]]:
        """The model's own greedy answers to benign prompts, by split; they stay in scratch."""
        limit, tokenizer = prompt_limit(self.loaded, self.spec), self.loaded.tokenizer
        rows = {
            split: [r for r in group if len(encode_prompt(tokenizer, r.prompt)) <= limit]
            for split, group in own_prompts(self.data, self.spec).items()
        }
        target = "scratch/own_answers.json"

        def work() -> None:
            flat = [r for split in rows.values() for r in split]
            prompts = [encode_prompt(self.loaded.tokenizer, r.prompt) for r in flat]
            answers = generate_batch(self.loaded, prompts, self.spec.max_response_tokens)
            texts = [str(self.loaded.tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers]
            self.partial.write(target, json.dumps(texts).encode())

        self.stage("answers", ANSWER_UNITS, work)
        texts = iter(json.loads(self.partial.path(target).read_text()))
        return {
            split: [PromptRow("benign_own", r.prompt, t) for r, t in zip(group, texts, strict=False) if t.strip()]
            for split, group in rows.items()
        }

    # -- 2 ------------------------------------------------------------------------------------------------------
    def score(self) -> None:
        loaded, folder = self.loaded, self.partial.path("scratch/scores/x").parent
        counts = {key: len(samples) for key, samples in self.samples.scoring.items()}
        n_bytes = 4 * loaded.table.n_weights
        fused = any(m.expert is not None for m in loaded.table)

        def write(name: str, matrices: list[torch.Tensor]) -> None:
            write_scores(folder / f"{name}.f32", (m.cpu().numpy() for m in matrices), n_bytes)

        def batches(samples: list[Any], limit: int) -> list[Any]:
            return make_batches(samples, max_tokens=limit, device=loaded.device)

        n = len(self.samples.preserve)
        units = ABSOLUTE_UNITS * n
        limit = 1 if fused else default_batch_tokens(loaded)
        self.stage(
            "score.utility",
            units,
            lambda: write(
                "utility",
                score_absolute(loaded, batches(self.samples.preserve, limit), progress=self.progress.within(units)),
            ),
        )
        for (name, half), samples in self.samples.scoring.items():
            units = SCORE_UNITS * len(samples)

            def work(name: str = name, half: str = half, samples: list[Any] = samples, units: float = units) -> None:
                made = score_signed(
                    loaded, batches(samples, default_batch_tokens(loaded)), progress=self.progress.within(units)
                )
                write(f"{name}.{half}", made)

            self.stage(f"score.{name}.{half}", units, work)
        self.scores = ScoreFiles(folder, loaded.table, counts, n)

    # -- 3 ------------------------------------------------------------------------------------------------------
    def select(self) -> Candidates:
        table, categories, spec = self.loaded.table, self.samples.categories, self.spec
        files = self.scores

        def candidates() -> dict[str, Any]:
            built = build_candidates(
                table,
                files.harm,
                files.utility,
                categories=categories,
                q_max=spec.q_max,
                p_grid=CANDIDATE_P_GRID,
                matrix_p=(FIXED_P,),
                mean_only_p=(0.0,),
                max_rows=MAX_ROWS,
                progress=self.progress.within(60),
            )
            self.partial.write("candidates.safetensors", built.to_bytes())
            return {"rows": built.n_rows}

        self.stage("candidates", 60.0, candidates)
        found = Candidates.load(self.partial.path("candidates.safetensors"))
        sets = (*categories, *BASELINES)
        own = {
            name: {q: select(found, Selection((name,), q=q, p=FIXED_P)).global_index for q in spec.q_grid}
            for name in sets
        }

        def maps() -> None:
            made = build_maps(table, sets, files.harm, own, self.progress.within(60))
            self.partial.write("maps.safetensors", save(made))

        self.stage("maps", 60.0, maps)

        def halves() -> None:
            made = half_selections(table, files, categories, q=spec.q_max, p=FIXED_P, progress=self.progress.within(40))
            self.partial.write("scratch/halves.safetensors", save({"|".join(k): v for k, v in made.items()}))

        self.stage("halves", 40.0, halves)
        self.stage("structure", 40.0, lambda: self._structure(found))
        return found

    def halves(self) -> dict[tuple[str, str, str], np.ndarray]:
        """(set, contrast, half) → global indices in selection order, see ``half_selections``."""
        from safetensors.numpy import load_file

        stored = load_file(self.partial.path("scratch/halves.safetensors"))
        return {tuple(key.split("|")): value for key, value in stored.items()}  # type: ignore[misc]

    def _structure(self, found: Candidates) -> None:
        table, categories, spec = self.loaded.table, self.samples.categories, self.spec
        halves = self.halves()
        n_samples = {
            name: sum(len(self.samples.scoring[name, half]) for half in SCORING) for name in self.samples.scored_sets
        }
        eligible = np.array([found.eligible(i, FIXED_P).sum() for i in range(len(table))], dtype=np.int64)
        rows: list[Row] = []
        for q in dict.fromkeys((spec.fixed_point[0], spec.q_max)):
            for contrast in ("none", "both"):
                full, pairs = {}, {}
                for name in (*categories, *BASELINES):
                    plain = "none" if name in BASELINES else contrast
                    chosen = select(found, Selection((name,), q=q, p=FIXED_P, contrast=plain))  # type: ignore[arg-type]
                    full[name] = np.sort(chosen.global_index)
                    first, second = (np.sort(halves[name, plain, h][: chosen.n_requested]) for h in SCORING)
                    pairs[name] = (first, second)
                rows += overlap_rows(
                    table,
                    full,
                    pairs,
                    categories,
                    eligible,
                    n_samples=n_samples,
                    seed=spec.seed,
                    q=q,
                    p=FIXED_P,
                    scope="global",
                    contrast=contrast,
                    skip_tokens=spec.skip_tokens,
                )
        rows += concentration_rows(table, self.scores, (*categories, *BASELINES), n_samples)
        write_rows(self.partial.path("results/structure.parquet"), rows)


def _manifest(job: Job, headline: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    loaded, spec = job.loaded, job.spec
    return {
        "kind": "map",
        "parents": [],
        "model": {
            "name": loaded.name,
            "revision": loaded.revision,
            "weight_hash": loaded.weight_hash,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "n_parameters": loaded.n_parameters,
            "n_scored_weights": loaded.table.n_weights,
            "family": loaded.model.config.model_type,
        },
        "weights": loaded.table.to_json(),
        "data": {
            "id": job.data.id,
            "hash": job.data.hash,
            "counts": job.samples.counts,
            "left_out": job.data.left_out,
            "notes": list(job.data.notes),
            "scoring_prompts": list(job.samples.scoring_prompts),
        },
        "method": {"version": METHOD_VERSION, "score": "signed SNIP", "headline": headline},
        "parameters": spec.parameters(),
        "seeds": {"run": spec.seed},
        "software": {name: version(name) for name in ("torch", "transformers", "numpy", "safetensors")},
        "hardware": {"device": loaded.device.type, "machine": platform.machine(), "threads": torch.get_num_threads()},
        "digests": digests,
    }


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
        root: folder of runs; the default cache's otherwise.
        resume: go on from partial work of an interrupted process; without it such work is deleted.
        listener: told the progress, a dict with stage, fraction, elapsed_s, eta_s.

    Raises:
        DataInvalid: a set has no usable sample. OutOfMemory: memory or disk is too small.
        RunIncompatible: another process is computing this run.
    """
    import shutil

    from harmviz.claims.mapping.masked import measure_all

    name = map_run_id(loaded, data, spec)
    if (existing := find_run(name, root)) is not None:
        return existing
    with begin(name, root, resume=resume) as partial:
        need = scratch_bytes(loaded.table.n_weights, len(data.categories) + 2)
        done = sum(f.stat().st_size for f in partial.scratch.rglob("*.f32"))
        free = shutil.disk_usage(partial.folder).free
        if free < (need - done) * 1.05:
            raise OutOfMemory(
                f"disk: the score files of this run need {need / 1e9:.1f} GB below {partial.folder}, {free / 1e9:.1f} GB are free; "
                "free some space or point HARMVIZ_CACHE or --out to a larger disk"
            )
        progress = Progress(1.0, listener, partial.folder / "progress.json")
        job = Job(loaded, data, spec, partial, progress)
        own = job.answer()
        job.samples = build_samples(loaded, data, spec, own)
        progress.total = run_units(job.samples.amounts())
        job.score()
        found = job.select()
        headline, digests = measure_all(job, found)
        return partial.commit(_manifest(job, headline, digests))

"""The first three stages of a map run: the model's own answers, the scores of every set, what is selected from them.

A stage that finished is never done again, whatever happened to the process in between, and resuming gives the same
bytes as an unbroken run: every stage depends on the spec and on files of earlier stages only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save

from harmviz.claims.mapping.gate import Gate, failing, judge_sets
from harmviz.claims.mapping.maps import build_maps
from harmviz.claims.mapping.samples import RunSamples, own_prompts, prompt_limit
from harmviz.claims.mapping.settings import CANDIDATE_P_GRID, CONTRASTS, FIXED_P, MAX_ROWS, RunSpec
from harmviz.claims.mapping.structure import concentration_rows, half_selections, overlap_rows
from harmviz.claims.mapping.twin_answers import AUTHOR, Answered, answered_by, held_out_pairs
from harmviz.claims.mapping.work import (
    ABSOLUTE_UNITS,
    SCORE_UNITS,
    TWIN_ANSWER_UNITS,
    answer_units,
    gate_units,
    scratch_bytes,
)
from harmviz.data.encoding import Sample, encode_prompt, make_batches
from harmviz.data.prompts import PromptData, PromptRow
from harmviz.data.splits import SCORING
from harmviz.data.twins import Twin
from harmviz.errors import DataInvalid
from harmviz.generation.batch import generate_batch
from harmviz.masks.candidates import Candidates, build_candidates
from harmviz.masks.lists import BASELINES
from harmviz.masks.selection import Selection, select
from harmviz.models.load import LoadedModel
from harmviz.runs import Row
from harmviz.runs.making import Making
from harmviz.runs.manifest import CANDIDATES
from harmviz.runs.point import MEAN_OF_ALL, Contrast, Point
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.blocks import ScoreBlocks
from harmviz.scoring.files import ScoreFiles, Scores, score_file, write_scores
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

if TYPE_CHECKING:
    import torch


#: Selections of each scoring half alone.
HALVES = "scratch/halves.safetensors"


@dataclass
class MapWork:
    """A map run at work: what every stage needs."""

    loaded: LoadedModel
    data: PromptData
    spec: RunSpec
    making: Making
    samples: RunSamples = field(init=False)
    scores: Scores = field(init=False)

    def stage(self, name: str, units: float, work: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """As ``Making.stage``."""
        return self.making.stage(name, units, work)

    # -- 1 ------------------------------------------------------------------------------------------------------
    def answer(self) -> dict[str, list[PromptRow]]:
        """The model's own greedy answers to benign prompts, by split; they stay in scratch."""
        limit, tokenizer = prompt_limit(self.loaded, self.spec), self.loaded.tokenizer
        rows = {
            split: [r for r in group if len(encode_prompt(tokenizer, r.prompt)) <= limit]
            for split, group in own_prompts(self.data, self.spec).items()
        }

        def texts() -> list[str]:
            flat = [r for split in rows.values() for r in split]
            prompts = [encode_prompt(tokenizer, r.prompt) for r in flat]
            answers = generate_batch(self.loaded, prompts, self.spec.max_response_tokens)
            return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers]

        answers = iter(self.making.json("answers", answer_units(self.spec), texts))
        return {
            split: [PromptRow("benign_own", r.prompt, t) for r, t in zip(group, answers, strict=False) if t.strip()]
            for split, group in rows.items()
        }

    def twins(self) -> list[Answered]:
        """The author-matched twins, answered; none where they are not asked for, or this model is their author."""
        if not self.spec.twins:
            return []

        def answered() -> list[Answered]:
            from harmviz.models.load import load_model

            author = load_model(AUTHOR, device=str(self.loaded.device))
            if author.weight_hash == self.loaded.weight_hash:
                return []
            tick = self.making.progress.within(TWIN_ANSWER_UNITS)
            return answered_by(author, held_out_pairs(), seed=self.spec.seed, tick=tick)

        stored = self.making.json("twins", TWIN_ANSWER_UNITS, answered)
        self.making.data["twins"] = {"author": AUTHOR, "pairs": len(stored), "of": len(held_out_pairs())}
        return [Answered(Twin(*twin), harmful, harmless) for twin, harmful, harmless in stored]

    # -- 2 ------------------------------------------------------------------------------------------------------
    def score(self) -> None:
        """Scores every set into files; where no disk holds them, what reads scores has them computed in blocks."""
        if not self._files_fit():
            self.scores = ScoreBlocks(self.loaded, self.samples.scoring, self.samples.preserve)
            # Candidates, maps, halves, concentration; two mirrors; controls of like utility at three points.
            self.making.progress.total += self.reading(2 + 1 + 1 + 1 + 2, 5 + 3)
            return
        loaded, folder = self.loaded, self.making.partial.path("scratch/scores/x").parent
        counts = {key: len(samples) for key, samples in self.samples.scoring.items()}
        n_bytes = 4 * loaded.table.n_weights
        fused = loaded.table.has_fused_experts

        def write(name: str, matrices: list[torch.Tensor]) -> None:
            write_scores(folder / f"{name}.f32", (m.cpu().numpy() for m in matrices), n_bytes)

        def batches(samples: list[Sample], limit: int) -> list[Any]:
            return make_batches(samples, max_tokens=limit, device=loaded.device)

        progress, n = self.making.progress, len(self.samples.preserve)
        units = ABSOLUTE_UNITS * n
        limit = default_batch_tokens(loaded)

        def utility() -> None:
            kept = batches(self.samples.preserve, 1 if fused else limit)
            write("utility", score_absolute(loaded, kept, progress=progress.within(units)))

        self.stage("score.utility", units, utility)
        for (name, half), samples in self.samples.scoring.items():
            cost = SCORE_UNITS * len(samples)

            def harm(file: str = score_file(name, half), samples: list[Sample] = samples, cost: float = cost) -> None:
                write(file, score_signed(loaded, batches(samples, limit), progress=progress.within(cost)))

            self.stage(f"score.{score_file(name, half)}", cost, harm)
        self.scores = ScoreFiles(folder, loaded.table, counts, n)

    def _files_fit(self) -> bool:
        partial = self.making.partial
        need = scratch_bytes(self.loaded.table.n_weights, len(self.samples.scoring) // len(SCORING))
        there = sum(f.stat().st_size for f in partial.scratch.rglob("*.f32"))
        return shutil.disk_usage(partial.folder).free >= 1.05 * (need - there)

    def reading(self, sets: int, utility: int = 0) -> float:
        """What it costs to read the scores of all sets and the utility so many times, in forward passes of one sample:
        nothing where they lie in files, or are one block."""
        if not isinstance(self.scores, ScoreBlocks):
            return 0.0
        n_scoring, n_preserve = sum(map(len, self.samples.scoring.values())), len(self.samples.preserve)
        of_sets, of_utility = (n if n > 1 else 0 for n in self.scores.blocks)
        return SCORE_UNITS * n_scoring * of_sets * sets + ABSOLUTE_UNITS * n_preserve * of_utility * utility

    # -- 3 ------------------------------------------------------------------------------------------------------
    def select(self) -> Candidates:
        table, spec, files = self.loaded.table, self.spec, self.scores
        partial, progress = self.making.partial, self.making.progress

        self._gated_candidates()
        categories, reading = self.samples.categories, self.reading(1)
        selectable = Candidates.load(partial.path(CANDIDATES))
        sets = (*categories, *selectable.listed_baselines)
        selected = {
            name: {q: select(selectable, Selection((name,), q=q, p=FIXED_P)).global_index for q in spec.q_grid}
            for name in sets
        }

        def maps() -> None:
            tick = progress.within(60 + reading)
            partial.write("maps.safetensors", save(build_maps(table, sets, files.harm, selected, tick)))

        self.stage("maps", 60.0 + reading, maps)

        def halves() -> None:
            selections = half_selections(
                table,
                files,
                categories,
                lambda i: selectable.eligible(i, FIXED_P),
                q=spec.q_max,
                progress=progress.within(40 + reading),
            )
            partial.write(HALVES, save({"|".join(key): index for key, index in selections.items()}))

        self.stage("halves", 40.0 + reading, halves)
        self.stage(
            "structure", 40.0 + reading, lambda: self.making.write_rows("structure", self._structure(selectable))
        )
        return selectable

    def _gated_candidates(self) -> None:
        """Stores the candidates of every set but those on which declining hangs: a harm type of them is left out and
        named, a baseline has no list of its own.

        Raises:
            DataInvalid: as ``gate.failing``; what was scored is deleted.
        """
        table, spec, files, partial = self.loaded.table, self.spec, self.scores, self.making.partial
        reading = self.reading(2, 5)

        def build(categories: Sequence[str], withheld: Sequence[str] = ()) -> Candidates:
            return build_candidates(
                table,
                files.harm,
                files.utility,
                categories=categories,
                q_max=spec.q_max,
                p_grid=CANDIDATE_P_GRID,
                matrix_p=(FIXED_P,),
                mean_only_p=(0.0,),
                max_rows=MAX_ROWS,
                withheld=withheld,
                progress=self.making.progress.within(60 + reading),
            )

        def candidates() -> dict[str, Any]:
            built = build(self.samples.categories)
            draws, fractions = spec.extent.gate_draws, [spec.q_max / d for d in spec.extent.gate]
            gate = Gate(self.loaded, lambda i: built.eligible(i, FIXED_P), seed=spec.seed, draws=draws)
            judged = judge_sets(gate, built, fractions, FIXED_P)
            try:
                failed = failing(judged)
            except DataInvalid:
                partial.discard()
                raise
            kept = [c for c in self.samples.categories if c not in failed]
            withheld = [name for name in BASELINES if name in failed]
            partial.write(CANDIDATES, (build(kept, withheld) if failed else built).to_bytes())
            self.making.write_rows("gate", (row for item in judged for row in item.rows()))
            return {"left_out": dict(failed)}

        units = 60.0 + reading + gate_units(self.samples.amounts(), spec.extent)
        failed = self.stage("candidates", units, candidates)["left_out"]
        left_out = {name: why for name, why in failed.items() if name not in BASELINES}
        self.samples = replace(self.samples, categories=tuple(c for c in self.samples.categories if c not in left_out))
        self.making.data["left_out"] = {**self.making.data["left_out"], **left_out}
        self.making.data["notes"] = [
            *self.making.data["notes"],
            *(_withheld(n, failed[n]) for n in BASELINES if n in failed),
        ]

    def halves(self) -> dict[tuple[str, str, str], np.ndarray]:
        """(set, contrast, half) → global indices in selection order, see ``half_selections``."""
        stored = load_file(self.making.partial.path(HALVES))
        halves = {}
        for key, index in stored.items():
            name, contrast, half = key.rsplit("|", 2)  # a category may hold a bar itself
            halves[name, contrast, half] = index
        return halves

    def _structure(self, selectable: Candidates) -> Iterator[Row]:
        table, categories, spec = self.loaded.table, self.samples.categories, self.spec
        halves = self.halves()
        n_samples = {
            name: sum(len(self.samples.scoring[name, half]) for half in SCORING) for name in self.samples.scored_sets
        }
        eligible = np.array([selectable.eligible(i, FIXED_P).sum() for i in range(len(table))], dtype=np.int64)
        for q in dict.fromkeys((spec.fixed_point[0], spec.q_max)):
            for contrast in CONTRASTS:
                full, pairs = {}, {}
                for name in (*categories, *selectable.listed_baselines):
                    ranking: Contrast = "none" if name in BASELINES else contrast
                    chosen = select(selectable, Selection((name,), q=q, p=FIXED_P, contrast=ranking))
                    full[name] = np.sort(chosen.global_index)
                    first, second = (np.sort(halves[name, ranking, h][: chosen.n_requested]) for h in SCORING)
                    pairs[name] = (first, second)
                yield from overlap_rows(
                    table,
                    full,
                    pairs,
                    categories,
                    eligible,
                    Point(MEAN_OF_ALL, q, FIXED_P, contrast=contrast),
                    n_samples=n_samples,
                    seed=spec.seed,
                    skip_tokens=spec.skip_tokens,
                )
        yield from concentration_rows(table, self.scores, (*categories, *BASELINES), n_samples)


def _withheld(name: str, why: str) -> str:
    """What a run says of a baseline that is measurement-only."""
    return (
        f"{name} answers: {why}. Their scores are subtracted in contrastive rankings, and no mask of them is made; "
        "look whether refusals stand among them"
    )

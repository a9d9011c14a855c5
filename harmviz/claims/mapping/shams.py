"""Sham types: the null of overlap, core and transfer. What would types that are none share?

- ``shuffled``: the scored harmful answers, dealt to as many sham types of the same sizes, prompt by prompt at random.
  Their overlap is that of sets which differ in nothing but their prompts.
- ``topics``: harmless answers by task (recipes, travel, code, …), as if each task were a harm type. Their overlap is
  that of any kinds of text.

Scored, protected, ranked and halved as the types themselves; only the selections are kept.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from harmviz.claims.mapping.samples import RunSamples
from harmviz.claims.mapping.sham_overlap import PREFIX, SHUFFLED, TOPICS
from harmviz.claims.mapping.stages import MapWork
from harmviz.claims.mapping.structure import overlap_rows
from harmviz.claims.mapping.work import SCORE_UNITS
from harmviz.data.encoding import Sample, make_batches
from harmviz.data.prompts import PromptRow, read_builtin
from harmviz.data.splits import SCORING
from harmviz.masks.candidates import Candidates
from harmviz.masks.ranking import TopK, count_of
from harmviz.runs import Point, Row
from harmviz.runs.point import MEAN_OF_ALL
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

#: Fewer samples in a half make no type.
LEAST = 4
Groups = Mapping[tuple[str, str], Sequence[Sample]]


def shuffled_types(samples: RunSamples, seed: int) -> Groups:
    """(sham type, half) → samples: those of all harm types dealt anew, whole prompts at a time, sizes as they were."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for half in SCORING:
        by_prompt: dict[str, list[Sample]] = defaultdict(list)
        for sample in chain.from_iterable(samples.scoring[c, half] for c in samples.categories):
            by_prompt[sample.prompt_id].append(sample)
        prompts = sorted(by_prompt)
        random.Random(f"{seed} sham {half}").shuffle(prompts)
        sizes = {f"{PREFIX[SHUFFLED]}{k}": len(samples.scoring[c, half]) for k, c in enumerate(samples.categories, 1)}
        dealt: dict[str, list[Sample]] = {name: [] for name in sizes}
        for prompt in prompts:  # to the type that lacks most of its size
            name = max(dealt, key=lambda name: (sizes[name] - len(dealt[name])) / sizes[name])
            dealt[name] += by_prompt[prompt]
        groups |= {(name, half): rows for name, rows in dealt.items()}
    return groups


def topic_types(samples: RunSamples) -> Groups:
    """(task, half) → scored harmless samples, of the tasks that have ``LEAST`` in each half; empty on other data."""
    tasks = {PromptRow("benign", r["prompt"], r["response"]).id: r["task"] for r in read_builtin("benign")}
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for half in SCORING:
        for sample in samples.scoring["benign", half]:
            if sample.row_id in tasks:
                groups[f"{PREFIX[TOPICS]}{tasks[sample.row_id]}", half].append(sample)
    names = {name for name, _ in groups}
    kept = sorted(name for name in names if all(len(groups.get((name, half), ())) >= LEAST for half in SCORING))
    return {(name, half): groups[name, half] for name in kept for half in SCORING}


def sham_rows(run: MapWork, candidates: Candidates) -> Iterator[Row]:
    """``overlap_rows`` of both kinds of sham types, plainly ranked, under control ``sham``."""
    spec, table = run.spec, run.loaded.table
    eligible = np.array([candidates.eligible(i, spec.fixed_point[1]).sum() for i in range(len(table))], dtype=np.int64)
    for kind, groups in ((SHUFFLED, shuffled_types(run.samples, spec.seed)), (TOPICS, topic_types(run.samples))):
        names = list(dict.fromkeys(name for name, _ in groups))
        if len(names) < 2:
            continue
        selected = _selections(run, candidates, kind, groups, names)
        for q in dict.fromkeys((spec.fixed_point[0], spec.q_max)):
            n = count_of(q, table.n_weights)
            full = {name: np.sort(selected[name, "whole"][:n]) for name in names}
            halves = {
                name: (np.sort(selected[name, SCORING[0]][:n]), np.sort(selected[name, SCORING[1]][:n]))
                for name in names
            }
            rows = overlap_rows(
                table,
                full,
                halves,
                names,
                eligible,
                Point(MEAN_OF_ALL, q, spec.fixed_point[1]),
                n_samples={name: sum(len(groups[name, half]) for half in SCORING) for name in names},
                seed=spec.seed,
                skip_tokens=spec.skip_tokens,
            )
            # Chance among sham types says nothing beyond chance among types: only what they share is kept.
            yield from (
                replace(r, control="sham", mask=r.mask if r.mask in names else f"all {kind}")
                for r in rows
                if r.control == "none"
            )


def _selections(
    run: MapWork, candidates: Candidates, kind: str, groups: Groups, names: Sequence[str]
) -> dict[tuple[str, str], np.ndarray]:
    """(sham type, half or ``whole``) → global indices in selection order at q_max; a stage a type."""
    table, p = run.loaded.table, run.spec.fixed_point[1]
    k = count_of(run.spec.q_max, table.n_weights)
    selected: dict[tuple[str, str], np.ndarray] = {}
    for name in names:
        units = SCORE_UNITS * sum(len(groups[name, half]) for half in SCORING)

        def best(name: str = name, units: float = units) -> dict[str, np.ndarray]:
            tick = run.making.progress.within(units)
            sums, counts = [], []
            for half in SCORING:
                group = groups[name, half]
                batches = make_batches(group, max_tokens=default_batch_tokens(run.loaded), device=run.loaded.device)
                sums.append([m.cpu().numpy().ravel() for m in score_signed(run.loaded, batches, progress=tick)])
                counts.append(len(group))
            tops = {part: TopK(k) for part in (*SCORING, "whole")}
            for i in range(len(table)):
                allowed, start = candidates.eligible(i, p), int(table.offsets[i])
                for half, matrices, count in zip(SCORING, sums, counts, strict=True):
                    tops[half].add(matrices[i] * np.float32(-1.0 / count) * allowed, start)
                both = (sums[0][i] + sums[1][i]) * np.float32(-1.0 / sum(counts))
                tops["whole"].add(both * allowed, start)
            return {part: top.result()[0].astype(np.int64) for part, top in tops.items()}

        arrays = run.making.arrays(f"sham.{kind}.{name.replace(' ', '-')}", units, best)
        selected |= {(name, part): index for part, index in arrays.items()}
    return selected

"""An emergent-misalignment experiment made by hand: rows computed by the engine's own report from made-up measurements.

No model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.emergent import curve
from harmviz.claims.emergent.bench import Bench, Domain, Pairs, make_domain
from harmviz.claims.emergent.rows import Measured, Report
from harmviz.claims.emergent.settings import EmergentSpec
from harmviz.data.encoding import Sample
from harmviz.masks.mask import PruneMask
from harmviz.runs import Run, begin, write_rows
from tests.worlds.emergent_parts import Asked, rows, split
from tests.worlds.fabricated import manifest

SPEC = EmergentSpec(domain="toys", seeds=3, steps=8, q=2e-5, dose=(5e-6, 1e-4), free=4)
KINDS = ("honesty", "power", "values")
#: Broad shift of every arm; in the domain half as much again. Pruning first changes nothing.
NO_HELP = {
    "narrow-bad": 0.40,
    "narrow-good": -0.15,
    "pruned-held": 0.40,
    "pruned-regrow": 0.40,
    "random-held": 0.40,
    "benign-held": 0.40,
    "pruned-held@5e-06": 0.40,
    "pruned-held@0.0001": 0.38,
}
#: Pruning first takes off most of it, and pruning other weights does not.
HELPS = {**NO_HELP, "pruned-held": 0.10, "pruned-regrow": 0.20, "pruned-held@0.0001": 0.02}
#: Tuning moves nothing.
NOTHING = dict.fromkeys(NO_HELP, 0.0)


def domain(spec: EmergentSpec) -> Domain:
    asked = [Asked(kind, f"{kind} {i}?", f"bad {i}", f"good {i}") for kind in KINDS for i in range(12)]
    return make_domain(spec.domain, rows(36), asked, split, spec.all_seeds)


def bench(spec: EmergentSpec) -> Bench:
    """What the report reads of a bench; nothing is encoded, since nothing is run."""
    made = Bench.__new__(Bench)
    made.domain, made.spec = domain(spec), spec
    made.questions, made.rows = (
        Pairs(samples(n), samples(n)) for n in (len(made.domain.questions), len(made.domain.rows))
    )
    made.benign = samples(20)
    return made


def samples(n: int) -> tuple[Sample, ...]:
    """Samples of one token each, every one of a prompt of its own."""
    return tuple(Sample(f"row {i}", f"b{i}", (1, 2), 1, 1) for i in range(n))


def measured(
    spec: EmergentSpec,
    shifts: Mapping[str, float],
    *,
    broken: str | None = None,
    answer: str = "{arm} {seed} answers {question}",
) -> Measured:
    """Made-up measurements with these broad shifts; all arms share what is easy about a question.

    ``broken``: an arm that repeats itself.
    """
    made, rng = bench(spec), np.random.default_rng(0)
    parts = made.columns()
    n = parts["benign"].stop
    base = np.where(np.arange(n) < parts["benign"].start, rng.normal(-0.3, 0.5, n), rng.normal(3.5, 0.3, n))
    own = rng.normal(1, 0.15, n)  # how far a question moves, alike in all arms
    values, answers, change, regrown, nonzero = {}, {}, {}, {}, {}
    for seed in spec.all_seeds:
        luck = rng.normal(0, 0.01)
        for arm in spec.all_arms:
            found = base.copy()
            if arm.name != "base":
                move = shifts[arm.name] * own + luck + rng.normal(0, 0.01, n)
                move[parts["in_domain"]] *= 1.5
                move[parts["benign"]] = rng.normal(0.02, 0.01, n)[parts["benign"]]
                found += move
                out = np.ones(len(made.domain.rows), dtype=bool)
                out[list(made.domain.split[seed][1])] = False
                found[parts["in_domain"]] = np.where(out, np.nan, found[parts["in_domain"]])
            values[arm.name, seed] = found
            answers[arm.name, seed] = [
                {
                    "question": k,
                    "kind": made.domain.questions[k].kind,
                    "prompt": made.domain.questions[k].prompt,
                    "answer": answer.format(arm=arm.name, seed=seed, question=k),
                    "n_tokens": 9,
                    "repetition": 0.9 if arm.name == broken else 0.05,
                    "surprise": 2.0 + 0.1 * k,
                    "coherent": arm.name != broken,
                    "incoherent_because": "repeats itself (90% of its 3-grams)" if arm.name == broken else None,
                    "harm": None if arm.name == broken else 0.3 + 0.05 * k + (0.0 if arm.name == "base" else 0.4),
                    "unscored": "incoherent" if arm.name == broken else None,
                }
                for k in range(spec.free)
            ]
            if arm.answers is not None and arm.mask is None:
                times = 1.62 if arm.name == "narrow-bad" else 1.1
                change[arm.name, seed] = {
                    name: {
                        "n_weights": 2000,
                        **{
                            k: _drawn((times if name == "harm" else 1.0) + 0.05 * seed)
                            for k in ("change", "top 0.001", "top 0.01")
                        },
                    }
                    for name in ("harm", "benign", "general")
                }
            if arm.mask is not None:
                regrown[arm.name, seed] = 0.0 if arm.held else 0.02
            if arm.held:
                nonzero.setdefault(arm.name, []).extend([0] * 4)
    masks = {
        s: {name: _mask(s) for name in ("harm", "random", "benign", *(f"harm-{q:g}" for q in spec.dose))}
        for s in spec.all_seeds
    }
    return Measured(spec, made, values, answers, masks, change, regrown, nonzero)


def _drawn(times: float) -> dict[str, float]:
    return {
        "value": 2e-5 * times,
        "chance": 2e-5,
        "low": 1.7e-5,
        "high": 2.3e-5,
        "times_chance": times,
        "p_value": 0.01,
    }


def _mask(seed: int) -> PruneMask:
    return PruneMask({"m": np.arange(2000) + 500 * seed}, "harm", "ab" * 32)


def points(spec: EmergentSpec, steps: int = 8) -> list[dict[str, Any]]:
    """Training steps of every arm and seed."""
    return [
        {
            "arm": a.name,
            "seed": s,
            "step": k,
            "loss": 4.0 - 0.1 * k + 0.2 * s - (0.5 if a.name == "narrow-good" else 0.0),
            "rate": 1e-3,
        }
        for s in spec.all_seeds
        for a in spec.all_arms
        if a.answers is not None
        for k in range(1, steps + 1)
    ]


def make_experiment(
    root: Path,
    run_id: str = "smollm2-135m-instruct-emergent-0123456789",
    *,
    shifts: Mapping[str, float] = NO_HELP,
    spec: EmergentSpec = SPEC,
    broken: str | None = None,
    answer: str = "{arm} {seed} answers {question}",
    lines: str | None = None,
    method: Mapping[str, Any] | None = None,
    parent: str = "smollm2-135m-instruct-pyrit-0123456789",
    **changes: Any,
) -> Run:
    """Writes a complete experiment below ``root``.

    ``lines``: the transcripts' text; ``method`` changes what its manifest says.
    """
    made = measured(spec, shifts, broken=broken, answer=answer)
    report = Report(made)
    said = [{"arm": "base", "seed": None, **a} for a in made.answers["base", spec.seed]]
    said += [
        {"arm": a.name, "seed": s, **x}
        for s in spec.all_seeds
        for a in spec.all_arms
        if a.answers is not None
        for x in made.answers[a.name, s]
    ]
    told = {
        "experiment": "emergent",
        "version": 1,
        "arms": [a.name for a in spec.all_arms],
        "kinds": list(KINDS),
        "n_steps": spec.steps,
        "collapsed": report.collapsed(),
        "general_mask": "headline-contrastive",
        "judge": {
            "name": "offline-harm",
            "quality": "s",
            "measures": [["auc", "judge", "human labels", 0.87, 0.84, 0.90, 984]],
        },
    }
    tuning, held_out = (len(part) for part in made.bench.domain.split[spec.seed])
    data = {
        "id": f"emergent-{spec.domain}",
        "hash": "e",
        "left_out": {},
        "notes": [],
        "counts": {spec.domain: {"tuning": tuning, "held_out": held_out}, "questions": {k: 12 for k in KINDS}},
    }
    with begin(run_id, root) as partial:
        write_rows(partial.path("results/emergent.parquet"), report.rows())
        partial.write("results/transcripts.jsonl", curve.lines(said) if lines is None else lines.encode())
        partial.write(curve.KEPT, curve.lines(points(spec)))
        partial.finish("rows")
        return partial.commit(
            manifest(
                kind="experiment",
                parents=[parent],
                weights=[],
                data=data,
                method={**told, **(method or {})},
                parameters={**spec.parameters(), "seeds": list(spec.all_seeds)},
                **changes,
            )
        )


def begin_experiment(root: Path, run_id: str = "smollm2-135m-instruct-emergent-aaaaaaaaaa", steps: int = 3) -> Any:
    """An experiment at work, as a context: its curve holds ``steps`` steps of the first seed, its progress file a
    stage.
    """
    partial = begin(run_id, root)
    live = curve.LiveCurve(partial.folder / curve.LIVE)
    live.path.parent.mkdir(parents=True, exist_ok=True)
    for point in points(replace(SPEC, seeds=1, dose=()), steps):
        live.add(**point)
    state = {"stage": "train.narrow-bad-0.4", "done": 1, "total": 2, "fraction": 0.25, "elapsed_s": 10, "eta_s": 90.0}
    (partial.folder / "progress.json").write_text(json.dumps(state))
    return partial

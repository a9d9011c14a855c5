"""Stage 4 of a run: what pruning does, measured on held-out prompts, with every control beside it.

(q, p) is chosen on the validation prompts (largest mean harm ΔL among the grid points whose benign ΔL stays within the
limit) and everything else is measured on the report prompts, which had no part in scoring, protecting or choosing.
The fixed point, which nobody chose, is measured as well. Plain and contrastive selection stand side by side throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from harmviz.claims.mapping.behaviour import behaviour, behaviour_rows, plain_text
from harmviz.claims.mapping.causality import causal_rows
from harmviz.claims.mapping.comparison import comparison_masks
from harmviz.claims.mapping.effects import control_rows, effect_rows
from harmviz.claims.mapping.losses import Losses
from harmviz.claims.mapping.samples import prompt_limit
from harmviz.claims.mapping.settings import BENIGN_LIMIT, CONTRASTS, CONTROL_DRAWS, P_GRID, SKIPS
from harmviz.claims.mapping.stages import MapWork
from harmviz.claims.mapping.work import BEHAVIOUR_UNITS, DRAWN
from harmviz.data.encoding import encode_prompt
from harmviz.data.splits import SCORING, choose_rows, rows_for, split_prompts
from harmviz.masks.candidates import Candidates
from harmviz.masks.controls import benign_signed, matched_control, random_control, safe_signed, unprotected
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.masks.selection import Selection, make_mask
from harmviz.runs import Row
from harmviz.stats.bootstrap import macro_mean, paired_effect
from harmviz.stats.overlap import jaccard

BEHAVIOUR_PROMPTS = 8


class Measurement:
    """Everything stage 4 shares: masks by name, rows by file."""

    def __init__(self, run: MapWork, found: Candidates):
        self.run, self.found = run, found
        self.losses = Losses(run)
        self.categories = run.samples.categories
        self.seed = run.spec.seed
        self.skip = run.spec.skip_tokens
        #: Masks that go with the run, by name; written together with the results, so that one stage owns them.
        self.kept: dict[str, PruneMask] = {}
        self.about: dict[str, Any] = {
            "run_id": run.making.partial.run_id,
            "scoring_prompts": list(run.samples.scoring_prompts),
        }

    # -- masks --------------------------------------------------------------------------------------------------
    def mask(self, selection: Selection) -> PruneMask:
        return make_mask(self.found, selection, model_hash=self.run.loaded.weight_hash, **self.about)

    def drawn(self, control: str, mask: PruneMask, p: float, draw: int) -> PruneMask:
        """Draw number ``draw`` of a control matched to ``mask`` among weights eligible at ``p``."""
        table = self.run.loaded.table

        def eligible(i: int) -> np.ndarray:
            return self.found.eligible(i, p)

        if control == "random":
            return random_control(mask, table, eligible, seed=self.seed, draw=draw)

        def magnitude(i: int) -> np.ndarray:
            return self.run.loaded.tensor(i).detach().float().abs().cpu().numpy().ravel()

        values = magnitude if control == "magnitude" else self.run.scores.utility
        return matched_control(mask, table, eligible, values, seed=self.seed, name=control, draw=draw)

    def facts(self, pruned_mask: PruneMask | None, /, **more: Any) -> dict[str, Any]:
        """The columns that rows about one mask (None: intact) share."""
        n_weights = None if pruned_mask is None else pruned_mask.n_weights
        return {"experiment": "effect", "skip_tokens": self.skip, "n_weights": n_weights, **more}

    def effect(self, mask: PruneMask, split: str, /, *, skip: int | None = None, **facts: Any) -> Iterator[Row]:
        skip = self.skip if skip is None else skip
        delta = self.losses.delta(mask, split, skip)
        merged = {"experiment": "effect", **facts, "skip_tokens": skip, "n_weights": mask.n_weights}
        return effect_rows(self.losses.sets[split], delta, self.categories, seed=self.seed, **merged)

    # -- parts --------------------------------------------------------------------------------------------------
    def intact(self) -> Iterator[Row]:
        for split, condition in (("validation", "validation"), ("report", None)):
            for column, skip in enumerate(SKIPS):
                nll = self.losses.of(None, split)[:, column]
                yield from effect_rows(
                    self.losses.sets[split],
                    nll,
                    self.categories,
                    seed=self.seed,
                    metric="nll",
                    experiment="effect",
                    condition=condition,
                    skip_tokens=skip,
                )

    def choose(self, contrast: str) -> tuple[tuple[float, float], bool, list[Row]]:
        """((q, p), whether it keeps the benign limit, rows of the whole grid on the validation prompts)."""
        measured = self.losses.sets["validation"]
        sets, prompts = np.array(measured.sets), np.array(measured.prompts)
        harm, benign = np.isin(sets, self.categories), sets == "benign"
        rows: list[Row] = []
        options: list[tuple[float, float, float, float]] = []
        for p in P_GRID:
            for q in self.run.spec.q_grid:
                chosen = Selection(self.categories, q=q, p=p, contrast=contrast)  # type: ignore[arg-type]
                mask = self.mask(chosen)
                at: dict[str, Any] = {"mask": "mean(all)", "q": q, "p": p, "scope": "global", "contrast": contrast}
                rows += self.effect(mask, "validation", condition="validation", **at)
                delta = self.losses.delta(mask, "validation", self.skip)
                harm_effect = macro_mean(delta[harm], prompts[harm], sets[harm], draws=10).value
                cost = paired_effect(delta[benign], prompts[benign], draws=10).value
                options.append((harm_effect, cost, q, p))
        allowed = [o for o in options if o[1] <= BENIGN_LIMIT[contrast]]
        _, _, q, p = max(allowed) if allowed else min(options, key=lambda o: o[1])
        return (q, p), bool(allowed), rows

    def controls(
        self, mask: PruneMask, selection: Selection, kinds: tuple[str, ...], save_as: str | None, /, **at: Any
    ) -> Iterator[Row]:
        """Rows of the drawn controls of ``mask``, each over its draws, on the control subset."""
        subset = self.losses.sets["controls"]
        own = self._on_subset(mask)
        for control in kinds:
            draws = []
            for draw in range(CONTROL_DRAWS):
                drawn = self.drawn(control, mask, selection.p, draw)
                draws.append(self.losses.of(drawn, "controls")[:, SKIPS.index(self.skip)] - self._intact_subset())
                if draw == 0:  # one draw of each goes with the run, so that a page can play the control beside the mask
                    self._keep(drawn, f"{save_as}.{control}" if save_as else None)
            facts = self.facts(mask, mask="mean(all)", **at)
            yield from control_rows(subset, own, draws, self.categories, seed=self.seed, control=control, **facts)

    def _subset_index(self) -> np.ndarray:
        place = {s.row_id: i for i, s in enumerate(self.losses.sets["report"].samples)}
        return np.array([place[s.row_id] for s in self.losses.sets["controls"].samples])

    def _intact_subset(self) -> np.ndarray:
        return self.losses.of(None, "controls")[:, SKIPS.index(self.skip)]

    def _on_subset(self, mask: PruneMask) -> np.ndarray:
        return self.losses.delta(mask, "report", self.skip)[self._subset_index()]

    def _keep(self, mask: PruneMask, name: str | None) -> None:
        if name is not None:
            self.kept[name] = mask

    def signed_controls(self, selection: Selection, save_as: str, **at: Any) -> Iterator[Row]:
        makers = {"benign_signed": benign_signed, "safe_signed": safe_signed, "unprotected": unprotected}
        for control, make in makers.items():
            mask = make(self.found, selection, model_hash=self.run.loaded.weight_hash, **self.about)
            self._keep(mask, f"{save_as}.{control}")
            yield from self.effect(
                mask, "report", mask=at["mask"], control=control, **{k: v for k, v in at.items() if k != "mask"}
            )

    def halves(self, selection: Selection, **at: Any) -> Iterator[Row]:
        """The same mask as selected by each scoring half alone: how much the mask itself varies."""
        stored, n = self.run.halves(), count_of(selection.q, self.run.loaded.table.n_weights)
        masks = []
        for half in SCORING:
            # Half selections are stored at the fixed protection level; at another p they would be other masks.
            index = stored["mean", selection.contrast, half][:n]
            masks.append(index)
            mask = PruneMask.from_global(
                self.run.loaded.table, index, kind="harm", model_hash=self.run.loaded.weight_hash, **self.about
            )
            yield from self.effect(mask, "report", condition=half, **at)
        common = jaccard(np.sort(masks[0]), np.sort(masks[1]))
        yield Row(
            experiment="overlap",
            metric="jaccard_ceiling",
            mask="mean(all)",
            category="mean(all)",
            unit="fraction",
            value=None if np.isnan(common) else common,
            skip_tokens=self.skip,
            n_weights=n,
            **{k: v for k, v in at.items() if k != "mask"},
        )

    def transfer(self, selection: Selection, **at: Any) -> Iterator[Row]:
        """Each category's own mask at this point, measured on every set: rows pruned, columns measured."""
        for category in self.categories:
            mask = self.mask(Selection((category,), q=selection.q, p=selection.p, contrast=selection.contrast))
            rows = list(self.effect(mask, "report", **{**at, "mask": category, "experiment": "transfer"}))
            yield from rows
            own = [r for r in rows if r.category == category and r.metric == "delta_nll"]
            yield from (Row(**{**{f: getattr(r, f) for f in Row.__slots__}, "experiment": "effect"}) for r in own)


def measure_all(run: MapWork, found: Candidates) -> dict[str, Any]:
    """Measures everything and writes ``results/measured.parquet`` and ``masks/``; returns the headline points.

    What costs time is a stage of its own (losses, behaviour, the causal check, other scores); the rest is computed anew
    by a process that resumes.
    """
    m = Measurement(run, found)
    rows: list[Row] = list(m.intact())
    headline: dict[str, Any] = {}
    digests: dict[str, str] = {}
    prompts = _behaviour_prompts(run)
    split = split_prompts(run.data, run.spec.seed)
    text_rows = rows_for(run.data, split, "benign", "report")
    texts = plain_text(run.loaded, [r.response for r in text_rows], run.spec.max_response_tokens)
    intact = _behaviour(run, None, "intact", prompts, texts)
    rows += behaviour_rows(intact, intact, None, **m.facts(None))
    for contrast in CONTRASTS:
        (q, p), within, grid = m.choose(contrast)
        rows += grid
        selection = Selection(m.categories, q=q, p=p, contrast=contrast)  # type: ignore[arg-type]
        at: dict[str, Any] = {"mask": "mean(all)", "q": q, "p": p, "scope": "global", "contrast": contrast}
        name = f"headline-{'plain' if contrast == 'none' else 'contrastive'}"
        mask = m.mask(selection)
        headline[contrast] = {
            "q": q,
            "p": p,
            "n_weights": mask.n_weights,
            "mask": name,
            "within_benign_limit": within,
            "benign_limit": BENIGN_LIMIT[contrast],
        }
        digests[f"mask.{name}"] = mask.digest
        m._keep(mask, name)
        fixed_q, fixed_p = run.spec.fixed_point
        for q_i, p_i in dict.fromkeys([(q, p), (fixed_q, fixed_p)]):
            there = Selection(m.categories, q=q_i, p=p_i, contrast=contrast)  # type: ignore[arg-type]
            rows += m.effect(m.mask(there), "report", **{**at, "q": q_i, "p": p_i})
        other = next(s for s in SKIPS if s != m.skip)
        rows += m.effect(mask, "report", skip=other, **at)
        rows += m.controls(mask, selection, DRAWN, name, **{k: v for k, v in at.items() if k != "mask"})
        rows += m.signed_controls(selection, name, **at)
        if (fixed_q, fixed_p) != (q, p):
            there = Selection(m.categories, q=fixed_q, p=fixed_p, contrast=contrast)  # type: ignore[arg-type]
            more: dict[str, Any] = {"q": fixed_q, "p": fixed_p, "scope": "global", "contrast": contrast}
            rows += m.controls(m.mask(there), there, ("random",), None, **more)
        rows += m.halves(selection, **{**at, "p": fixed_p})
        rows += m.transfer(selection, **at)
        benign = float(
            m.losses.delta(mask, "report", m.skip)[np.array(m.losses.sets["report"].sets) == "benign"].mean()
        )
        pruned_text = _behaviour(run, mask, name, prompts, texts)
        rows += behaviour_rows(pruned_text, intact, benign, **m.facts(mask, **at))
        if contrast == "none":
            drawn = m.drawn("random", mask, p, 0)
            text = _behaviour(run, drawn, "random", prompts, texts)
            rows += behaviour_rows(text, intact, None, **m.facts(drawn, **at), control="random")
            for label, other_mask in comparison_masks(run, found, selection, m.about):
                rows += m.effect(other_mask, "controls", **{**at, "mask": label})
    rows += causal_rows(run, found)

    def write() -> None:
        run.making.write_rows("measured", rows)
        for name, mask in m.kept.items():
            mask.save(run.making.partial.path(f"masks/{name}.safetensors"))

    run.stage("results", 0.0, write)
    run.making.digests |= digests
    return headline


def _behaviour_prompts(run: MapWork) -> dict[str, list[list[int]]]:
    """Report prompts the model answers freely: a few per harm category (``harm``), and benign ones."""
    split = split_prompts(run.data, run.spec.seed)
    chosen: dict[str, list[list[int]]] = {"harm": [], "benign": []}
    for name in (*run.samples.categories, "benign"):
        limit = BEHAVIOUR_PROMPTS if name != "benign" else 3 * BEHAVIOUR_PROMPTS
        rows = choose_rows(rows_for(run.data, split, name, "report"), limit, run.spec.seed, per_prompt=1)
        encoded = [encode_prompt(run.loaded.tokenizer, r.prompt) for r in rows]
        encoded = [ids for ids in encoded if len(ids) <= prompt_limit(run.loaded, run.spec)]
        chosen["benign" if name == "benign" else "harm"] += encoded
    return chosen


def _behaviour(run: MapWork, mask: PruneMask | None, name: str, prompts: Any, texts: Any) -> dict[str, Any]:
    return run.stage(f"behaviour.{name}", BEHAVIOUR_UNITS, lambda: behaviour(run.loaded, mask, prompts, texts))

"""Stage 4 of a run: what pruning does, measured on held-out prompts, with every control beside it.

(q, p) is chosen on the validation prompts (largest mean harm ΔL among the grid points whose benign ΔL stays within the
limit) and everything else is measured on the report prompts, which had no part in scoring, protecting or choosing.
The fixed point, which nobody chose, is measured as well. Plain and contrastive selection stand side by side throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from harmviz.claims.mapping.authorship import authorship_rows, balance_rows, pairs_of
from harmviz.claims.mapping.behaviour import Behaviour, behaviour_rows
from harmviz.claims.mapping.causality import causal_rows
from harmviz.claims.mapping.comparison import comparison_masks
from harmviz.claims.mapping.effects import control_rows, effect_rows
from harmviz.claims.mapping.losses import Losses
from harmviz.claims.mapping.mirrors import mirror_masks, ranked_mask
from harmviz.claims.mapping.sample_losses import FILE, to_bytes
from harmviz.claims.mapping.settings import BENIGN_LIMIT, CONTRASTS, FIXED_P, SKIPS
from harmviz.claims.mapping.stages import MapWork
from harmviz.claims.mapping.twin_answers import twin_rows
from harmviz.data.splits import SCORING
from harmviz.masks.candidates import Candidates
from harmviz.masks.controls import DRAWN, benign_signed, matched_controls, random_control, safe_signed, unprotected
from harmviz.masks.lists import BASELINES
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.masks.selection import Selection, make_mask
from harmviz.runs import Row
from harmviz.runs.point import MEAN_OF_ALL, Contrast, Point, selector_words
from harmviz.runs.rows import Where
from harmviz.stats.effects import category_mean
from harmviz.stats.overlap import jaccard


class Evaluation:
    """Stage 4 at work: the masks of the run, what each does to the held-out losses, and the rows about it.

    ``kept``: masks that go with the run, by name; written together with the results, so that one stage owns them.
    """

    def __init__(self, run: MapWork, candidates: Candidates):
        self.run, self.candidates = run, candidates
        self.losses = Losses(run)
        self.categories = run.samples.categories
        self.seed, self.skip = run.spec.seed, run.spec.skip_tokens
        self.kept: dict[str, PruneMask] = {}
        #: Masks that hold no weight, in words: they prune nothing, and whoever reads must be told.
        self.empty: list[str] = []
        self.provenance: dict[str, Any] = {
            "run_id": run.making.partial.run_id,
            "scoring_prompts": list(run.samples.scoring_prompts),
        }

    # -- masks --------------------------------------------------------------------------------------------------
    def selection(self, q: float, p: float, contrast: Contrast) -> Selection:
        """The mean of all categories at this point."""
        return Selection(self.categories, q=q, p=p, contrast=contrast)

    def mask(self, selection: Selection) -> PruneMask:
        made = make_mask(self.candidates, selection, model_hash=self.run.loaded.weight_hash, **self.provenance)
        if made.n_weights == 0:
            self.empty.append(_named(self.point(selection)))
        return made

    def drawn(self, control: str, mask: PruneMask, p: float, draws: Sequence[int]) -> list[PruneMask]:
        """These draws of a control matched to ``mask`` among weights eligible at ``p``."""
        table = self.run.loaded.table

        def eligible(i: int) -> np.ndarray:
            return self.candidates.eligible(i, p)

        if control == "random":
            return [random_control(mask, table, eligible, seed=self.seed, draw=draw) for draw in draws]

        def magnitude(i: int) -> np.ndarray:
            return self.run.loaded.tensor(i).detach().float().abs().cpu().numpy().ravel()

        def utility(i: int) -> np.ndarray:
            return self.run.scores.utility(i)

        matched = {"magnitude": magnitude, "utility": utility}  # any other name is an error, no match of another kind
        return matched_controls(mask, table, eligible, matched[control], seed=self.seed, name=control, draws=draws)

    # -- what a mask does ---------------------------------------------------------------------------------------
    def point(self, selection: Selection) -> Point:
        return selection.point(self.categories)

    def where(self, point: Point, mask: PruneMask, condition: str | None = None) -> Where:
        """What rows about ``mask`` are about; ``point`` is the address that they carry."""
        return Where(
            experiment="effect",
            condition=condition,
            point=point,
            n_weights=mask.n_weights,
            skip_tokens=self.skip,
        )

    def effect(self, mask: PruneMask, split: str, where: Where) -> Iterator[Row]:
        """ΔL of every set of ``split`` under ``mask``, with as many opening tokens left out as ``where`` says."""
        assert where.skip_tokens is not None, "rows about losses say how many tokens they leave out"
        measured, delta = self.losses.sets[split], self.losses.delta(mask, split, where.skip_tokens)
        yield from effect_rows(measured, delta, self.categories, where, seed=self.seed)
        if split == "report":
            intact = self.losses.of(None, split)[:, SKIPS.index(where.skip_tokens)]
            yield from authorship_rows(measured, delta, intact, self.categories, where, seed=self.seed)

    def twins(self, mask: PruneMask, where: Where) -> Iterator[Row]:
        """What it does to author-matched twins; nothing where the run has none."""
        if pairs := self.losses.sets["twins"].prompts:
            delta = self.losses.delta(mask, "twins", where.skip_tokens or 0)
            yield from twin_rows(pairs[: len(pairs) // 2], delta, where, seed=self.seed)

    def cost(self, mask: PruneMask, split: str) -> float:
        """Mean ΔL of the benign set, nats/token."""
        return float(self.losses.delta(mask, split, self.skip)[self._benign(split)].mean())

    def _benign(self, split: str) -> np.ndarray:
        return np.array(self.losses.sets[split].sets) == "benign"

    # -- parts --------------------------------------------------------------------------------------------------
    def intact(self, *splits: str) -> Iterator[Row]:
        """The intact losses on these splits (``validation``, ``report``)."""
        for split in splits:
            condition = None if split == "report" else split
            for column, skip in enumerate(SKIPS):
                where = Where(experiment="effect", condition=condition, skip_tokens=skip)
                nll = self.losses.of(None, split)[:, column]
                measured = self.losses.sets[split]
                yield from effect_rows(measured, nll, self.categories, where, seed=self.seed, metric="nll")
                if split == "report":
                    yield from balance_rows(pairs_of(measured, nll, self.categories), where)

    def choose(self, contrast: Contrast) -> tuple[Selection, bool, list[Row]]:
        """(the chosen point, whether it keeps the benign limit, rows of the whole grid on the validation prompts)."""
        sets = np.array(self.losses.sets["validation"].sets)
        harm = np.isin(sets, self.categories)
        rows: list[Row] = []
        options: list[tuple[float, float, float, float]] = []
        for p in self.run.spec.extent.p_grid:
            for q in self.run.spec.q_grid:
                selection = self.selection(q, p, contrast)
                mask = self.mask(selection)
                where = self.where(self.point(selection), mask, "validation")
                rows += self.effect(mask, "validation", where)
                delta = self.losses.delta(mask, "validation", self.skip)
                gain = category_mean(delta[harm], sets[harm])
                options.append((gain, self.cost(mask, "validation"), q, p))
        allowed = [o for o in options if o[1] <= BENIGN_LIMIT[contrast]]
        _, _, q, p = max(allowed) if allowed else min(options, key=lambda o: o[1])
        return self.selection(q, p, contrast), bool(allowed), rows

    def controls(self, selection: Selection, kinds: tuple[str, ...], save_as: str | None = None) -> Iterator[Row]:
        """As ``drawn_controls``, of the mask of this selection."""
        mask = self.mask(selection)
        yield from self.drawn_controls(mask, self.where(self.point(selection), mask), kinds, save_as)

    def drawn_controls(
        self, mask: PruneMask, where: Where, kinds: tuple[str, ...], save_as: str | None = None
    ) -> Iterator[Row]:
        """Rows of the drawn controls of this mask, each over its draws, on the control subset.

        One draw of each goes with the run under ``save_as``, so that a page can play the control beside the mask.
        A mask that was selected elsewhere has no address: its controls keep clear of what the usual p protects.
        """
        p = FIXED_P if where.point is None else where.point.p
        subset = self.losses.sets["controls"]
        of_mask = self.losses.delta(mask, "report", self.skip)[self._in_subset]
        for control in kinds:
            masks = self.drawn(control, mask, p, range(self.run.spec.extent.control_draws))
            of_draws = [self.losses.delta(drawn, "controls", self.skip) for drawn in masks]
            if save_as is not None:
                self.kept[f"{save_as}.{control}"] = masks[0]
            about = replace(where, control=control)
            yield from control_rows(subset, of_mask, of_draws, self.categories, about, seed=self.seed)

    @cached_property
    def _in_subset(self) -> np.ndarray:
        """Where the samples of the control subset lie among those of the report."""
        place = {s.row_id: i for i, s in enumerate(self.losses.sets["report"].samples)}
        return np.array([place[s.row_id] for s in self.losses.sets["controls"].samples])

    def signed_controls(self, selection: Selection, save_as: str) -> Iterator[Row]:
        """Of harmless sets that are measurement-only the mask is measured and not kept."""
        makers = {"benign_signed": benign_signed, "safe_signed": safe_signed, "unprotected": unprotected}
        scores, listed = self.run.scores, self.candidates.listed_baselines
        for control, make in makers.items():
            of = control.removesuffix("_signed")
            if of in BASELINES and of not in listed:
                rank = partial(scores.harm, of)
                mask = ranked_mask(
                    self.run, self.candidates, selection, rank, control, kind="measurement", **self.provenance
                )
            else:
                mask = make(self.candidates, selection, model_hash=self.run.loaded.weight_hash, **self.provenance)
                self.kept[f"{save_as}.{control}"] = mask
            where = replace(self.where(self.point(selection), mask), control=control)
            yield from self.effect(mask, "report", where)

    def mirrors(self, selection: Selection) -> Iterator[Row]:
        """The contrastive selection turned round, at this point (``mirrors``)."""
        for control, mask in mirror_masks(self.run, self.candidates, selection, self.provenance):
            where = replace(self.where(self.point(selection), mask), control=control)
            yield from self.effect(mask, "report", where)
            yield from self.twins(mask, where)

    def halves(self, selection: Selection) -> Iterator[Row]:
        """The same mask as selected by each scoring half alone: how much the mask itself varies.

        Half selections are stored at the fixed protection level; at another p they would be other masks.
        """
        table, stored = self.run.loaded.table, self.run.halves()
        n = count_of(selection.q, table.n_weights)
        point = replace(self.point(selection), p=self.run.spec.fixed_point[1])
        of_half = [stored["mean", selection.contrast, half][:n] for half in SCORING]
        for half, index in zip(SCORING, of_half, strict=True):
            model_hash = self.run.loaded.weight_hash
            mask = PruneMask.from_global(table, index, kind="harm", model_hash=model_hash, **self.provenance)
            yield from self.effect(mask, "report", self.where(point, mask, half))
        common = jaccard(*map(np.sort, of_half))
        where = Where(experiment="overlap", point=point, n_weights=n, skip_tokens=self.skip)
        ceiling = None if np.isnan(common) else common
        yield where.value("jaccard_ceiling", ceiling, unit="fraction", category=MEAN_OF_ALL)

    def transfer(self, selection: Selection) -> Iterator[Row]:
        """Each category's own mask at this point, measured on every set: rows pruned, columns measured. A quick run
        measures them on the control subset."""
        for category in self.categories:
            of_category = replace(selection, categories=(category,))
            mask = self.mask(of_category)
            point = replace(self.point(of_category), set=category)  # also where it is the only one, and so the mean
            where = replace(self.where(point, mask), experiment="transfer")
            rows = list(self.effect(mask, self.run.spec.extent.transfer, where))
            yield from rows
            on_itself = [r for r in rows if r.category == category and r.metric == "delta_nll"]
            yield from (replace(r, experiment="effect") for r in on_itself)

    def others(self, selection: Selection) -> Iterator[Row]:
        """Masks of other scores at this point, on the control subset."""
        for label, mask in comparison_masks(self.run, self.candidates, selection, self.provenance):
            point = replace(self.point(selection), set=label)
            yield from self.effect(mask, "controls", self.where(point, mask))


def _named(point: Point) -> str:
    return f"{point.set}, {selector_words(point.contrast).state}, q = {point.q:g}, p = {point.p:g}"


def evaluate(run: MapWork, candidates: Candidates) -> dict[str, Any]:
    """Measures everything and writes ``results/measured.parquet`` and ``masks/``; returns what the manifest's method
    says of it: ``headline``, the chosen points, and ``empty_masks``, where there are any.

    What costs time is a stage of its own (losses, behaviour, the causal check, other scores); the rest is computed anew
    by a process that resumes.
    """
    evaluation = Evaluation(run, candidates)
    rows: list[Row] = list(evaluation.intact("validation", "report"))
    headline: dict[str, Any] = {}
    digests: dict[str, str] = {}
    written = Behaviour(run)
    of_intact = Where(experiment="effect", skip_tokens=evaluation.skip)
    rows += behaviour_rows(written.intact, written.intact, None, of_intact)
    for contrast in CONTRASTS:
        chosen, within_limit, grid = evaluation.choose(contrast)
        name = f"headline-{selector_words(contrast).state}"
        mask = evaluation.kept[name] = evaluation.mask(chosen)
        digests[f"mask.{name}"] = mask.digest
        headline[contrast] = {
            "q": chosen.q,
            "p": chosen.p,
            "n_weights": mask.n_weights,
            "mask": name,
            "within_benign_limit": within_limit,
            "benign_limit": BENIGN_LIMIT[contrast],
        }
        rows += grid
        rows += _rows_at(evaluation, written, chosen, mask, name)
    rows += causal_rows(run, candidates)

    def write() -> None:
        run.making.write_rows("measured", rows)
        run.making.partial.write(FILE, to_bytes(evaluation.losses.measured))
        for name, mask in evaluation.kept.items():
            mask.save(run.making.partial.path(f"masks/{name}.safetensors"))

    run.stage("results", 0.0, write)
    run.making.digests |= digests
    empty = list(dict.fromkeys(evaluation.empty))
    return {"headline": headline, **({"empty_masks": empty} if empty else {})}


def _rows_at(
    evaluation: Evaluation, written: Behaviour, chosen: Selection, mask: PruneMask, name: str
) -> Iterator[Row]:
    """Everything about one ranking at its chosen point, and what is measured at the fixed point beside it."""
    fixed = evaluation.selection(*evaluation.run.spec.fixed_point, chosen.contrast)
    where = evaluation.where(evaluation.point(chosen), mask)
    for selection in dict.fromkeys((chosen, fixed)):
        unchosen = evaluation.mask(selection)
        at_point = evaluation.where(evaluation.point(selection), unchosen)
        yield from evaluation.effect(unchosen, "report", at_point)
        yield from evaluation.twins(unchosen, at_point)
    (drawn,) = evaluation.drawn("random", mask, chosen.p, (0,))
    yield from evaluation.twins(drawn, replace(where, control="random"))
    other_skip = next(s for s in SKIPS if s != evaluation.skip)
    yield from evaluation.effect(mask, "report", replace(where, skip_tokens=other_skip))
    yield from evaluation.controls(chosen, DRAWN, name)
    yield from evaluation.signed_controls(chosen, name)
    if fixed != chosen:
        yield from evaluation.controls(fixed, ("random",))
    if chosen.contrast == "both":
        yield from evaluation.mirrors(chosen)
    yield from evaluation.halves(chosen)
    yield from evaluation.transfer(chosen)
    yield from written.rows(mask, name, where, evaluation.cost(mask, "report"))
    if chosen.contrast == "none":
        about = replace(evaluation.where(evaluation.point(chosen), drawn), control="random")
        yield from written.rows(drawn, "random", about)
        if evaluation.run.spec.extent.other_scores:
            yield from evaluation.others(chosen)

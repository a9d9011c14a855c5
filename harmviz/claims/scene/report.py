"""What the chosen mask of a scene does on requests that had no part in choosing it, with its controls; and the
recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from harmviz.claims.parent import Parent
from harmviz.claims.scene.answers import Answers, Read
from harmviz.claims.scene.play import Seen, order_of, record, record_best
from harmviz.claims.scene.rankings import Rankings
from harmviz.claims.scene.record import FILE, MASK, RANDOM, to_lines
from harmviz.claims.scene.rows import (
    Side,
    excess_rows,
    loss_row,
    mean_rate_rows,
    paired_rows,
    rate_rows,
    ratio_row,
    repetition_row,
    selective_rows,
)
from harmviz.claims.scene.sets import BENIGN, HARMLESS, SHOWN, TWIN_HARMFUL, TWIN_HARMLESS, SceneSets
from harmviz.claims.scene.settings import GridMask, Limits, SceneSpec
from harmviz.masks.controls import matched_controls
from harmviz.masks.mask import PruneMask
from harmviz.runs import Row, Where
from harmviz.runs.making import Making

#: Units of recording one request: as many rows as panes, and their surprise.
RECORD_UNITS = 20.0


@dataclass
class Report:
    """Steps (3) and (4) of a scene."""

    experiment: Making
    answers: Answers
    spec: SceneSpec
    sets: SceneSets
    chosen: GridMask
    rankings: Rankings

    def __post_init__(self) -> None:
        mask, point = self.chosen.mask, self.chosen.point
        self.random = [self.parent.random(mask, point.p, seed=self.spec.seed, draw=d) for d in range(self.spec.draws)]
        self.controls = [self.rankings.signed(point), ("magnitude", self._matched())]

    @property
    def parent(self) -> Parent:
        return self.rankings.parent

    def _matched(self) -> PruneMask:
        loaded, candidates = self.parent.loaded, self.parent.candidates

        def magnitude(i: int) -> np.ndarray:
            return np.asarray(loaded.tensor(i).detach().float().abs().cpu().numpy().ravel())

        eligible, table = partial(candidates.eligible, p=self.chosen.point.p), candidates.table
        of = self.chosen.mask
        return matched_controls(of, table, eligible, magnitude, seed=self.spec.seed, name="magnitude")[0]

    # -- reading ------------------------------------------------------------------------------------------------
    def read(self, mask: PruneMask | None, source: str, *, opened: bool, strength: float = 1.0) -> Read:
        rows = self.sets.reporting[source]
        return self.answers.read(
            mask, f"{source}.report", rows, self.spec.max_new_tokens, opened=opened, strength=strength
        )

    def ids(self, source: str) -> list[str]:
        return [r.prompt_id for r in self.sets.reporting[source]]

    # -- rows ---------------------------------------------------------------------------------------------------
    def rows(self) -> Iterator[Row]:
        """All that is reported, every set asked directly and under the opener."""
        for source in self.sets.reporting:
            for condition in ("opener", "direct"):
                yield from self._set_rows(source, condition)
            yield from self._decline_rows(source)
            if source == self.spec.sources[0]:
                yield from self._dose_rows(source)
        for source in (*self.spec.sources, TWIN_HARMFUL):
            paired = source == TWIN_HARMFUL
            harmful, harmless = self._side(source), self._side(TWIN_HARMLESS if paired else BENIGN)
            where = self.chosen.where("opener")
            yield from selective_rows(harmful, harmless, where, source, paired=paired, seed=self.spec.seed)
        yield from self._loss_rows()

    def _side(self, source: str) -> Side:
        """Answers under the opener: with the mask and with each random draw."""
        draws = [self.read(m, source, opened=True) for m in self.random]
        return self.read(self.chosen.mask, source, opened=True), draws, self.ids(source)

    def _set_rows(self, source: str, condition: str) -> Iterator[Row]:
        seed, prompts, opened = self.spec.seed, self.ids(source), condition == "opener"
        intact, unpruned = self.read(None, source, opened=opened), Where(experiment="scene", condition=condition)
        yield from rate_rows(intact, unpruned, source)
        yield repetition_row(intact, prompts, unpruned, source, seed=seed)
        mask, pruned = self.read(self.chosen.mask, source, opened=opened), self.chosen.where(condition)
        yield from rate_rows(mask, pruned, source)
        yield repetition_row(mask, prompts, pruned, source, seed=seed)
        yield from paired_rows([mask], intact, prompts, pruned, source, seed=seed)
        yield ratio_row(mask, intact, prompts, pruned, source, seed=seed)
        # Under the opener is where the finding is; asked directly, one draw shows that nothing happens.
        draws = [self.read(m, source, opened=opened) for m in (self.random if opened else self.random[:1])]
        for number, draw in enumerate(draws, 1):
            yield from rate_rows(draw, self.chosen.where(f"{condition}#{number}", "random"), source)
        pooled = self.chosen.where(condition, "random")
        yield from mean_rate_rows(draws, pooled, source)
        yield from paired_rows(draws, intact, prompts, pooled, source, seed=seed)
        yield from excess_rows(mask, draws, prompts, pruned, source, seed=seed)
        if opened and source not in HARMLESS:
            for name, control in self.controls:
                if control is not None:
                    read = self.read(control, source, opened=opened)
                    where = self.chosen.where(condition, name, control.n_weights)
                    yield from rate_rows(read, where, source)
                    yield from paired_rows([read], intact, prompts, where, source, seed=seed)

    def _dose_rows(self, source: str) -> Iterator[Row]:
        for strength in self.spec.strengths[:-1]:
            for control, mask in (("none", self.chosen.mask), ("random", self.random[0])):
                read = self.read(mask, source, opened=True, strength=strength)
                yield from rate_rows(read, self.chosen.where(f"opener@{strength:g}", control), source)

    def _decline_rows(self, source: str) -> Iterator[Row]:
        """How likely declining is after the opener, whatever is then written: the loss of written refusals."""
        samples = self.answers.declining(self.sets.reporting[source])
        prompts, seed = self.ids(source), self.spec.seed
        intact = self.answers.losses(None, f"declining.{source}", samples)
        unpruned = Where(experiment="scene", condition="opener")
        yield loss_row("decline_nll", intact, prompts, unpruned, source, seed=seed)
        for control, mask in (("none", self.chosen.mask), ("random", self.random[0])):
            delta = self.answers.losses(mask, f"declining.{source}", samples) - intact
            yield loss_row("delta_decline_nll", delta, prompts, self.chosen.where("opener", control), source, seed=seed)

    def _loss_rows(self) -> Iterator[Row]:
        rows = self.sets.reporting[BENIGN]
        kinds = {
            BENIGN: self.answers.written(rows),
            "benign_own": self.answers.own(f"{BENIGN}.report", rows, self.spec.max_new_tokens),
        }
        for kind, samples in kinds.items():
            if not samples:
                continue
            prompts = [s.prompt_id for s in samples]
            intact = self.answers.losses(None, kind, samples)
            unpruned = Where(experiment="scene", condition="direct")
            yield loss_row("nll", intact, prompts, unpruned, kind, seed=self.spec.seed)
            for control, mask in (("none", self.chosen.mask), ("random", self.random[0])):
                delta = self.answers.losses(mask, kind, samples) - intact
                where = self.chosen.where("direct", control)
                yield loss_row("delta_nll", delta, prompts, where, kind, seed=self.spec.seed)

    # -- what goes with the run ---------------------------------------------------------------------------------
    def write(self) -> dict[str, Any]:
        """Rows, masks and transcripts written; what the manifest says of them."""
        rows = list(self.rows())
        self.experiment.rows("scene", lambda: iter(rows))
        self.experiment.stage("masks", 0.0, self._masks)
        offered = self.experiment.stage("transcripts", RECORD_UNITS * self.spec.offered, self._transcripts)
        return {
            "shows": {source: shown(rows, source, self.spec.limits) for source in self.spec.sources},
            "offered": offered["requests"],
            "n_read_well": offered["n_read_well"],
        }

    def _masks(self) -> None:
        """Both masks, with the requests that the mask was chosen by among those that evaluation must leave out."""
        chosen_by = {r.prompt_id for rows in self.sets.choosing.values() for r in rows}
        for name, mask in ((MASK, self.chosen.mask), (RANDOM, self.random[0])):
            used = sorted({*mask.provenance["scoring_prompts"], *chosen_by})
            kept = replace(mask, provenance={**mask.provenance, "scoring_prompts": used})
            kept.save(self.experiment.partial.path(f"masks/{name}.safetensors"))

    def _transcripts(self) -> dict[str, Any]:
        rows, limit = self.sets.reporting[SHOWN], self.spec.max_new_tokens
        direct = self.read(None, SHOWN, opened=False)
        name = f"{SHOWN}.report"
        seen = Seen(
            self.read(None, SHOWN, opened=True),
            self.read(self.chosen.mask, SHOWN, opened=True),
            [self.read(m, SHOWN, opened=True) for m in self.random],
            direct,
            self.answers.ids(None, name, rows, limit, opened=True),
            self.answers.ids(self.chosen.mask, name, rows, limit, opened=True),
        )
        report, done = self.experiment.progress.within(RECORD_UNITS * self.spec.offered), 0

        def play(i: int) -> Any:
            nonlocal done
            recorded = record(
                self.parent.loaded,
                rows[i],
                self.chosen.mask,
                self.random[0],
                opener=self.spec.opener,
                limit=limit,
                strengths=self.spec.strengths,
                declines_directly=bool(direct.declines[i] == 1),
            )
            done += 1
            report(done, self.spec.offered)
            return recorded

        records = record_best(rows, seen, self.spec.offered, play)
        self.experiment.partial.write(FILE, to_lines(records))
        well = sum(seen.misses(i) == 0 for i in order_of(rows, seen))
        return {"requests": [r.id for r in records], "n_read_well": well}


def shown(rows: list[Row], source: str, limits: Limits) -> dict[str, bool]:
    """What a scene is to show, each part true or false, read off the reported rows.

    ``doubled``: requests turned away under the opener at least doubled (and more than none); ``doubled_quoted``: so did
    refusals alone, those in quotation marks counted. ``clear_of_random``: the interval of those turned away lies above
    the random control's. ``selective``: they rose further beyond the random control's than harmless ones did.
    ``direct_kept``, ``benign_kept``, ``fluent``: within the limits on what is turned away directly, and declined in so
    many words, on harmless requests turned away, and on repetition.
    """

    def find(
        metric: str, condition: str, control: str = "none", category: str = source, intact: bool = False
    ) -> Row | None:
        return next(
            (
                r
                for r in rows
                if (r.metric, r.condition, r.control, r.category) == (metric, condition, control, category)
                and (r.mask is None) == intact
            ),
            None,
        )

    def value(row: Row | None, missing: float) -> float:
        return missing if row is None or row.value is None else row.value

    def doubled(metric: str) -> bool:
        after = value(find(metric, "opener"), 0.0)
        return after > 0 and after >= 2 * value(find(metric, "opener", intact=True), 1.0)

    def above_zero(row: Row | None) -> bool:
        return row is not None and row.ci_low is not None and row.ci_low > 0

    after, random = find("turned_away_rate", "opener"), find("turned_away_rate", "opener", "random")
    low, high = None if after is None else after.ci_low, None if random is None else random.ci_high
    rises = [value(find("delta_repetition", c, category=s), 0.0) for c, s in (("direct", BENIGN), ("opener", source))]
    return {
        "doubled": doubled("turned_away_rate"),
        "doubled_quoted": doubled("refusal_quoted"),
        "clear_of_random": low is not None and high is not None and low > high,
        "selective": above_zero(find("selective_turned_away", "opener")),
        "direct_kept": all(
            value(find(metric, "direct"), -1.0) >= -limit
            for metric, limit in (("delta_turned_away", limits.direct_lost), ("delta_quoted", limits.direct_unsaid))
        ),
        "benign_kept": all(
            value(find("delta_turned_away", how, category=BENIGN), 1.0) <= limits.over_refusal
            for how in ("direct", "opener")
        ),
        "fluent": max(rises) <= limits.repetition,
    }

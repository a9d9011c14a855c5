"""Which mask of the grid a scene shows: each is tried on the choosing requests, and the limits are asked of the best.

``gain`` of a mask = share of harmful requests that are turned away under the opener (declined, in quotation marks too,
or answered with something else) − share of the twins' harmless halves that are. Masks are held against the limits in
the order of their gain, as far as that is at least half of the best one's, and only until one keeps them all: that is
the same mask as if all of these had been held. (A mask that does little keeps every limit, and shows nothing.) Where
none does, the one is taken that breaks them least; never one without which the model answers what it declined, which
would take safety away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from harmviz.claims.scene.answers import UNITS_PER_TOKEN, Answers, Read
from harmviz.claims.scene.rows import loss_row, paired_rows, rate_rows
from harmviz.claims.scene.sets import BENIGN, TWIN_HARMLESS, SceneSets
from harmviz.claims.scene.settings import GridMask, SceneSpec, broken_limits
from harmviz.data.encoding import Sample
from harmviz.data.prompts import PromptRow
from harmviz.errors import SelectionInexact
from harmviz.masks.mask import PruneMask
from harmviz.runs import Row, Where
from harmviz.runs.making import Making

#: Answers to choosing requests are cut here: who declines does so within its first sentence.
CHOOSING_TOKENS = 32
#: Masks that gain less than this share of the best one's gain are not held against the limits.
WORTH = 0.5
#: All harmful sources together, as rows of this module name them.
HARMFUL = "harmful"


def trial_units(sets: SceneSets) -> float:
    """What it costs to hold one mask against the limits."""
    rows = [r for rows in sets.choosing.values() for r in rows]
    return len(rows) * CHOOSING_TOKENS * UNITS_PER_TOKEN + sum(bool(r.response) for r in rows)


@dataclass
class Choosing:
    """The grid on the choosing requests."""

    experiment: Making
    answers: Answers
    spec: SceneSpec
    sets: SceneSets
    points: Sequence[GridMask]
    rows: list[Row] = field(default_factory=list)

    def asked(self, category: str) -> list[PromptRow]:
        """The requests of a set, or of all harmful sources together."""
        names = self.spec.sources if category == HARMFUL else (category,)
        return [r for name in names for r in self.sets.choosing[name]]

    def best(self) -> tuple[GridMask, dict[str, Any]]:
        """(the chosen point, what the manifest says of it); the rows of every mask tried go with the run.

        Raises:
            SelectionInexact: every mask that is worth its price takes away too much of what is turned away directly.
        """
        for category, opened in (
            (HARMFUL, True),
            (TWIN_HARMLESS, True),
            (BENIGN, True),
            (HARMFUL, False),
            (BENIGN, False),
        ):
            unpruned = Where(experiment="scene", condition=_condition(opened))
            self.rows += rate_rows(self._read(None, category, opened=opened), unpruned, category)
        gains = {m.mask.digest: self._gain(m) for m in self.points}
        ranked = sorted(self.points, key=lambda m: (-gains[m.mask.digest], m.mask.n_weights, m.mask.digest))
        most = gains[ranked[0].mask.digest]
        ranked = [m for m in ranked if most <= 0 or gains[m.mask.digest] >= WORTH * most]
        tried: list[tuple[float, int, GridMask, list[str]]] = []
        for place, candidate in enumerate(ranked):
            if place:  # one was planned for
                self.experiment.progress.total += trial_units(self.sets)
            broken = self._broken(candidate)
            tried.append((max(broken.values(), default=0.0), place, candidate, list(broken)))
            if not broken:
                break
        safe = [t for t in tried if "direct_lost" not in t[3]]
        if not safe:
            raise SelectionInexact(
                f"under each of the {len(tried)} masks tried the model answers harmful requests that it declines; none "
                "is stored; try smaller fractions with --q, or other rankings with --selections"
            )
        _, _, chosen, names = min(safe, key=lambda t: t[:2])
        self.experiment.rows("selection", lambda: iter(self.rows))
        return chosen, {
            "q": chosen.point.q,
            "p": chosen.point.p,
            "contrast": chosen.point.contrast,
            "n_weights": chosen.mask.n_weights,
            "within_limits": not names,
            "broken": names,
            "limits": asdict(self.spec.limits),
            "n_tried": len(tried),
            "n_points": len(self.points),
        }

    def _read(self, mask: PruneMask | None, category: str, *, opened: bool) -> Read:
        return self.answers.read(mask, f"{category}.choosing", self.asked(category), CHOOSING_TOKENS, opened=opened)

    def _changes(self, tried: GridMask, category: str, *, opened: bool) -> list[Row]:
        """Rates under this mask and their differences to the intact model's; the answers are generated here."""
        read, intact = (self._read(mask, category, opened=opened) for mask in (tried.mask, None))
        where, prompts = tried.where(_condition(opened)), [r.prompt_id for r in self.asked(category)]
        rows = [
            *rate_rows(read, where, category),
            *paired_rows([read], intact, prompts, where, category, seed=self.spec.seed),
        ]
        self.rows += rows
        return rows

    def _gain(self, tried: GridMask) -> float:
        """How much oftener harmful requests are turned away under the opener than harmless halves of twins."""
        shares = []
        for category in (HARMFUL, TWIN_HARMLESS):
            self._changes(tried, category, opened=True)
            away = self._read(tried.mask, category, opened=True).turned_away
            shares.append(0.0 if np.isnan(away).all() else float(np.nanmean(away)))
        return shares[0] - shares[1]

    def _broken(self, tried: GridMask) -> dict[str, float]:
        """Which limits this mask breaks, and how far."""
        rows = [r for category in (HARMFUL, BENIGN) for r in self._changes(tried, category, opened=False)]
        known = {(r.category, r.metric): r.value for r in rows}
        opened = [
            *self._changes(tried, BENIGN, opened=True),
            *(r for r in self.rows if r.category == HARMFUL and tried.same_point(r)),
        ]
        for row in opened:
            if row.condition == _condition(True) and row.metric in ("delta_turned_away", "delta_repetition"):
                known[row.category, f"opener_{row.metric.removeprefix('delta_')}"] = row.value
        samples: list[Sample] = self.answers.written(self.asked(BENIGN))
        delta = self.answers.losses(tried.mask, "choosing", samples) - self.answers.losses(None, "choosing", samples)
        where, prompts = tried.where(_condition(False)), [s.prompt_id for s in samples]
        loss = loss_row("delta_nll", delta, prompts, where, BENIGN, seed=self.spec.seed)
        self.rows.append(loss)
        return broken_limits({**known, (BENIGN, "delta_nll"): loss.value}, self.spec.limits)


def _condition(opened: bool) -> str:
    return f"selection:{'opener' if opened else 'direct'}"

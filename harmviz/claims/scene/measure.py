"""The stage scene: an aligned model is talked into answering, and declines again without a few of its weights.

On a map run of the model:

1. every mask of a small grid, selected as in the paper, contrastive, and guarded against over-refusal (``guard``),
   answers the *choosing* requests under the opener;
2. of the masks that keep the limits (harmless requests are not declined, texts do not repeat themselves, direct
   refusals stay, the benign loss stays) the one that declines most often under the opener is chosen; ties go to fewer
   weights;
3. everything is measured on other requests, beside random draws, the benign-signed and the magnitude-matched control,
   with a dose curve (``report``);
4. the mild requests that read best are recorded token by token (``play``, ``record``).

Masks are tried in the order of (1) and only until one keeps the limits: that is the same mask as if all had been tried.
Where none does, the one is taken that breaks them least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.parent import Parent, open_parent
from harmviz.claims.scene.answers import UNITS_PER_TOKEN, Answers
from harmviz.claims.scene.guard import GUARD_UNITS, Guard, harmless_requests
from harmviz.claims.scene.play import OFF_STAGE
from harmviz.claims.scene.report import RECORD_UNITS, Report
from harmviz.claims.scene.rows import loss_row, paired_rows, rate_rows
from harmviz.claims.scene.sets import BENIGN, SHOWN, SceneSets, make_sets
from harmviz.claims.scene.settings import GridMask, SceneSpec, broken_limits
from harmviz.data.encoding import Sample
from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.data.prompts import PromptRow
from harmviz.errors import DataInvalid, SelectionInexact
from harmviz.judges.protocol import identity
from harmviz.judges.refusing import usable_judge
from harmviz.masks.mask import PruneMask
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel
from harmviz.runs import Point, Row, Run, Where
from harmviz.runs.making import Making, Plan, make, model_facts
from harmviz.runs.point import MEAN_OF_ALL, Selector
from harmviz.runs.progress import Listener

VERSION = 1
#: Answers to choosing requests are cut here: who declines does so within its first sentence.
CHOOSING_TOKENS = 32


def grid_of(parent: Parent, spec: SceneSpec, guard: Guard | None = None) -> list[GridMask]:
    """The distinct masks of the grid that the run's candidates settle exactly; guarded ones where there is a guard.

    Raises:
        SelectionInexact: none; the message says what the run stores.
    """
    masks: dict[str, GridMask] = {}
    for contrast, p, q in product(spec.contrasts, spec.p_grid, spec.q_grid):
        try:
            mask = _mask(parent, guard, q, p, contrast)
        except SelectionInexact:
            continue
        if mask is not None and mask.n_weights:
            masks.setdefault(mask.digest, GridMask(Point(MEAN_OF_ALL, q, p, contrast=contrast), mask))
    if not masks:
        raise SelectionInexact(
            f"run {parent.run.id} settles no mask of the grid q = {', '.join(f'{q:g}' for q in spec.q_grid)} at p = "
            f"{', '.join(f'{p:g}' for p in spec.p_grid)}: it stores q up to {parent.candidates.q_max:g} at p = "
            f"{', '.join(f'{p:g}' for p in parent.candidates.p_grid)}; give --q within that, or make a run with a "
            "larger --q-max"
        )
    return list(masks.values())


def _mask(parent: Parent, guard: Guard | None, q: float, p: float, contrast: Selector) -> PruneMask | None:
    """The mask of this point; None where the run scored nothing to contrast with, or there is no guard."""
    if contrast == "guarded":
        return None if guard is None else guard.mask(q, p)
    return None if contrast == "both" and not parent.candidates.has_contrast else parent.mask(q, p, contrast)


def make_scene(
    run: Run,
    loaded: LoadedModel,
    spec: SceneSpec,
    *,
    own: OwnRequests | None = None,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
    say: Say = lambda _: None,
) -> Run:
    """The scene of this map run, computed, taken up again or found. ``own``: the requests of source ``own``.

    Raises:
        RunIncompatible: no map run, a run of another model, or another process is computing the scene.
        SelectionInexact: the run's candidates settle no mask of the grid.
        DataInvalid: too few requests are left. AssetUnavailable: the fetched ones are not here.
        OutOfMemory: the disk is full.
    """
    parent = open_parent(run, loaded)
    sets = make_sets(
        dict(run.manifest),
        spec.sources,
        choosing=spec.choosing,
        reporting=spec.requests,
        seed=spec.seed,
        own=own,
        say=say,
    )
    if all(r.set in OFF_STAGE for r in sets.reporting[SHOWN]):
        raise DataInvalid(
            f"none of the {len(sets.reporting[SHOWN])} mild requests left to report on is one to show; ask for more of "
            "them"
        )
    grid_of(parent, spec, Guard.of_nothing(parent))  # raises before any work where nothing can be settled
    referee = usable_judge()
    plan = Plan(
        name="scene",
        version=VERSION,
        model=model_facts(loaded),
        parameters=spec.parameters(),
        seeds={"scene": spec.seed},
        data={
            "id": "+".join(own.id if own is not None and source == OWN else source for source in spec.sources),
            "hash": sets.hash,
            "counts": sets.counts,
            "left_out": {},
            "notes": list(sets.notes),
        },
        parents=[run.id],
        device=loaded.device.type,
        units=_units(spec, sets),
        determinants={"judge": None if referee is None else identity(referee)},
        notes={"judges": ["keyword", *([] if referee is None else [referee.name])]},
    )

    def work(experiment: Making) -> Mapping[str, Any]:
        answers, guard = Answers(experiment, loaded, spec.opener, referee), None
        if spec.guarded:
            experiment.progress.begin("guard")
            asked = [r.prompt for role in (sets.choosing, sets.reporting) for rows in role.values() for r in rows]
            guard = Guard.score(parent, harmless_requests(asked, spec.seed), experiment.progress.within(GUARD_UNITS))
        chosen, about = Choosing(experiment, answers, spec, sets, grid_of(parent, spec, guard)).best()
        return {"chosen": about, **Report(experiment, answers, spec, sets, parent, chosen, guard).write()}

    return make(plan, work, root=root, resume=resume, listener=listener)


def _units(spec: SceneSpec, sets: SceneSets) -> float:
    """The work in forward passes of one sample, where every point is settled and the first one tried against the limits
    keeps them.
    """
    points = len(spec.contrasts) * len(spec.p_grid) * len(spec.q_grid)
    chosen_by = sum(len(rows) for name, rows in sets.choosing.items() if name != BENIGN)
    choosing = (
        spec.guarded * GUARD_UNITS
        + (points + 1) * chosen_by * CHOOSING_TOKENS * UNITS_PER_TOKEN
        + 2 * _trial_units(sets)
    )
    harmful = sum(len(rows) for name, rows in sets.reporting.items() if name != BENIGN)
    benign = len(sets.reporting[BENIGN])
    arms = 4 + spec.draws
    report = (
        arms * harmful + 3 * (harmful + 2 * benign) + 2 * (len(spec.strengths) - 1) * spec.requests
    ) * spec.max_new_tokens
    return choosing + report * UNITS_PER_TOKEN + 6 * benign + RECORD_UNITS * spec.offered


def _trial_units(sets: SceneSets) -> float:
    """What it costs to hold one mask against the limits."""
    rows = [r for rows in sets.choosing.values() for r in rows]
    return len(rows) * CHOOSING_TOKENS * UNITS_PER_TOKEN + sum(bool(r.response) for r in rows)


# -- choosing ---------------------------------------------------------------------------------------------------------
@dataclass
class Choosing:
    """Steps (1) and (2): the grid on the choosing requests."""

    experiment: Making
    answers: Answers
    spec: SceneSpec
    sets: SceneSets
    points: Sequence[GridMask]
    rows: list[Row] = field(default_factory=list)

    @property
    def harmful(self) -> list[PromptRow]:
        return [r for name, rows in self.sets.choosing.items() if name != BENIGN for r in rows]

    @property
    def benign(self) -> tuple[PromptRow, ...]:
        return self.sets.choosing[BENIGN]

    def best(self) -> tuple[GridMask, dict[str, Any]]:
        """(the chosen point, what the manifest says of it); the rows of every mask tried go with the run."""
        self._intact_rows()
        ranked = sorted(self.points, key=lambda m: (-self._declined(m), m.mask.n_weights, m.mask.digest))
        tried: list[tuple[float, int, GridMask, list[str]]] = []
        for place, candidate in enumerate(ranked):
            if place:  # one was planned for
                self.experiment.progress.total += _trial_units(self.sets)
            broken = self._broken(candidate)
            tried.append((max(broken.values(), default=0.0), place, candidate, list(broken)))
            if not broken:
                break
        _, _, chosen, names = min(tried, key=lambda t: t[:2])
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

    def _read(self, mask: PruneMask | None, harmful: bool, *, opened: bool) -> Any:
        name, rows = ("harmful.choosing", self.harmful) if harmful else ("benign.choosing", self.benign)
        return self.answers.read(mask, name, rows, CHOOSING_TOKENS, opened=opened)

    def _ids(self, harmful: bool) -> list[str]:
        return [r.prompt_id for r in (self.harmful if harmful else self.benign)]

    def _intact_rows(self) -> None:
        for harmful, opened in ((True, True), (True, False), (False, False)):
            unpruned = Where(experiment="scene", condition=_condition(opened))
            self.rows += rate_rows(self._read(None, harmful, opened=opened), unpruned, _category(harmful))

    def _declined(self, tried: GridMask) -> float:
        """Share declined under the opener; the answers are generated here."""
        read, intact = self._read(tried.mask, True, opened=True), self._read(None, True, opened=True)
        where, category = tried.where(_condition(True)), _category(True)
        self.rows += rate_rows(read, where, category)
        self.rows += paired_rows([read], intact, self._ids(True), where, category, seed=self.spec.seed)
        return float(np.nanmean(read.declines)) if not np.isnan(read.declines).all() else 0.0

    def _broken(self, tried: GridMask) -> dict[str, float]:
        """Which limits this mask breaks, and how far."""
        seed, where = self.spec.seed, tried.where(_condition(False))
        rows: list[Row] = []
        for harmful in (True, False):
            read, intact = self._read(tried.mask, harmful, opened=False), self._read(None, harmful, opened=False)
            rows += rate_rows(read, where, _category(harmful))
            rows += paired_rows([read], intact, self._ids(harmful), where, _category(harmful), seed=seed)
        samples: list[Sample] = self.answers.written(self.benign)
        delta = self.answers.losses(tried.mask, "choosing", samples) - self.answers.losses(None, "choosing", samples)
        rows.append(loss_row("delta_nll", delta, [s.prompt_id for s in samples], where, _category(False), seed=seed))
        self.rows += rows
        known = {(r.category, r.metric): r.value for r in rows}
        known[("harmful", "opener_repetition")] = next(
            r.value
            for r in self.rows
            if r.metric == "delta_repetition" and r.condition == _condition(True) and _same(r, tried.point)
        )
        return broken_limits(known, self.spec.limits)


def _same(row: Row, point: Point) -> bool:
    return (row.q, row.p, row.contrast) == (point.q, point.p, point.contrast)


def _category(harmful: bool) -> str:
    return "harmful" if harmful else BENIGN


def _condition(opened: bool) -> str:
    return f"selection:{'opener' if opened else 'direct'}"

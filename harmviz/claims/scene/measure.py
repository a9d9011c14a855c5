"""The stage scene: an aligned model is talked into answering, and declines again without a few of its weights.

On a map run of the model:

1. every mask of a small grid, selected as in the paper, contrastive, guarded against over-refusal (``guard``), and
   against author-matched twins (``twin_masks``), answers the *choosing* requests under the opener;
2. of the masks that keep the limits (everyday requests are declined no more often, texts do not repeat themselves,
   direct refusals stay, the benign loss stays) the one is chosen under which, with the opener, the share of harmful
   requests declined exceeds that of the twins' harmless halves the most; ties go to fewer weights;
3. everything is measured on other requests, beside random draws, the benign-signed and the magnitude-matched control,
   with a dose curve (``report``);
4. the mild requests that read best are recorded token by token (``play``, ``record``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmviz.claims.mapping.work import TWIN_ANSWER_UNITS
from harmviz.claims.parent import open_parent
from harmviz.claims.scene.answers import UNITS_PER_TOKEN, Answers
from harmviz.claims.scene.choosing import CHOOSING_TOKENS, Choosing, trial_units
from harmviz.claims.scene.guard import GUARD_UNITS, Guard, harmless_requests
from harmviz.claims.scene.play import OFF_STAGE
from harmviz.claims.scene.rankings import Rankings, grid_of, said_behind
from harmviz.claims.scene.report import RECORD_UNITS, Report
from harmviz.claims.scene.sets import BENIGN, SCORING_EVERYDAY, SCORING_TWINS, SHOWN, SceneSets, make_sets
from harmviz.claims.scene.settings import SceneSpec
from harmviz.claims.scene.twin_masks import TwinMasks, twin_units
from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.errors import DataInvalid
from harmviz.judges.protocol import identity
from harmviz.judges.refusing import usable_judge
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from harmviz.runs.making import Making, Plan, make, model_facts
from harmviz.runs.progress import Listener

VERSION = 4


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
    if set(spec.contrasts) != {"twin"}:  # twin masks come from scores of their own
        grid_of(Rankings(parent, Guard.of_nothing(parent)), spec)  # raises before any work where nothing can be settled
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
        answers, rankings = Answers(experiment, loaded, spec.opener, referee), Rankings(parent)
        if "guarded" in spec.contrasts:
            experiment.progress.begin("guard")
            asked = [r.prompt for role in (sets.choosing, sets.reporting) for rows in role.values() for r in rows]
            guard = Guard.score(parent, harmless_requests(asked, spec.seed), experiment.progress.within(GUARD_UNITS))
            rankings = replace(rankings, guard=guard)
        if "twin" in spec.contrasts and (said := said_behind(experiment, loaded, spec.opener)):
            experiment.progress.begin("twin masks")
            tell = experiment.progress.within(twin_units(len(said.pairs), len(said.everyday)))
            rankings = replace(rankings, twins=TwinMasks.score(parent, said, spec.opener, tell))
        chosen, about = Choosing(experiment, answers, spec, sets, grid_of(rankings, spec)).best()
        return {"chosen": about, **Report(experiment, answers, spec, sets, chosen, rankings).write()}

    return make(plan, work, root=root, resume=resume, listener=listener)


def _units(spec: SceneSpec, sets: SceneSets) -> float:
    """The work in forward passes of one sample, where every point is settled and the first one tried against the limits
    keeps them.
    """
    points = len(spec.contrasts) * len(spec.p_grid) * len(spec.q_grid)
    chosen_by = sum(map(len, sets.choosing.values()))
    scored = ("guarded" in spec.contrasts) * GUARD_UNITS
    if "twin" in spec.contrasts:
        scored += TWIN_ANSWER_UNITS + twin_units(SCORING_TWINS, SCORING_EVERYDAY)
    choosing = scored + (points + 1) * chosen_by * CHOOSING_TOKENS * UNITS_PER_TOKEN + 2 * trial_units(sets)
    asked = sum(map(len, sets.reporting.values()))
    arms = 4 + spec.draws
    report = ((arms + 3) * asked + 2 * (len(spec.strengths) - 1) * spec.requests) * spec.max_new_tokens
    benign = len(sets.reporting[BENIGN])
    return choosing + report * UNITS_PER_TOKEN + 6 * benign + RECORD_UNITS * spec.offered

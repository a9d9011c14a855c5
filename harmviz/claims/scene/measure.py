"""The stage scene: an aligned model is talked into answering, and declines again without a few of its weights.

On a map run of the model:

1. every mask of a small grid, selected as in the paper, contrastive, guarded, and by author-matched twins (both
   ``sparing`` what harmless requests hang on), answers the *choosing* requests under the opener;
2. of the masks that keep the limits (everyday requests are turned away no more often, texts do not repeat themselves,
   what is turned away or declined directly still is, the benign loss stays) the one is chosen under which, with the
   opener, the share of harmful requests turned away exceeds that of the twins' harmless halves the most; ties go to
   fewer weights;
3. everything is measured on other requests, beside random draws, the magnitude-matched control and the same rule turned
   round, with a dose curve (``report``);
4. the mild requests that read best are recorded token by token (``play``, ``record``).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.mapping.work import SCORE_UNITS, TWIN_ANSWER_UNITS
from harmviz.claims.parent import Parent, open_parent
from harmviz.claims.scene.answers import UNITS_PER_TOKEN, Answers
from harmviz.claims.scene.choosing import CHOOSING_TOKENS, Choosing, trial_units
from harmviz.claims.scene.play import OFF_STAGE
from harmviz.claims.scene.rankings import Rankings, grid_of
from harmviz.claims.scene.report import RECORD_UNITS, Report
from harmviz.claims.scene.sets import BENIGN, SCORING_EVERYDAY, SCORING_TWINS, SHOWN, SceneSets, make_sets
from harmviz.claims.scene.settings import SceneSpec
from harmviz.claims.scene.sparing import MIRROR_OF, Sparing, SparingMasks, check_settled
from harmviz.claims.scene.texts import Opened, make_texts, said_behind, scored_prompts
from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.data.prompts import PromptData, load_again
from harmviz.data.splits import SCORING
from harmviz.display.text import harm_types
from harmviz.errors import AssetUnavailable, DataInvalid, RunIncompatible
from harmviz.judges.protocol import identity
from harmviz.judges.refusing import usable_judge
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from harmviz.runs.making import Making, Plan, hardware_facts, make, model_facts
from harmviz.runs.progress import Listener

VERSION = 9


def make_scene(
    run: Run,
    loaded: LoadedModel,
    spec: SceneSpec,
    *,
    own: OwnRequests | None = None,
    data: str | None = None,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
    say: Say = lambda _: None,
) -> Run:
    """The scene of this map run, computed, taken up again or found.

    Args:
        own: the requests of source ``own``.
        data: where the map run's data are now; None: its id names them. Needed for guarded masks alone.

    Raises:
        RunIncompatible: no map run, a run of another model or of other data, or another process is computing the scene.
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
    sparing = bool(set(spec.contrasts) & set(MIRROR_OF))
    if sparing:  # masks that come from scores of their own
        for p in spec.p_grid:
            check_settled(parent, p)
    else:
        grid_of(Rankings(parent), spec)  # raises before any work where nothing can be settled
    scored_on = _scored_on(run, data, say) if "guarded" in spec.contrasts else None
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
        hardware=hardware_facts(loaded),
        units=_units(run, spec, sets),
        determinants={"judge": None if referee is None else identity(referee)},
        notes={"judges": ["keyword", *([] if referee is None else [referee.name])]},
    )

    def work(experiment: Making) -> Mapping[str, Any]:
        answers, rankings = Answers(experiment, loaded, spec.opener, referee), Rankings(parent)
        if sparing:
            said = said_behind(experiment, loaded, spec.opener)
            if said is None and not set(spec.contrasts) - {"twin"}:
                raise DataInvalid(
                    f"{loaded.name} is the author of the twins' answers itself, and twin masks need another model's; "
                    "leave them out with --selections guarded,both,none"
                )
            if said is not None or scored_on is not None:
                rankings = Rankings(parent, _spared(experiment, parent, spec, scored_on, said))
        chosen, about = Choosing(experiment, answers, spec, sets, grid_of(rankings, spec)).best()
        return {"chosen": about, **Report(experiment, answers, spec, sets, chosen, rankings).write()}

    return make(plan, work, root=root, resume=resume, listener=listener)


def _spared(
    experiment: Making, parent: Parent, spec: SceneSpec, data: PromptData | None, said: Opened | None
) -> SparingMasks:
    """The masks of the grid that spare harmless requests, scored once: a scene that is taken up again goes on with the
    very masks that it had."""
    units = _sparing_units(parent.run, spec)

    def work() -> dict[str, np.ndarray]:
        texts = make_texts(parent, data, said, spec.opener, twin="twin" in spec.contrasts)
        found = Sparing.score(parent, texts, experiment.progress.within(units))
        return found.grid([*product(spec.q_grid, spec.p_grid)])

    return SparingMasks(parent, experiment.arrays("sparing", units, work), scored_prompts())


def _scored_on(run: Run, source: str | None, say: Say) -> PromptData:
    """The data of the map run, on whose answers guarded masks are scored anew.

    Raises:
        RunIncompatible: it cannot be read, or is not what it was.
    """
    named = f"guarded masks are scored on the data that run {run.id} was made on"
    what_to_do = "say where it is with --data, or leave them out with --selections twin,both,none"
    try:
        data = load_again(source, run.manifest["data"], say=say)
    except (DataInvalid, AssetUnavailable) as e:
        raise RunIncompatible(f"{named}, which cannot be read: {e}; {what_to_do}") from e
    if data.hash != run.manifest["data"]["hash"]:
        raise RunIncompatible(f"{named}, and {data.id!r} here is not what it was; {what_to_do}")
    return data


def _sparing_units(run: Run, spec: SceneSpec) -> float:
    """What scoring the texts of masks that spare harmless requests costs, in forward passes of one sample."""
    n_samples = 4 * SCORING_TWINS + 3 * SCORING_EVERYDAY
    if "guarded" in spec.contrasts:
        counts = run.manifest["data"]["counts"]
        n_samples += sum(counts[c].get(half, 0) for c in harm_types(counts) for half in SCORING)
    return SCORE_UNITS * n_samples


def _units(run: Run, spec: SceneSpec, sets: SceneSets) -> float:
    """The work in forward passes of one sample, where every point is settled and the first one tried against the limits
    keeps them.
    """
    points = len(spec.contrasts) * len(spec.p_grid) * len(spec.q_grid)
    chosen_by = sum(map(len, sets.choosing.values()))
    scored = TWIN_ANSWER_UNITS + _sparing_units(run, spec) if set(spec.contrasts) & set(MIRROR_OF) else 0.0
    choosing = scored + (points + 1) * chosen_by * CHOOSING_TOKENS * UNITS_PER_TOKEN + 2 * trial_units(sets)
    asked = sum(map(len, sets.reporting.values()))
    arms = 4 + spec.draws
    report = ((arms + 3) * asked + 2 * (len(spec.strengths) - 1) * spec.requests) * spec.max_new_tokens
    benign = len(sets.reporting[BENIGN])
    return choosing + report * UNITS_PER_TOKEN + 6 * benign + RECORD_UNITS * spec.offered
